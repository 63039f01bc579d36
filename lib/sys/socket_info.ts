/**
 * A socket as the kernel's inet_diag tells it (sock_diag(7), linux/inet_diag.h).
 *
 * @module
 */
import { type IpAddress, ipFromBytes } from "../net/ip.ts";
import type { NetlinkSocket } from "./netlink.ts";

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
  /** Asks for sockets that are bound, neither listening nor connected (since 6.8); they show as CLOSE. */
  BOUND_INACTIVE: 13,
} as const;

/** All states, as a mask for dumps. */
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

/** Message type of requests, answers and notices. */
export const SOCK_DIAG_BY_FAMILY = 20;
/** Protocol numbers. */
export const IPPROTO = { tcp: 6, udp: 17 } as const;
/** Address families. */
export const AF = { INET: 2, INET6: 10 } as const;

/** Bytes of struct inet_diag_msg. */
const MESSAGE_SIZE = 72;
const INET_DIAG_PROTOCOL = 10;
/** idiag_timer of what is no full socket any more, whatever state it shows. */
const TIMER_TIME_WAIT = 3;

/** Reads inet_diag_msg structures into one object. */
export class SocketReader {
  /** What was read last. */
  readonly info: SocketInfo;
  readonly #socket: NetlinkSocket;
  #at = 0;

  /** Makes a reader of what the socket receives. */
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
    if (family !== AF.INET && family !== AF.INET6) return false;
    this.#at = start;
    const info = this.info;
    info.protocol = protocol;
    info.family = family === AF.INET ? 4 : 6;
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
