/**
 * Doctor's checks of files: configuration, policy, directories and the agent.
 *
 * @module
 */
import type { Config } from "../controller/config.ts";
import { groupId } from "../sys/accounts.ts";
import { agentLibraryPath, AssetError } from "../sys/assets.ts";
import { type Mount, mountOf } from "../sys/mounts.ts";
import { backend, unpackedDirectory } from "../sys/runtime.ts";
import { type Check, fail, messageOf, notLooked, pass, warn } from "./doctor_check.ts";
import { CliError } from "./exit.ts";
import { plural, readPolicy } from "./policy_files.ts";

/** Octets of a unix socket's path at most, and what is added to the run directory. */
const LONGEST_SOCKET_PATH = 107;
const LONGEST_SOCKET_NAME = "/control.sock.new".length;
const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;

/** The policy: can be read, has no errors, opens anything. */
export async function policyCheck(file: string): Promise<Check> {
  const name = "policy";
  let parsed;
  try {
    parsed = await readPolicy(file);
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied) return notLooked(name, file);
    const denied = error instanceof CliError && /permission denied/i.test(error.message);
    if (denied && Deno.uid() !== 0) return notLooked(name, file);
    return fail(name, messageOf(error), `write one at ${file}: diaper-policy(5) has examples`);
  }
  const errors = parsed.problems.filter((p) => p.severity === "error");
  const first = errors[0] ?? parsed.problems[0];
  if (first !== undefined) {
    const count = errors.length > 0 ? plural(errors.length, "error") : "warnings";
    const text = `${file}: ${count}, first ${first.line}:${first.column}: ${first.message}`;
    return (errors.length > 0 ? fail : warn)(name, text, `diaper policy check ${file}`);
  }
  if (parsed.rules.length === 0) {
    return warn(name, `${file} has no rules: nothing is opened`, "write rules: diaper-policy(5)");
  }
  return pass(name, `${file}: ${plural(parsed.rules.length, "rule")}`);
}

/** The directories of a daemon: whose they are, who else could write there. */
export function directoryChecks(config: Config): Check[] {
  const checks = [
    directoryCheck("run_dir", config.run_dir),
    directoryCheck("state_dir", config.state_dir),
    directoryCheck("log_dir", config.log_dir),
  ];
  const length = new TextEncoder().encode(config.run_dir).length + LONGEST_SOCKET_NAME;
  if (length <= LONGEST_SOCKET_PATH) return checks;
  return [
    fail(
      "run_dir",
      `${config.run_dir} is too long for the sockets in it`,
      `name one of at most ${LONGEST_SOCKET_PATH - LONGEST_SOCKET_NAME} octets`,
    ),
    ...checks.slice(1),
  ];
}

/** One directory that must belong to root, with all that is above it. */
export function directoryCheck(name: string, path: string): Check {
  let info: Deno.FileInfo;
  try {
    info = Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      return pass(name, `${path} is not there; diaper up makes it`);
    }
    if (error instanceof Deno.errors.PermissionDenied) return notLooked(name, path);
    return fail(name, `${path}: ${messageOf(error)}`, "name another in diaper.yaml(5)");
  }
  if (!info.isDirectory) {
    return fail(name, `${path} is not a directory`, "remove it, or name another in diaper.yaml(5)");
  }
  if (info.uid !== 0) {
    return fail(name, `${path} belongs to uid ${info.uid}`, `chown root ${path}`);
  }
  if (((info.mode ?? 0) & OTHERS_WRITE) !== 0) {
    return fail(name, `others can write in ${path}`, `chmod go-w ${path}`);
  }
  const above = unsafeAbove(path);
  return above === undefined
    ? pass(name, `${path} belongs to root, and nobody else can write there`)
    : warn(
      name,
      `${path}: others could replace it, since they can write in ${above}`,
      `chown root ${above} && chmod go-w ${above}, or name another place`,
    );
}

/** The first directory above where somebody but root can rename what is in it. */
function unsafeAbove(path: string): string | undefined {
  for (let at = parentOf(path);; at = parentOf(at)) {
    const { uid, mode } = Deno.lstatSync(at);
    const others = ((mode ?? 0) & OTHERS_WRITE) !== 0 && ((mode ?? 0) & STICKY) === 0;
    if (uid !== 0 || others) return at;
    if (at === "/") return undefined;
  }
}

function parentOf(path: string): string {
  const end = path.replace(/\/+$/, "").lastIndexOf("/");
  return end <= 0 ? "/" : path.slice(0, end);
}

/** The group that may use the control socket. */
export function groupCheck(group: string): Check {
  const name = "control_group";
  return groupId(group) === undefined
    ? warn(
      name,
      `there is no group ${group}: only root can use the control socket`,
      `groupadd --system ${group}`,
    )
    : pass(name, `members of ${group} can use the control socket`);
}

/** The agent: inside, in a place where it can be executed, and the loader takes it. */
export async function agentCheck(mounts: readonly Mount[]): Promise<Check> {
  const name = "agent";
  let path: string;
  try {
    path = agentLibraryPath();
  } catch (error) {
    if (!(error instanceof AssetError)) throw error;
    return fail(name, error.message, error.next);
  }
  const mount = mountOf(path, mounts);
  if (mount?.options.has("noexec") === true) {
    return fail(
      name,
      `${path} cannot be loaded: ${mount.point} is mounted noexec`,
      `mount -o remount,exec ${mount.point}, or a file system of its own for that directory`,
    );
  }
  const complaint = await loaderComplaint(path);
  if (complaint === undefined) return pass(name, `${path} loads`);
  return fail(name, `${path} does not load: ${complaint}`, "install diaper anew: scripts/build");
}

/** What the loader says to the agent; undefined when it takes it. */
async function loaderComplaint(path: string): Promise<string | undefined> {
  const { success, code, stderr } = await new Deno.Command("/bin/true", {
    env: { LD_PRELOAD: path },
    clearEnv: true,
    stdout: "null",
    stderr: "piped",
  }).output();
  const said = new TextDecoder().decode(stderr).trim().split("\n")[0] ?? "";
  // The loader goes on without a library that it cannot load, so that success alone says nothing.
  if (success && said === "") return undefined;
  return said === "" ? `/bin/true ended with code ${code}` : said;
}

/** Where the binary keeps its runtime, when it is one that unpacks itself. */
export function cacheCheck(): Check[] {
  const name = "cache";
  if (backend() !== "launcher") return [];
  const directory = unpackedDirectory();
  if (directory !== undefined) return [pass(name, `the runtime is in ${directory}`)];
  return [warn(
    name,
    "the runtime is unpacked into memory at each start: there is no safe place for it",
    "make /var/cache/diaper, owned by root, mode 755, on a file system without noexec",
  )];
}
