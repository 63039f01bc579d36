/**
 * Netlink sockets (netlink(7)): requests to the kernel and its notices, synchronously, over one
 * reused buffer. The kernel works on a request inside send(), so answers are there when it returns
 * and nothing here can hang.
 *
 * @module
 */
import { check, E, errno, errorText, libc, SystemError } from "./libc.ts";
import {
  eachAttribute,
  type MessageWriter,
  NLM_F,
  NLMSG,
  NLMSG_HDRLEN,
  readString,
} from "./netlink_message.ts";

/** Netlink families (linux/netlink.h). */
export const NETLINK = { ROUTE: 0, SOCK_DIAG: 4, NETFILTER: 12 } as const;

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
const POLLIN = 1;
const NLMSGERR_ATTR_MSG = 1;
const NLMSGERR_ATTR_OFFS = 2;

/** The kernel refused a request. `code` is an errno; `offset` is where the bad attribute was. */
export class NetlinkError extends Error {
  override readonly name = "NetlinkError";
  readonly code: number;
  /** Offset of the offending attribute in the request's message, or -1 when not told. */
  readonly offset: number;
  constructor(what: string, code: number, text: string, offset: number) {
    super(`${what}: ${errorText(code)}${text === "" ? "" : ` (${text})`}`);
    this.code = code;
    this.offset = offset;
  }
}

/** The kernel had to drop messages meant for this socket: what was missed must be read anew. */
export class NetlinkOverrun extends Error {
  override readonly name = "NetlinkOverrun";
  constructor() {
    super("netlink messages were lost: the receive buffer was full");
  }
}

/** What a socket is made with. Sizes in bytes. */
export interface NetlinkOptions {
  readonly receiveBuffer?: number;
  readonly sendBuffer?: number;
  /** Multicast groups to hear. */
  readonly groups?: readonly number[];
  /** Size of the buffer for one datagram; the kernel's largest is 32 KiB. */
  readonly datagram?: number;
}

/** The outcome of a request that failed, as read from an NLMSG_ERROR. */
export interface NetlinkFailure {
  readonly code: number;
  readonly text: string;
  readonly offset: number;
}

/** One message of an answer: its type and where its payload is in {@link NetlinkSocket.bytes}. */
export type MessageVisitor = (type: number, start: number, end: number) => void;

/** A netlink socket connected to the kernel. */
export class NetlinkSocket {
  /** The descriptor, for epoll. */
  readonly fd: number;
  /** The datagram received last. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** View of {@link bytes}. */
  readonly view: DataView<ArrayBuffer>;
  #sequence = 1;
  #open = true;

  /**
   * @throws {SystemError} when the socket cannot be made, e.g. in a kernel without the family.
   */
  constructor(family: number, options: NetlinkOptions = {}) {
    const buffer = new ArrayBuffer(options.datagram ?? 64 * 1024);
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.fd = check("socket", libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family));
    try {
      this.#bufferSize(SO_RCVBUFFORCE, SO_RCVBUF, options.receiveBuffer);
      this.#bufferSize(SO_SNDBUFFORCE, SO_SNDBUF, options.sendBuffer);
      this.#option(NETLINK_CAP_ACK, 1);
      this.#option(NETLINK_EXT_ACK, 1);
      const address = new Uint8Array(12);
      address[0] = AF_NETLINK;
      check("bind", libc.bind(this.fd, address, 12));
      // A connected netlink socket takes unicast messages from its peer only: here the kernel.
      check("connect", libc.connect(this.fd, address, 12));
      for (const group of options.groups ?? []) this.#option(NETLINK_ADD_MEMBERSHIP, group);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** A sequence number that was not used on this socket lately. */
  nextSequence(): number {
    this.#sequence = (this.#sequence + 1) >>> 0 || 1;
    return this.#sequence;
  }

  /**
   * Sends what the writer holds as one datagram.
   *
   * @throws {SystemError} e.g. EMSGSIZE when it is larger than the send buffer.
   */
  send(writer: MessageWriter): void {
    for (;;) {
      const sent = libc.send(this.fd, writer.bytes, writer.length, 0);
      if (sent >= 0) return;
      if (errno() !== E.INTR) throw new SystemError("send", errno());
    }
  }

  /**
   * Receives one datagram into {@link bytes} without waiting.
   *
   * @returns its length, or 0 when there is none.
   * @throws {NetlinkOverrun} when the kernel dropped messages before this one.
   */
  receive(): number {
    for (;;) {
      const n = libc.recv(this.fd, this.bytes, this.bytes.length, MSG_DONTWAIT | MSG_TRUNC);
      if (n > this.bytes.length) {
        throw new RangeError(
          `Cannot read a netlink datagram of ${n} bytes: ${this.bytes.length} fit`,
        );
      }
      if (n >= 0) return n;
      const code = errno();
      if (code === E.AGAIN) return 0;
      if (code === E.NOBUFS) throw new NetlinkOverrun();
      if (code !== E.INTR) throw new SystemError("recv", code);
    }
  }

  /** Waits until a datagram is there, at most `timeout` milliseconds; false when none came. */
  wait(timeout: number): boolean {
    const pollfd = new Uint8Array(8);
    const view = new DataView(pollfd.buffer);
    view.setInt32(0, this.fd, true);
    view.setInt16(4, POLLIN, true);
    const n = libc.poll(pollfd, 1n, Math.max(0, Math.ceil(timeout)));
    if (n < 0 && errno() !== E.INTR) throw new SystemError("poll", errno());
    return n > 0;
  }

  /**
   * Sends the writer's one request and passes each message of its answer to `visit`, to the
   * acknowledgement (which the request must ask for) or to the end of a dump.
   *
   * @returns undefined, or why the kernel refused.
   * @throws {NetlinkOverrun} {SystemError} when the answer cannot be read.
   */
  request(
    writer: MessageWriter,
    sequence: number,
    visit: MessageVisitor,
  ): NetlinkFailure | undefined {
    this.discard();
    this.send(writer);
    let interrupted = false;
    for (;;) {
      const n = this.receive();
      if (n === 0) {
        if (this.wait(ANSWER_TIMEOUT)) continue;
        throw new Error(`The kernel did not answer a netlink request in ${ANSWER_TIMEOUT} ms`);
      }
      let at = 0;
      while (at + NLMSG_HDRLEN <= n) {
        const length = this.view.getUint32(at, true);
        if (length < NLMSG_HDRLEN || at + length > n) break;
        const type = this.view.getUint16(at + 4, true);
        const flags = this.view.getUint16(at + 6, true);
        if (this.view.getUint32(at + 8, true) === sequence) {
          if ((flags & NLM_F.DUMP_INTR) !== 0) interrupted = true;
          if (type === NLMSG.ERROR) return this.failure(at);
          if (type === NLMSG.DONE) return this.#done(at, length, interrupted);
          if (type === NLMSG.OVERRUN) throw new NetlinkOverrun();
          if (type !== NLMSG.NOOP) visit(type, at + NLMSG_HDRLEN, at + length);
        }
        at += (length + 3) & ~3;
      }
    }
  }

  /** Throws away what earlier, broken off exchanges left unread. */
  discard(): void {
    for (;;) {
      try {
        if (this.receive() === 0) return;
      } catch (error) {
        if (!(error instanceof NetlinkOverrun)) throw error;
      }
    }
  }

  /** Reads the NLMSG_ERROR whose header is at `at`; undefined for an acknowledgement (error 0). */
  failure(at: number): NetlinkFailure | undefined {
    const code = -this.view.getInt32(at + NLMSG_HDRLEN, true);
    if (code === 0) return undefined;
    const end = at + this.view.getUint32(at, true);
    const flags = this.view.getUint16(at + 6, true);
    let start = at + NLMSG_HDRLEN + 4 + NLMSG_HDRLEN;
    if ((flags & NLM_F.CAPPED) === 0) {
      start += this.view.getUint32(at + NLMSG_HDRLEN + 4, true) - NLMSG_HDRLEN;
    }
    let text = "";
    let offset = -1;
    if ((flags & NLM_F.ACK_TLVS) !== 0) {
      eachAttribute(this.view, start, end, (type, from, to) => {
        if (type === NLMSGERR_ATTR_MSG) text = readString(this.bytes, from, to);
        if (type === NLMSGERR_ATTR_OFFS) offset = this.view.getUint32(from, true);
      });
    }
    return { code, text, offset };
  }

  /** Closes the descriptor; harmless when done twice. */
  close(): void {
    if (this.#open) libc.close(this.fd);
    this.#open = false;
  }

  #done(at: number, length: number, interrupted: boolean): NetlinkFailure | undefined {
    const status = length >= NLMSG_HDRLEN + 4 ? this.view.getInt32(at + NLMSG_HDRLEN, true) : 0;
    if (status < 0) return { code: -status, text: "", offset: -1 };
    return interrupted
      ? { code: E.INTR, text: "the table changed while it was read", offset: -1 }
      : undefined;
  }

  #bufferSize(force: number, plain: number, size: number | undefined): void {
    if (size === undefined) return;
    const value = int32(size);
    if (libc.setsockopt(this.fd, SOL_SOCKET, force, value, 4) === 0) return;
    check("setsockopt", libc.setsockopt(this.fd, SOL_SOCKET, plain, value, 4));
  }

  #option(option: number, value: number): void {
    check("setsockopt", libc.setsockopt(this.fd, SOL_NETLINK, option, int32(value), 4));
  }
}

const ANSWER_TIMEOUT = 10_000;

function int32(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}
