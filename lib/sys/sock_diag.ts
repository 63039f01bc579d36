/**
 * Asks the kernel which sockets there are, and ends connections (sock_diag(7)). All of the current
 * network namespace only.
 *
 * @module
 */
/**
 * The kernel's own view of sockets (sock_diag(7)): which exist, and notices when one is released for
 * good, whatever way that happened. All of the current network namespace only.
 *
 * @module
 */
import type { IpAddress } from "../net/ip.ts";
import { E } from "./libc.ts";
import { NETLINK, NetlinkError, type NetlinkFailure, NetlinkSocket } from "./netlink.ts";
import { MessageWriter, NLM_F } from "./netlink_message.ts";
import {
  AF,
  ALL_STATES,
  CONNECTION_STATES,
  IPPROTO,
  SOCK_DIAG_BY_FAMILY,
  type SocketInfo,
  SocketReader,
  TCP_STATE,
} from "./socket_info.ts";

export { ALL_STATES, CONNECTION_STATES, type SocketInfo, TCP_STATE } from "./socket_info.ts";
export { DestroyListener, type DestroyListenerOptions } from "./socket_notices.ts";

const SOCK_DESTROY = 21;
/** inet_diag_req_v2, and where its parts are. */
const REQUEST_SIZE = 56;
const NO_COOKIE = 0xffff_ffff_ffff_ffffn;
const INET_DIAG_REQ_BYTECODE = 1;
const BYTECODE = { S_GE: 2, S_LE: 3 } as const;
const ATTEMPTS = 10;

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
    for (const family of [AF.INET, AF.INET6]) {
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
      if (!socket.remainder) found.add(socket.cookie);
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
      if (ports.has(socket.localPort) && !socket.remainder) visit(socket);
    }, { low, high });
  }

  /** True while a socket bound to this local port has the cookie. */
  alive(protocol: "tcp" | "udp", localPort: number, cookie: bigint): boolean {
    let found = false;
    const states = ALL_STATES & ~(1 << TCP_STATE.TIME_WAIT);
    this.dump(protocol, states, (socket) => {
      if (socket.cookie === cookie && !socket.remainder) found = true;
    }, { low: localPort, high: localPort });
    return found;
  }

  /**
   * The cookie of the TCP socket that has this connection, or undefined without one. A listener on
   * the port does not count.
   */
  connectionCookie(id: ConnectionId): bigint | undefined {
    const w = this.#writer;
    const family = id.localAddress.family === 4 ? AF.INET : AF.INET6;
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
    const family = id.localAddress.family === 4 ? AF.INET : AF.INET6;
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

function refused(failure: NetlinkFailure): NetlinkError {
  return new NetlinkError("sock_diag", failure.code, failure.text, failure.offset);
}
