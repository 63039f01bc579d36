/**
 * What the programs of the matrix share: sizes, files, what is there.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { RunResult } from "../../lab/host.ts";
import type { Command, Play } from "../case.ts";

/** Why the broker opens no port below 1024, and what a server that connects from port 20 does not need. */
export const PRIVILEGED = "tcp/20 is a privileged port: only the configuration may open it";

/** A file of a package that scripts/programs has unpacked. */
export function unpacked(packageName: string, path: string): string {
  return fileURLToPath(new URL(`../../../.tools/programs/${packageName}/${path}`, import.meta.url));
}

/** A command with its arguments. */
export function command(program: string, ...args: string[]): Command {
  return { program, args };
}

/** A command that is started again, up to twice, when it fails or hangs for 15 seconds. */
export function again(program: string, ...args: string[]): Command {
  return command("sh", "-c", AGAIN, program, ...args);
}

const AGAIN = 'for n in 1 2 3; do timeout 15 "$0" "$@" && exit; done; exit 1';

/**
 * Checks that a program ended well.
 *
 * @throws {Error} otherwise.
 */
export function succeeded(result: RunResult): void {
  if (result.code !== 0) throw new Error("The program failed");
}

/**
 * Checks that two files hold the same.
 *
 * @throws {Error} otherwise.
 */
export function same(arrived: string, sent: string): void {
  if (!existsSync(arrived)) throw new Error(`Nothing arrived at ${arrived}`);
  const [a, b] = [readFileSync(arrived), readFileSync(sent)];
  if (Buffer.compare(a, b) !== 0) {
    throw new Error(`${arrived} has ${a.length} bytes that are not the ${b.length} sent`);
  }
}

/** Checks that each session's program ended well and left a copy of what was sent; removes that. */
export function fetched(arrived: (host: number) => string, sent: string): Play["verify"] {
  return (host, result) => {
    succeeded(result);
    same(arrived(host), sent);
    rmSync(arrived(host));
  };
}

/** Account numbers by name. */
export function account(name: string): { uid: number; gid: number } {
  for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
    const fields = line.split(":");
    if (fields[0] === name) return { uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new Error(`There is no account "${name}"`);
}
