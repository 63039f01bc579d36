/**
 * Doctor's check of the setuid wrappers of `diaper wrap`.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { listWrappers, WrapperError, wrapperFault } from "../broker/wrapper_install.ts";
import type { WrapperRecord } from "../broker/wrapper_record.ts";
import { agentLibrary } from "../sys/assets.ts";
import { type Mount, mountOf } from "../sys/mounts.ts";
import { type Check, fail, messageOf, notLooked, pass, warn } from "./doctor_check.ts";
import { plural } from "./policy_files.ts";

/** The wrappers: as they were installed, where they can work, on a host that keeps users out of them. */
export function wrapperCheck(mounts: readonly Mount[]): Check {
  const name = "wrappers";
  let records: readonly WrapperRecord[];
  try {
    records = listWrappers();
  } catch (error) {
    if (!(error instanceof WrapperError)) throw error;
    return fail(name, error.message, error.next);
  }
  if (records.length === 0) return pass(name, "no program of users is wrapped");
  for (const { path } of records) {
    const mount = mountOf(path, mounts);
    if (mount?.options.has("nosuid") !== true) continue;
    const mend = `mount -o remount,suid ${mount.point}, or diaper wrap add --path elsewhere`;
    return fail(name, `${path} cannot work: ${mount.point} is mounted nosuid`, mend);
  }
  if (setting("vm/memfd_noexec") === "2") {
    const text = "programs in memory may not be executed, as wrappers do (vm.memfd_noexec is 2)";
    return fail(name, text, "sysctl vm.memfd_noexec=1");
  }
  if (setting("fs/suid_dumpable") === "1") {
    const text = "users can look into setuid and unreadable programs (fs.suid_dumpable is 1)";
    return fail(name, text, "sysctl fs.suid_dumpable=0");
  }
  if (Deno.uid() !== 0) return notLooked(name, plural(records.length, "wrapper"));
  for (const record of records) {
    const fault = wrapperFault(record);
    if (fault !== undefined) return warn(name, `${record.path}: ${fault}`, again(record));
  }
  const agent = createHash("sha256").update(agentLibrary()).digest("hex");
  const older = records.find((r) => r.agent_sha256 !== agent);
  if (older !== undefined) {
    return warn(name, `${older.path} has the agent of another version`, again(older));
  }
  return pass(name, `${plural(records.length, "wrapper")} in order`);
}

function again({ target, delegate, path }: WrapperRecord): string {
  return `diaper wrap add ${target} --delegate ${delegate} --path ${path}`;
}

/** A setting of the kernel; undefined where it does not have it. */
function setting(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(`/proc/sys/${path}`).trim();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    return messageOf(error);
  }
}
