/**
 * The C library's calls that Diaper uses, by FFI, with errno turned into errors.
 *
 * All calls here are synchronous and short, or are meant to block a Worker of their own (epoll_wait):
 * nothing is parked on Deno's pool of 32 threads.
 *
 * @module
 */
const SYMBOLS = {
  __errno_location: { parameters: [], result: "pointer" },
  accept4: { parameters: ["i32", "pointer", "pointer", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  if_nametoindex: { parameters: ["buffer"], result: "u32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  read: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  recvmmsg: { parameters: ["i32", "buffer", "u32", "i32", "pointer"], result: "i32" },
  recvmsg: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  sendmsg: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  sendto: { parameters: ["i32", "buffer", "u32", "i32", "buffer", "u32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  strerror: { parameters: ["i32"], result: "pointer" },
  syscall: { parameters: ["i64", "i64", "i64", "i64", "i64", "i64", "i64"], result: "i64" },
  write: { parameters: ["i32", "buffer", "u32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The C library; calls return -1 with {@link errno} set, as in C. */
export const libc: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"] =
  Deno.dlopen("libc.so.6", SYMBOLS).symbols;

/** Error numbers that the code asks about (Linux, all architectures that Deno runs on). */
export const E = {
  PERM: 1,
  NOENT: 2,
  INTR: 4,
  NXIO: 6,
  AGAIN: 11,
  NOMEM: 12,
  ACCES: 13,
  BUSY: 16,
  EXIST: 17,
  INVAL: 22,
  NFILE: 23,
  MFILE: 24,
  PIPE: 32,
  MSGSIZE: 90,
  OPNOTSUPP: 95,
  NETDOWN: 100,
  NOSYS: 38,
  CONNRESET: 104,
  NOBUFS: 105,
  STALE: 116,
} as const;

/** The calling thread's errno; read it right after the call that failed. */
export function errno(): number {
  const p = libc.__errno_location();
  return p === null ? 0 : new Deno.UnsafePointerView(p).getInt32();
}

/** A failed system call. `code` is its errno. */
export class SystemError extends Error {
  override readonly name = "SystemError";
  readonly call: string;
  readonly code: number;
  constructor(call: string, code: number) {
    super(`${call}: ${errorText(code)}`);
    this.call = call;
    this.code = code;
  }
}

/** The C library's words for an error number. */
export function errorText(code: number): string {
  const p = libc.strerror(code);
  return p === null ? `error ${code}` : new Deno.UnsafePointerView(p).getCString();
}

/**
 * Passes a call's result through when it is not negative.
 *
 * @throws {SystemError} with errno otherwise.
 */
export function check(call: string, result: number): number {
  if (result < 0) throw new SystemError(call, errno());
  return result;
}
