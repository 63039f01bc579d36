/**
 * Unix sockets with what the runtime's own do not give: peer credentials, passed descriptors, and
 * message boundaries (unix(7)). All are non-blocking and close on exec.
 *
 * @module
 */
import { check, E, errno, libc, SystemError } from "./libc.ts";

/** Which process is at the other end, as the kernel says. */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** One received message. Descriptors belong to the caller, who closes what it does not keep. */
export interface ReceivedMessage {
  /** A view into a buffer that the next call overwrites. */
  readonly data: Uint8Array<ArrayBuffer>;
  readonly fds: number[];
  /** Who sent this very message; undefined without SO_PASSCRED. */
  readonly credentials: Credentials | undefined;
  /** The message or its descriptors did not fit and were cut. */
  readonly truncated: boolean;
}

const AF_UNIX = 1;
const TYPE = { stream: 1, seqpacket: 5 } as const;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO = { TYPE: 3, SNDBUF: 7, PASSCRED: 16, PEERCRED: 17, ACCEPTCONN: 30 } as const;
const SCM = { RIGHTS: 1, CREDENTIALS: 2 } as const;
const MSG = { DONTWAIT: 0x40, NOSIGNAL: 0x4000, CMSG_CLOEXEC: 0x40000000, TRUNC: 0x20, CTRUNC: 8 };

/** Makes a listening socket at `path`. The caller removes what stood there before, and sets the mode. */
export function listenUnix(path: string, type: keyof typeof TYPE, backlog = 4096): number {
  const fd = check("socket", libc.socket(AF_UNIX, TYPE[type] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const address = unixAddress(path);
  try {
    check(`bind ${path}`, libc.bind(fd, address, address.length));
    check("listen", libc.listen(fd, backlog));
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  return fd;
}

/**
 * Connects to the socket at `path`.
 *
 * @param options `nonBlocking`: calls on it do not wait, and neither does this one for a listener whose line is
 *   full (EAGAIN).
 * @throws {SystemError} such as ENOENT or ECONNREFUSED when nobody listens there.
 */
export function connectUnix(
  path: string,
  type: keyof typeof TYPE,
  options: { readonly nonBlocking?: boolean } = {},
): number {
  const flags = SOCK_CLOEXEC | (options.nonBlocking === true ? SOCK_NONBLOCK : 0);
  const fd = check("socket", libc.socket(AF_UNIX, TYPE[type] | flags, 0));
  const address = unixAddress(path);
  if (libc.connect(fd, address, address.length) < 0) {
    const code = errno();
    libc.close(fd);
    throw new SystemError(`connect ${path}`, code);
  }
  return fd;
}

/** Two connected sockets. */
export function unixPair(type: keyof typeof TYPE): [number, number] {
  const pair = new Int32Array(2);
  check(
    "socketpair",
    libc.socketpair(AF_UNIX, TYPE[type] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
  );
  return [pair[0] as number, pair[1] as number];
}

/**
 * Takes the next waiting connection.
 *
 * @returns its descriptor; "none" when nobody waits; "limit" when no descriptor is left.
 */
export function acceptUnix(listener: number): number | "none" | "limit" {
  const fd = libc.accept4(listener, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) return fd;
  const code = errno();
  if (code === E.MFILE || code === E.NFILE || code === 12 || code === E.NOBUFS) return "limit";
  // The other end went away before it was taken, or a signal came: look again in the next round.
  if (code === E.AGAIN || code === E.INTR || code === 103) return "none";
  throw new SystemError("accept4", code);
}

const credentials = new Uint32Array(3);
const credentialsLength = new Uint32Array(1);

/** The process that made the other end of a connection, as it was then (SO_PEERCRED). */
export function peerCredentials(fd: number): Credentials {
  const value = credentials;
  credentialsLength[0] = 12;
  check(
    "getsockopt SO_PEERCRED",
    libc.getsockopt(fd, SOL_SOCKET, SO.PEERCRED, value, credentialsLength),
  );
  return { pid: value[0] as number, uid: value[1] as number, gid: value[2] as number };
}

const option = new Int32Array(1);
const optionLength = new Uint32Array(1);

/** True for a seqpacket socket that does not listen; together with a peer's process it is connected. */
export function isSeqpacket(fd: number): boolean {
  const has = (name: number, value: number) => {
    optionLength[0] = 4;
    return libc.getsockopt(fd, SOL_SOCKET, name, option, optionLength) === 0 &&
      option[0] === value;
  };
  return has(SO.TYPE, TYPE.seqpacket) && has(SO.ACCEPTCONN, 0);
}

/** Has the kernel add the sender's credentials to each message received from now on. */
export function passCredentials(fd: number): void {
  check(
    "setsockopt SO_PASSCRED",
    libc.setsockopt(fd, SOL_SOCKET, SO.PASSCRED, Int32Array.of(1), 4),
  );
}

const MAX_FDS = 4;

/** Receives messages through buffers that are made once. Not for use by two at the same time. */
export class MessageReceiver {
  readonly #data: Uint8Array<ArrayBuffer>;
  readonly #control = new DataView(new ArrayBuffer(256));
  readonly #iov = new BigUint64Array(2);
  readonly #header = new DataView(new ArrayBuffer(56));

  /** @param size longest message in octets; a longer one arrives cut and says so. */
  constructor(size: number) {
    this.#data = new Uint8Array(size);
    this.#iov[0] = address(this.#data);
    this.#iov[1] = BigInt(size);
    this.#header.setBigUint64(16, address(this.#iov), true);
    this.#header.setBigUint64(24, 1n, true);
    this.#header.setBigUint64(32, address(this.#control), true);
  }

  /**
   * Receives one message.
   *
   * @returns the message; "none" when there is none now; "end" when the peer is gone.
   */
  receive(fd: number): ReceivedMessage | "none" | "end" {
    const header = this.#header;
    header.setUint32(40, this.#control.byteLength, true);
    header.setInt32(48, 0, true);
    const n = libc.recvmsg(fd, header, MSG.DONTWAIT | MSG.CMSG_CLOEXEC);
    if (n < 0) {
      const code = errno();
      if (code === E.AGAIN || code === E.INTR) return "none";
      if (code === E.CONNRESET) return "end";
      throw new SystemError("recvmsg", code);
    }
    const control = header.getUint32(40, true);
    const { fds, credentials } = this.#ancillary(control);
    // An empty packet of a seqpacket socket looks like the end, but carries credentials; no message of
    // ours is empty, so that both are the end of the conversation.
    if (n === 0) {
      for (const passed of fds) libc.close(passed);
      return "end";
    }
    const flags = header.getInt32(48, true);
    return {
      data: this.#data.subarray(0, n),
      fds,
      credentials,
      truncated: (flags & (MSG.TRUNC | MSG.CTRUNC)) !== 0,
    };
  }

  #ancillary(length: number): Pick<ReceivedMessage, "fds" | "credentials"> {
    const c = this.#control;
    const fds: number[] = [];
    let credentials: Credentials | undefined;
    for (let at = 0; at + 16 <= length;) {
      const size = c.getUint32(at, true); // of 64 bits; our buffer is far below 4 GiB
      if (size < 16 || at + size > length) break;
      const level = c.getInt32(at + 8, true);
      const type = c.getInt32(at + 12, true);
      if (level === SOL_SOCKET && type === SCM.RIGHTS) {
        for (let p = at + 16; p + 4 <= at + size; p += 4) fds.push(c.getInt32(p, true));
      } else if (level === SOL_SOCKET && type === SCM.CREDENTIALS && size >= 28) {
        credentials = {
          pid: c.getInt32(at + 16, true),
          uid: c.getUint32(at + 20, true),
          gid: c.getUint32(at + 24, true),
        };
      }
      at += (size + 7) & ~7;
    }
    return { fds, credentials };
  }
}

/**
 * Sends one message without waiting, with descriptors if there are any.
 *
 * @returns octets taken; -1 when the peer does not take it now; -2 when the peer is gone.
 */
export function sendUnix(fd: number, data: Uint8Array, fds: readonly number[] = []): number {
  if (fds.length > MAX_FDS) throw new RangeError(`Cannot pass ${fds.length} descriptors at once`);
  const n = fds.length === 0
    ? libc.send(fd, data as Uint8Array<ArrayBuffer>, data.length, MSG.DONTWAIT | MSG.NOSIGNAL)
    : sendWithFds(fd, data, fds);
  if (n >= 0) return n;
  const code = errno();
  if (code === E.AGAIN || code === E.NOBUFS || code === E.INTR) return -1;
  if (code === E.PIPE || code === E.CONNRESET) return -2;
  throw new SystemError("sendmsg", code);
}

function sendWithFds(fd: number, data: Uint8Array, fds: readonly number[]): number {
  const space = 16 + fds.length * 4;
  const control = new DataView(new ArrayBuffer((space + 7) & ~7));
  control.setBigUint64(0, BigInt(space), true);
  control.setInt32(8, SOL_SOCKET, true);
  control.setInt32(12, SCM.RIGHTS, true);
  fds.forEach((passed, i) => control.setInt32(16 + i * 4, passed, true));
  const iov = BigUint64Array.of(address(data as Uint8Array<ArrayBuffer>), BigInt(data.length));
  const header = new DataView(new ArrayBuffer(56));
  header.setBigUint64(16, address(iov), true);
  header.setBigUint64(24, 1n, true);
  header.setBigUint64(32, address(control), true);
  header.setBigUint64(40, BigInt(control.byteLength), true);
  return libc.sendmsg(fd, header, MSG.DONTWAIT | MSG.NOSIGNAL);
}

function address(buffer: ArrayBufferView<ArrayBuffer>): bigint {
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer));
}

function unixAddress(path: string): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(path);
  if (name.length === 0 || name.length > 107 || name.includes(0)) {
    throw new RangeError(`Cannot use "${path}" as a socket's path: 1 to 107 octets are possible`);
  }
  const out = new Uint8Array(2 + name.length + 1);
  out[0] = AF_UNIX;
  out.set(name, 2);
  return out;
}
