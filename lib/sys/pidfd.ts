/**
 * Descriptors of processes and threads (pidfd_open(2)): a number may be given to another process when its
 * own has ended, a descriptor stays with the one it was made for.
 *
 * @module
 */
import { libc } from "./libc.ts";

/** Which process a descriptor is of, in this process's own namespaces. */
export interface PidfdFacts {
  /** The thread that it was made for; the process itself when it was made for that. */
  readonly thread: number;
  readonly process: number;
  /** User ids: real, effective, saved. */
  readonly uids: readonly [number, number, number];
}

/** PIDFD_GET_INFO of Linux 6.13 with the first version's structure of 64 octets. */
const GET_INFO = 0xc000_0000 | 64 << 16 | 0xff << 8 | 11;
const WITH_PID = 1n;
const WITH_CREDENTIALS = 2n;
const info = new DataView(new ArrayBuffer(64));

/**
 * Reads what the kernel knows by such a descriptor.
 *
 * @returns `undefined` when the process has ended, or the descriptor is of something else.
 */
export function pidfdFacts(fd: number): PidfdFacts | undefined {
  info.setBigUint64(0, WITH_PID | WITH_CREDENTIALS, true);
  if (libc.ioctl(fd, BigInt(GET_INFO >>> 0), info) !== 0) return factsFromFiles(fd);
  if ((info.getBigUint64(0, true) & WITH_CREDENTIALS) === 0n) return undefined;
  const field = (at: number) => info.getUint32(at, true);
  return { thread: field(16), process: field(20), uids: [field(28), field(36), field(44)] };
}

/** For older kernels: what /proc tells, compared so that both files are of one process. */
export function factsFromFiles(fd: number): PidfdFacts | undefined {
  const thread = numbers(read(`/proc/self/fdinfo/${fd}`), "Pid")[0];
  // -1: it has ended, 0: it is in no namespace that can be seen from here.
  if (thread === undefined || thread <= 0) return undefined;
  const status = read(`/proc/${thread}/status`);
  const process = numbers(status, "Tgid")[0];
  const [real, effective, saved] = numbers(status, "Uid");
  const again = numbers(read(`/proc/self/fdinfo/${fd}`), "Pid")[0];
  if (process === undefined || again !== thread) return undefined;
  if (real === undefined || effective === undefined || saved === undefined) return undefined;
  return { thread, process, uids: [real, effective, saved] };
}

function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    // A process that ends between open and read.
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return "";
    throw error;
  }
}

function numbers(text: string, name: string): number[] {
  const line = new RegExp(`^${name}:\\s*(.*)$`, "m").exec(text)?.[1];
  return line === undefined ? [] : line.split(/\s+/).map(Number);
}
