/**
 * The kernel's own view of sockets (sock_diag(7)): which exist, and notices when one is released for
 * good, whatever way that happened. All of the current network namespace only.
 *
 * @module
 */
import { type IpAddress, ipFromBytes } from "../net/ip.ts";
import { E } from "./libc.ts";
import {
  NETLINK,
  NetlinkError,
  type NetlinkFailure,
  type NetlinkOptions,
  NetlinkSocket,
} from "./netlink.ts";
import { MessageWriter, NLM_F, NLMSG_HDRLEN } from "./netlink_message.ts";

/** TCP's states as sock_diag counts them (net/tcp_states.h); UDP sockets are ESTABLISHED or CLOSE. */
export const TCP_STATE = {
  ESTABLISHED: 1,
  SYN_SENT: 2,
  SYN_RECV: 3,
  FIN_WAIT1: 4,
  FIN_WAIT2: 5,
  TIME_WAIT: 6,
  CLOSE: 7,
  CLOSE_WAIT: 8,
  LAST_ACK: 9,
  LISTEN: 10,
  CLOSING: 11,
  NEW_SYN_RECV: 12,
  /** Bound, neither listening nor connected; reported since Linux 6.8. */
  BOUND_INACTIVE: 13,
} as const;

/** All states, as a mask for {@link SockDiag.dump}. */
export const ALL_STATES = 0x3ffe;
/** States of a TCP socket that has a connection, TIME_WAIT (which no program has) excluded. */
export const CONNECTION_STATES = ALL_STATES &
  ~((1 << TCP_STATE.TIME_WAIT) | (1 << TCP_STATE.CLOSE) | (1 << TCP_STATE.LISTEN) |
    (1 << TCP_STATE.BOUND_INACTIVE));

/**
 * A socket as the kernel tells it. The object given to a visitor is reused: copy what is kept.
 * `cookie` is that of SO_COOKIE. An unconnected socket's remote port is 0.
 */
export interface SocketInfo {
  protocol: "tcp" | "udp";
  family: 4 | 6;
  /** One of {@link TCP_STATE}. */
  state: number;
  localPort: number;
  remotePort: number;
  /** Interface it is bound to, or 0. */
  interface: number;
  cookie: bigint;
  uid: number;
  /** Inode of its descriptor; 0 when no process has one any more. */
  inode: number;
  /** Only the remainder of a socket that is gone: TIME_WAIT, or FIN_WAIT2 after its owner left. */
  remainder: boolean;
  /** Makes the address of this end. */
  localAddress(): IpAddress;
  /** Makes the address of the other end. */
  remoteAddress(): IpAddress;
}

const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO = { tcp: 6, udp: 17 } as const;
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
/** inet_diag_req_v2, and where its parts are. */
const REQUEST_SIZE = 56;
/** inet_diag_msg. */
const MESSAGE_SIZE = 72;
const NO_COOKIE = 0xffff_ffff_ffff_ffffn;
const INET_DIAG_REQ_BYTECODE = 1;
const INET_DIAG_PROTOCOL = 10;
const BYTECODE = { S_GE: 2, S_LE: 3 } as const;
const ATTEMPTS = 10;
/** idiag_timer of what is no full socket any more, whatever state it shows. */
const TIMER_TIME_WAIT = 3;

/** Multicast groups of notices about released sockets (linux/sock_diag.h). */
const DESTROY_GROUPS = [1, 2, 3, 4] as const;

/** What the notices can be limited to, and the room for those not read yet. */
export interface DestroyListenerOptions {
  /** Bytes of the receive buffer; a notice takes about 1 KiB of it. */
  readonly receiveBuffer?: number;
}

/** Hears of every TCP and UDP socket of the namespace that is released for good. */
export class DestroyListener {
  readonly #socket: NetlinkSocket;
  readonly #reader: SocketReader;

  /** @throws {SystemError} when the kernel has no sock_diag or the right is missing. */
  constructor(options: DestroyListenerOptions = {}) {
    const netlink: NetlinkOptions = {
      receiveBuffer: options.receiveBuffer ?? 32 << 20,
      groups: DESTROY_GROUPS,
    };
    this.#socket = new NetlinkSocket(NETLINK.SOCK_DIAG, netlink);
    this.#reader = new SocketReader(this.#socket);
  }

  /** The descriptor, readable when there are notices; for epoll. */
  get fd(): number {
    return this.#socket.fd;
  }

  /**
   * Passes on the notices that are there, without waiting.
   *
   * @param visit gets each released socket; the object is reused
   * @param limit datagrams to read at most, so that a flood does not starve the caller
   * @returns how many sockets were told of; 0 when nothing is left.
   * @throws {NetlinkOverrun} when notices were lost: ask {@link SockDiag} what still lives. Reading
   * can go on afterwards.
   */
  read(visit: (socket: SocketInfo) => void, limit = 1024): number {
    let told = 0;
    for (let i = 0; i < limit; i++) {
      const n = this.#socket.receive();
      if (n === 0) break;
      const view = this.#socket.view;
      for (let at = 0; at + NLMSG_HDRLEN <= n;) {
        const length = view.getUint32(at, true);
        if (length < NLMSG_HDRLEN || at + length > n) break;
        const end = at + length;
        if (
          view.getUint16(at + 4, true) === SOCK_DIAG_BY_FAMILY &&
          this.#reader.readNotice(at + NLMSG_HDRLEN, end)
        ) {
          told++;
          visit(this.#reader.info);
        }
        at += (length + 3) & ~3;
      }
    }
    return told;
  }

  /** Waits for a notice, at most `timeout` milliseconds; for tests and tools without a poll set. */
  wait(timeout: number): boolean {
    return this.#socket.wait(timeout);
  }

  /** Stops listening. */
  close(): void {
    this.#socket.close();
  }
}

/** The addresses and ports of one TCP connection as its local end has them. */
export interface ConnectionId {
  readonly localAddress: IpAddress;
  readonly localPort: number;
  readonly remoteAddress: IpAddress;
  readonly remotePort: number;
  /** Interface that the socket is bound to, or 0. */
  readonly interface: number;
}

/** Asks the kernel which sockets there are. */
export class SockDiag {
  readonly #socket: NetlinkSocket;
  readonly #writer = new MessageWriter(4096);
  readonly #reader: SocketReader;

  /** @throws {SystemError} when the kernel has no sock_diag. */
  constructor() {
    this.#socket = new NetlinkSocket(NETLINK.SOCK_DIAG, { receiveBuffer: 4 << 20 });
    this.#reader = new SocketReader(this.#socket);
  }

  /**
   * Visits every socket of a protocol, IPv4 and IPv6, whose state is in the mask and whose local port
   * is in a range. Sockets made or released meanwhile may be missing or shown.
   *
   * @throws {NetlinkError} when the kernel refuses.
   */
  dump(
    protocol: "tcp" | "udp",
    states: number,
    visit: (socket: SocketInfo) => void,
    ports: { readonly low: number; readonly high: number } = { low: 0, high: 0xffff },
  ): void {
    for (const family of [AF_INET, AF_INET6]) {
      for (let attempt = 1;; attempt++) {
        const w = this.#writer;
        const sequence = this.#begin(SOCK_DIAG_BY_FAMILY, NLM_F.DUMP, protocol, family, states);
        if (ports.low > 0 || ports.high < 0xffff) this.#portFilter(ports.low, ports.high);
        w.end();
        const failure = this.#socket.request(w, sequence, (_, start, end) => {
          if (this.#reader.read(start, end, protocol)) visit(this.#reader.info);
        });
        if (failure === undefined || failure.code === E.NOENT) break;
        if (failure.code !== E.INTR || attempt === ATTEMPTS) throw refused(failure);
      }
    }
  }

  /** The cookies of all living TCP and UDP sockets (those of TIME_WAIT, which no program has, not). */
  cookies(): Set<bigint> {
    const found = new Set<bigint>();
    const keep = (socket: SocketInfo) => {
      found.add(socket.cookie);
    };
    this.dump("tcp", ALL_STATES & ~(1 << TCP_STATE.TIME_WAIT), keep);
    this.dump("udp", ALL_STATES, keep);
    return found;
  }

  /** Visits the TCP connections (no listeners, no TIME_WAIT) whose local port is in the set. */
  connections(ports: ReadonlySet<number>, visit: (socket: SocketInfo) => void): void {
    if (ports.size === 0) return;
    let low = 0xffff;
    let high = 0;
    for (const port of ports) {
      low = Math.min(low, port);
      high = Math.max(high, port);
    }
    this.dump("tcp", CONNECTION_STATES, (socket) => {
      if (ports.has(socket.localPort)) visit(socket);
    }, { low, high });
  }

  /** True while a socket bound to this local port has the cookie. */
  alive(protocol: "tcp" | "udp", localPort: number, cookie: bigint): boolean {
    let found = false;
    const states = ALL_STATES & ~(1 << TCP_STATE.TIME_WAIT);
    this.dump(protocol, states, (socket) => {
      if (socket.cookie === cookie) found = true;
    }, { low: localPort, high: localPort });
    return found;
  }

  /**
   * The cookie of the TCP socket that has this connection, or undefined without one. A listener on
   * the port does not count.
   */
  connectionCookie(id: ConnectionId): bigint | undefined {
    const w = this.#writer;
    const family = id.localAddress.family === 4 ? AF_INET : AF_INET6;
    const sequence = this.#begin(SOCK_DIAG_BY_FAMILY, NLM_F.ACK, "tcp", family, ALL_STATES, id);
    w.end();
    let cookie: bigint | undefined;
    const failure = this.#socket.request(w, sequence, (_, start, end) => {
      if (!this.#reader.read(start, end, "tcp")) return;
      if (this.#reader.info.state !== TCP_STATE.LISTEN) cookie = this.#reader.info.cookie;
    });
    if (failure !== undefined && failure.code !== E.NOENT) throw refused(failure);
    return cookie;
  }

  /**
   * Ends a TCP connection at once: the other host gets a reset, the program ECONNABORTED
   * (SOCK_DESTROY, CONFIG_INET_DIAG_DESTROY).
   *
   * @returns false when there is no such connection.
   * @throws {NetlinkError} EOPNOTSUPP in a kernel without it, EPERM without the right.
   */
  destroy(id: ConnectionId, cookie: bigint): boolean {
    const w = this.#writer;
    const family = id.localAddress.family === 4 ? AF_INET : AF_INET6;
    const sequence = this.#begin(SOCK_DESTROY, NLM_F.ACK, "tcp", family, ALL_STATES, id, cookie);
    w.end();
    const failure = this.#socket.request(w, sequence, () => {});
    if (failure === undefined) return true;
    if (failure.code === E.NOENT || failure.code === E.STALE) return false;
    throw refused(failure);
  }

  /** Lets go of the socket. */
  close(): void {
    this.#socket.close();
  }

  #begin(
    type: number,
    flags: number,
    protocol: "tcp" | "udp",
    family: number,
    states: number,
    id?: ConnectionId,
    cookie = NO_COOKIE,
  ): number {
    const w = this.#writer;
    const sequence = this.#socket.nextSequence();
    w.reset();
    w.begin(type, NLM_F.REQUEST | flags, sequence);
    const request = new Uint8Array(REQUEST_SIZE);
    const view = new DataView(request.buffer);
    request[0] = family;
    request[1] = IPPROTO[protocol];
    view.setUint32(4, states, true);
    if (id !== undefined) {
      view.setUint16(8, id.localPort);
      view.setUint16(10, id.remotePort);
      request.set(id.localAddress.bytes, 12);
      request.set(id.remoteAddress.bytes, 28);
      view.setUint32(44, id.interface, true);
    }
    view.setBigUint64(48, cookie, true);
    w.raw(request);
    return sequence;
  }

  /** Bytecode (linux/inet_diag.h): accept sockets whose local port is at least low and at most high. */
  #portFilter(low: number, high: number): void {
    // Each condition is an operation of two words, the port being in the second one; "no" beyond the
    // end of the program means that the socket is left out.
    const program = new Uint8Array(16);
    const view = new DataView(program.buffer);
    const condition = (at: number, code: number, port: number) => {
      program[at] = code;
      program[at + 1] = 8;
      view.setUint16(at + 2, 16 - at + 4, true);
      view.setUint16(at + 6, port, true);
    };
    condition(0, BYTECODE.S_GE, low);
    condition(8, BYTECODE.S_LE, high);
    this.#writer.attribute(INET_DIAG_REQ_BYTECODE, program);
  }
}

/** Reads inet_diag_msg structures into one object. */
class SocketReader {
  readonly info: SocketInfo;
  readonly #socket: NetlinkSocket;
  #at = 0;

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
    this.info = {
      protocol: "tcp",
      family: 4,
      state: 0,
      localPort: 0,
      remotePort: 0,
      interface: 0,
      cookie: 0n,
      uid: 0,
      inode: 0,
      remainder: false,
      localAddress: () => this.#address(8),
      remoteAddress: () => this.#address(24),
    };
  }

  /** False when the message is too short or of a family that is not IP. */
  read(start: number, end: number, protocol: "tcp" | "udp"): boolean {
    if (end - start < MESSAGE_SIZE) return false;
    const { view } = this.#socket;
    const family = view.getUint8(start);
    if (family !== AF_INET && family !== AF_INET6) return false;
    this.#at = start;
    const info = this.info;
    info.protocol = protocol;
    info.family = family === AF_INET ? 4 : 6;
    info.state = view.getUint8(start + 1);
    info.localPort = view.getUint16(start + 4);
    info.remotePort = view.getUint16(start + 6);
    info.interface = view.getUint32(start + 40, true);
    info.cookie = view.getBigUint64(start + 44, true);
    info.uid = view.getUint32(start + 64, true);
    info.remainder = view.getUint8(start + 2) === TIMER_TIME_WAIT;
    info.inode = view.getUint32(start + 68, true);
    return true;
  }

  /** A notice names its protocol in an attribute. */
  readNotice(start: number, end: number): boolean {
    const { view } = this.#socket;
    for (let at = start + MESSAGE_SIZE; at + 5 <= end;) {
      const length = view.getUint16(at, true);
      if (length < 4 || at + length > end) return false;
      if (view.getUint16(at + 2, true) === INET_DIAG_PROTOCOL) {
        const number = view.getUint8(at + 4);
        if (number !== IPPROTO.tcp && number !== IPPROTO.udp) return false;
        return this.read(start, end, number === IPPROTO.tcp ? "tcp" : "udp");
      }
      at += (length + 3) & ~3;
    }
    return false;
  }

  #address(offset: number): IpAddress {
    const from = this.#at + offset;
    return ipFromBytes(
      this.#socket.bytes.subarray(from, from + (this.info.family === 4 ? 4 : 16)),
    );
  }
}

function refused(failure: NetlinkFailure): NetlinkError {
  return new NetlinkError("sock_diag", failure.code, failure.text, failure.offset);
}
