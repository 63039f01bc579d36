/**
 * Names of labs, and the guard process that removes a lab whatever becomes of its owner.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("guard.sh", import.meta.url));
const NAMESPACES = "/run/netns";

/** `dl-PID-START-RANDOM`: the owner's pid and start time in clock ticks, so that a reused pid is noticed. */
const NAME = /^(dl-(\d+)-(\d+)-[0-9a-f]{8})(?:-|$)/;

/** Makes a name for a lab that this process owns. */
export function newLabName(): string {
  const start = startTime(Deno.pid);
  if (start === undefined) throw new Error("Cannot read /proc/self/stat: is /proc mounted?");
  return `dl-${Deno.pid}-${start}-${randomBytes(4).toString("hex")}`;
}

/** The directory for a lab's files. */
export function labDirectory(name: string): string {
  return `${tmpdir()}/${name}`;
}

/** Removes one lab when asked to, or when this process ends without asking. */
export class Guard {
  readonly #child: Deno.ChildProcess;
  readonly #name: string;

  /** Starts the guard; nothing of the lab needs to exist yet. */
  constructor(name: string) {
    this.#name = name;
    this.#child = new Deno.Command("/bin/sh", {
      args: [SCRIPT, name, labDirectory(name)],
      stdin: "piped",
      stdout: "null",
      stderr: "piped",
    }).spawn();
  }

  /** The guard's process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /**
   * Has the lab removed now, and waits for it.
   *
   * @throws {Error} when something of it is left.
   */
  async remove(): Promise<void> {
    await this.#child.stdin.close();
    const stderr = await this.#child.stderr.text();
    const { code } = await this.#child.status;
    if (code !== 0) throw new Error(`Cannot remove lab ${this.#name}: ${stderr.trim()}`);
  }
}

/**
 * Removes labs whose owner is dead and whose guard did not do it (it was killed too).
 *
 * @returns the names of the labs found.
 */
export async function sweepLeftovers(): Promise<string[]> {
  const found = new Set<string>();
  for (const directory of [NAMESPACES, tmpdir()]) {
    for (const entry of list(directory)) {
      const match = NAME.exec(entry);
      if (match === null) continue;
      const [, name, pid, start] = match as unknown as [string, string, string, string];
      if (startTime(Number(pid)) !== start) found.add(name);
    }
  }
  for (const name of found) {
    const { code, stderr } = await new Deno.Command("/bin/sh", {
      args: [SCRIPT, name, labDirectory(name)],
      stdin: "null",
      stdout: "null",
    }).output();
    if (code !== 0) {
      throw new Error(`Cannot remove leftover lab ${name}: ${new TextDecoder().decode(stderr)}`);
    }
  }
  return [...found];
}

/** Start time of a process in clock ticks after boot (proc(5), field 22 of stat), or undefined without one. */
export function startTime(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
  // The name in field 2 may hold spaces and parentheses: count from its last parenthesis.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

function isGone(error: unknown): boolean {
  const code = (error as { code?: string }).code;
  return code === "ENOENT" || code === "ESRCH";
}
