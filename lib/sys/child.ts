/**
 * Child processes of a data plane: started with a socket as standard input and output, watched by a descriptor,
 * ended and waited for without anything asynchronous (posix_spawn(3), pidfd_open(2)).
 *
 * @module
 */
import { check, E, errno, libc, SystemError } from "./libc.ts";

const SYMBOLS = {
  posix_spawn: {
    parameters: ["buffer", "buffer", "buffer", "buffer", "buffer", "buffer"],
    result: "i32",
  },
  posix_spawn_file_actions_init: { parameters: ["buffer"], result: "i32" },
  posix_spawn_file_actions_adddup2: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  posix_spawn_file_actions_destroy: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_init: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_setflags: { parameters: ["buffer", "i16"], result: "i32" },
  posix_spawnattr_setsigdefault: { parameters: ["buffer", "buffer"], result: "i32" },
  posix_spawnattr_setsigmask: { parameters: ["buffer", "buffer"], result: "i32" },
  posix_spawnattr_destroy: { parameters: ["buffer"], result: "i32" },
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },
  wait4: { parameters: ["i32", "buffer", "i32", "buffer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

const { symbols: calls } = Deno.dlopen("libc.so.6", SYMBOLS);

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const O_CLOEXEC = 0o2000000;
const O_NONBLOCK = 0o4000;
const F_GETFL = 3;
const F_SETFL = 4;
const SETSIGDEF = 0x04;
const SETSIGMASK = 0x08;
const WNOHANG = 1;
const SYS_PIDFD_OPEN = 434n;
const SYS_PIDFD_SEND_SIGNAL = 424n;
const SIGKILL = 9n;
/** More than glibc's and musl's structures take. */
const OPAQUE = 1024;

/** How a child ended. */
export interface ChildEnd {
  /** Its exit code, or undefined when a signal ended it. */
  readonly code: number | undefined;
  readonly signal: number | undefined;
  /** Seconds of processor time that it used. */
  readonly cpuSeconds: number;
}

/** A child process. */
export class Child {
  readonly pid: number;
  /** Readable when the child has ended; to be watched by a poll set. */
  readonly pidfd: number;
  /** This end of its standard input and output, not blocking. */
  readonly socket: number;
  /** What it says on standard error, not blocking. */
  readonly messages: number;
  #open = true;
  #waited = false;

  private constructor(pid: number, pidfd: number, socket: number, messages: number) {
    this.pid = pid;
    this.pidfd = pidfd;
    this.socket = socket;
    this.messages = messages;
  }

  /**
   * Starts a program with an empty environment.
   *
   * @param command path and arguments; no search is made.
   * @throws {SystemError} when it cannot be started.
   */
  static start(command: readonly string[]): Child {
    const pair = new Int32Array(2);
    const pipe = new Int32Array(2);
    check(
      "socketpair",
      libc.socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, new Uint8Array(pair.buffer)),
    );
    const [ours = -1, theirs = -1] = pair;
    try {
      check("pipe2", calls.pipe2(new Uint8Array(pipe.buffer), O_CLOEXEC));
    } catch (error) {
      closeAll([ours, theirs]);
      throw error;
    }
    const [readEnd = -1, writeEnd = -1] = pipe;
    try {
      const pid = spawn(command, theirs, writeEnd);
      closeAll([theirs, writeEnd]);
      setNonBlocking(ours);
      setNonBlocking(readEnd);
      const pidfd = Number(libc.syscall(SYS_PIDFD_OPEN, BigInt(pid), 0n, 0n, 0n, 0n, 0n));
      return new Child(pid, check("pidfd_open", pidfd), ours, readEnd);
    } catch (error) {
      closeAll([ours, theirs, readEnd, writeEnd]);
      throw error;
    }
  }

  /** Ends the child at once; {@link end} then tells that it has. */
  kill(): void {
    if (!this.#waited) {
      libc.syscall(SYS_PIDFD_SEND_SIGNAL, BigInt(this.pidfd), SIGKILL, 0n, 0n, 0n, 0n);
    }
  }

  /** How the child ended; undefined while it lives. Also tells only once what the kernel knows of it. */
  end(): ChildEnd | undefined {
    const status = new Int32Array(1);
    const usage = new DataView(new ArrayBuffer(144));
    const pid = calls.wait4(this.pid, new Uint8Array(status.buffer), WNOHANG, usage);
    if (pid === 0) return undefined;
    this.#waited = true;
    // Somebody else waited for it: it is over all the same.
    if (pid < 0) return { code: undefined, signal: undefined, cpuSeconds: 0 };
    const [value = 0] = status;
    const signal = value & 0x7f;
    const seconds = (at: number) =>
      Number(usage.getBigInt64(at, true)) + Number(usage.getBigInt64(at + 8, true)) / 1e6;
    return {
      code: signal === 0 ? (value >> 8) & 0xff : undefined,
      signal: signal === 0 ? undefined : signal,
      cpuSeconds: seconds(0) + seconds(16),
    };
  }

  /** Lets go of the descriptors. */
  close(): void {
    if (this.#open) closeAll([this.pidfd, this.socket, this.messages]);
    this.#open = false;
  }
}

/** What {@link readInto} found besides bytes. */
export type ReadEnd = "none" | "end";

/** Reads what is there, at most what fits. */
export function readInto(fd: number, space: Uint8Array<ArrayBuffer>): number | ReadEnd {
  for (;;) {
    const n = libc.read(fd, space, space.length);
    if (n > 0) return n;
    if (n === 0) return "end";
    const code = errno();
    if (code === E.AGAIN) return "none";
    if (code === E.CONNRESET) return "end";
    if (code !== E.INTR) throw new SystemError("read", code);
  }
}

/**
 * Writes what fits.
 *
 * @returns how many bytes were taken, or `end` when nobody reads any more.
 */
export function writeFrom(
  fd: number,
  bytes: Uint8Array<ArrayBuffer>,
  length: number,
): number | "end" {
  const MSG_NOSIGNAL = 0x4000;
  for (;;) {
    const n = libc.send(fd, bytes, length, MSG_NOSIGNAL);
    if (n >= 0) return n;
    const code = errno();
    if (code === E.AGAIN) return 0;
    if (code === E.PIPE || code === E.CONNRESET) return "end";
    if (code !== E.INTR) throw new SystemError("send", code);
  }
}

function spawn(command: readonly string[], socket: number, messages: number): number {
  const encode = (text: string) => new TextEncoder().encode(`${text}\0`);
  const strings = command.map(encode);
  const argv = new BigUint64Array(strings.length + 1);
  strings.forEach((s, i) => argv[i] = Deno.UnsafePointer.value(Deno.UnsafePointer.of(s)));
  const none = new BigUint64Array(1);
  const actions = new Uint8Array(OPAQUE);
  const attributes = new Uint8Array(OPAQUE);
  const pid = new Int32Array(1);
  calls.posix_spawn_file_actions_init(actions);
  calls.posix_spawnattr_init(attributes);
  try {
    for (const [from, to] of [[socket, 0], [socket, 1], [messages, 2]] as const) {
      calls.posix_spawn_file_actions_adddup2(actions, from, to);
    }
    // The runtime ignores SIGPIPE, and a thread may block signals: a child gets neither.
    calls.posix_spawnattr_setflags(attributes, SETSIGDEF | SETSIGMASK);
    calls.posix_spawnattr_setsigdefault(attributes, new Uint8Array(128).fill(0xff));
    calls.posix_spawnattr_setsigmask(attributes, new Uint8Array(128));
    const code = calls.posix_spawn(
      new Uint8Array(pid.buffer),
      strings[0] as Uint8Array<ArrayBuffer>,
      actions,
      attributes,
      new Uint8Array(argv.buffer),
      new Uint8Array(none.buffer),
    );
    if (code !== 0) throw new SystemError(`start ${command[0]}`, code);
  } finally {
    calls.posix_spawn_file_actions_destroy(actions);
    calls.posix_spawnattr_destroy(attributes);
  }
  return pid[0] as number;
}

function setNonBlocking(fd: number): void {
  const flags = check("fcntl", libc.fcntl(fd, F_GETFL, 0));
  check("fcntl", libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) if (fd >= 0) libc.close(fd);
}
