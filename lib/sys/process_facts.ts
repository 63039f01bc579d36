/**
 * What the kernel says about a process, read from /proc (proc(5)).
 *
 * @module
 */
import { libc } from "./libc.ts";

/**
 * When a process started, in clock ticks after boot: together with its number its identity.
 *
 * @returns `undefined` when there is no such process.
 */
export function processStart(pid: number): bigint | undefined {
  const field = statFields(pid)?.[19];
  return field === undefined ? undefined : BigInt(field);
}

/** The number of a process's parent; `undefined` when there is no such process. */
export function parentOf(pid: number): number | undefined {
  const field = statFields(pid)?.[1];
  return field === undefined ? undefined : Number(field);
}

/** The fields of its `stat` from the third on, since the second, its name, may hold spaces. */
function statFields(pid: number): string[] | undefined {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || isNoSuchProcess(error)) return undefined;
    throw error;
  }
}

/** Names of the variables that a process was started with, whatever it did to them since; none when it is gone. */
export function processVariables(pid: number): string[] {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/environ`).split("\0")
      .flatMap((variable) => variable === "" ? [] : [variable.split("=", 1)[0] as string]);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || isNoSuchProcess(error)) return [];
    throw error;
  }
}

const link = new Uint8Array(64);
const target = new Uint8Array(4096);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The path of a process's executable; "" when it cannot be read. */
export function processProgram(pid: number): string {
  // Gone, a kernel thread, or not ours to see: the name is for people only.
  return readLink(`/proc/${pid}/exe`);
}

/**
 * What a descriptor of a process or thread refers to, such as `socket:[4711]`; "" when there is none.
 *
 * @param pid "self" for this process.
 */
export function processDescriptor(pid: number | "self", descriptor: number): string {
  return readLink(`/proc/${pid}/fd/${descriptor}`);
}

/** By hand, since one is read for each new process that asks, a thousand times at once if need be. */
function readLink(path: string): string {
  link[encoder.encodeInto(path, link).written] = 0;
  const n = Number(libc.readlink(link, target, 4096n));
  return n <= 0 ? "" : decoder.decode(target.subarray(0, n));
}

/** The identity of this boot of the machine. */
export function bootId(): string {
  return Deno.readTextFileSync("/proc/sys/kernel/random/boot_id").trim();
}

function isNoSuchProcess(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ESRCH";
}

/** Clock ticks a second in /proc; 100 on all Linux that there is (getconf CLK_TCK). */
const TICKS = 100;

/** Bytes of a page of memory, of which /proc counts; 4 KiB on all machines that Diaper runs on. */
const PAGE = 4096;

/** What a process uses: processor time so far in seconds, and bytes that it has in memory. */
export interface ProcessUse {
  readonly seconds: number;
  readonly memory: number;
}

/** What a process uses; undefined when it is gone. */
export function processUse(pid: number): ProcessUse | undefined {
  try {
    const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // The name, in parentheses, may contain anything.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return {
      seconds: (Number(fields[11]) + Number(fields[12])) / TICKS,
      memory: Number(fields[21]) * PAGE,
    };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || isNoSuchProcess(error)) return undefined;
    throw error;
  }
}
