/**
 * The kernel's sockets over netlink (sock_diag(7)): what there is, and notices of what ends.
 *
 * @module
 */
import { type IpAddress, ipFromBytes, unmapIp } from "../net/ip.ts";
import { NETLINK, type NetlinkFailure, NetlinkOverrun, NetlinkSocket } from "./netlink.ts";
import { findAttribute, MessageWriter, NLM_F, NLMSG_HDRLEN } from "./netlink_message.ts";

/** TCP states (include/net/tcp_states.h). BOUND_INACTIVE: bound, neither listening nor connected. */
export const TCP = {
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
  BOUND_INACTIVE: 13,
} as const;

/** A mask of states for {@link SocketDump}. */
export function stateMask(...states: number[]): number {
  return states.reduce((mask, state) => mask | (1 << state), 0) >>> 0;
}

/** States of connections, beginning and ending ones included. */
export const CONNECTED: number = stateMask(
  TCP.ESTABLISHED,
  TCP.SYN_SENT,
  TCP.SYN_RECV,
  TCP.FIN_WAIT1,
  TCP.FIN_WAIT2,
  TCP.CLOSE_WAIT,
  TCP.LAST_ACK,
  TCP.CLOSING,
);

/** All states but TIME_WAIT, in which there is no socket any more. */
export const HOLDING: number =
  (CONNECTED | stateMask(TCP.CLOSE, TCP.LISTEN, TCP.BOUND_INACTIVE)) >>> 0;

/**
 * A socket in a message of the kernel. The same object is used for each message: take from it what is
 * needed before the next.
 */
export class DiagSocket {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView<ArrayBuffer>;
  #at = 0;
  #end = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>, view: DataView<ArrayBuffer>) {
    this.#bytes = bytes;
    this.#view = view;
  }

  /** Looks at the payload from `start` to `end`; false when it is too short to be a socket. */
  at(start: number, end: number): boolean {
    this.#at = start;
    this.#end = end;
    return end - start >= DIAG_MESSAGE;
  }

  get state(): number {
    return this.#view.getUint8(this.#at + 1);
  }

  /** It is only the remainder of a socket that is gone (TIME_WAIT, or FIN_WAIT2 without owner). */
  get remainder(): boolean {
    return this.#view.getUint8(this.#at + 2) === TIMER_TIME_WAIT;
  }

  get localPort(): number {
    return this.#view.getUint16(this.#at + 4, false);
  }

  get remotePort(): number {
    return this.#view.getUint16(this.#at + 6, false);
  }

  /** The local address; IPv4 in IPv6 form is given as IPv4. */
  get local(): IpAddress {
    return this.#address(8);
  }

  /** The far end's address; IPv4 in IPv6 form is given as IPv4. Unspecified when there is none. */
  get remote(): IpAddress {
    return this.#address(24);
  }

  /** SO_COOKIE. */
  get cookie(): bigint {
    return this.#view.getBigUint64(this.#at + 44, true);
  }

  /** IPPROTO number from the attribute that notices carry; undefined in dumps. */
  get protocol(): number | undefined {
    const from = this.#at + DIAG_MESSAGE;
    const found = findAttribute(this.#view, INET_DIAG_PROTOCOL, from, this.#end);
    return found < 0 ? undefined : this.#view.getUint8(found + 4);
  }

  #address(offset: number): IpAddress {
    const at = this.#at + offset;
    return this.#view.getUint8(this.#at) === AF_INET
      ? ipFromBytes(this.#bytes.subarray(at, at + 4))
      : unmapIp(ipFromBytes(this.#bytes.subarray(at, at + 16)));
  }
}

const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO = { tcp: 6, udp: 17 } as const;
const DIAG_MESSAGE = 72;
const TIMER_TIME_WAIT = 3;
const INET_DIAG_PROTOCOL = 10;
const SOCK_DIAG_BY_FAMILY = 20;
const ALL_STATES = 0xffffffff;
const DESTROY_GROUPS = [1, 2, 3, 4];
const NOTICE_BUFFER = 16 * 1024 * 1024;
const DUMP_BUFFER = 1024 * 1024;
/** Datagrams of notices read in one go, so that a storm of them does not starve the rest. */
const NOTICES_PER_READ = 4096;

/** Notices of TCP and UDP sockets that are gone for good, in this network namespace. */
export class DestroyNotices {
  readonly #socket: NetlinkSocket;
  readonly #found: DiagSocket;

  /** @throws {SystemError} where the kernel gives no such notices. */
  constructor() {
    this.#socket = new NetlinkSocket(NETLINK.SOCK_DIAG, {
      receiveBuffer: NOTICE_BUFFER,
      groups: DESTROY_GROUPS,
    });
    this.#found = new DiagSocket(this.#socket.bytes, this.#socket.view);
  }

  /** The descriptor, for epoll. */
  get fd(): number {
    return this.#socket.fd;
  }

  /**
   * Reads the notices that are there.
   *
   * @returns false when some were lost: what is left must be compared with a dump.
   */
  read(visit: (protocol: "tcp" | "udp", socket: DiagSocket) => void): boolean {
    let complete = true;
    for (let i = 0; i < NOTICES_PER_READ; i++) {
      let n: number;
      try {
        n = this.#socket.receive();
      } catch (error) {
        if (!(error instanceof NetlinkOverrun)) throw error;
        complete = false;
        continue;
      }
      if (n === 0) break;
      this.#messages(n, visit);
    }
    return complete;
  }

  /** Stops listening. */
  close(): void {
    this.#socket.close();
  }

  #messages(n: number, visit: (protocol: "tcp" | "udp", socket: DiagSocket) => void): void {
    const { view } = this.#socket;
    for (let at = 0; at + NLMSG_HDRLEN <= n;) {
      const length = view.getUint32(at, true);
      if (length < NLMSG_HDRLEN || at + length > n) return;
      const isSocket = view.getUint16(at + 4, true) === SOCK_DIAG_BY_FAMILY;
      if (isSocket && this.#found.at(at + NLMSG_HDRLEN, at + length)) {
        const protocol = this.#found.protocol;
        if (protocol === IPPROTO.tcp) visit("tcp", this.#found);
        else if (protocol === IPPROTO.udp) visit("udp", this.#found);
      }
      at += (length + 3) & ~3;
    }
  }
}

/** Lists the sockets of this network namespace. */
export class SocketDump {
  readonly #socket: NetlinkSocket;
  readonly #found: DiagSocket;
  readonly #writer = new MessageWriter(256);

  /** @throws {SystemError} where the kernel has no sock_diag. */
  constructor() {
    this.#socket = new NetlinkSocket(NETLINK.SOCK_DIAG, { receiveBuffer: DUMP_BUFFER });
    this.#found = new DiagSocket(this.#socket.bytes, this.#socket.view);
  }

  /** Calls `visit` for each TCP socket in one of the states, IPv4 and IPv6. */
  tcp(states: number, visit: (socket: DiagSocket) => void): void {
    this.#dump("tcp", states, visit);
  }

  /** Calls `visit` for each UDP socket, IPv4 and IPv6. */
  udp(visit: (socket: DiagSocket) => void): void {
    this.#dump("udp", ALL_STATES, visit);
  }

  /** Lets go of the socket. */
  close(): void {
    this.#socket.close();
  }

  #dump(protocol: "tcp" | "udp", states: number, visit: (socket: DiagSocket) => void): void {
    for (const family of [AF_INET, AF_INET6]) {
      const failure = this.#request(family, IPPROTO[protocol], states, visit);
      if (failure !== undefined) {
        throw new Error(
          `Cannot list ${protocol} sockets: ${failure.text || `error ${failure.code}`}`,
        );
      }
    }
  }

  #request(
    family: number,
    protocol: number,
    states: number,
    visit: (socket: DiagSocket) => void,
  ): NetlinkFailure | undefined {
    const request = new Uint8Array(56);
    request[0] = family;
    request[1] = protocol;
    new DataView(request.buffer).setUint32(4, states, true);
    const sequence = this.#socket.nextSequence();
    this.#writer.reset();
    this.#writer.begin(SOCK_DIAG_BY_FAMILY, NLM_F.REQUEST | NLM_F.DUMP, sequence);
    this.#writer.raw(request);
    this.#writer.end();
    return this.#socket.request(this.#writer, sequence, (_type, start, end) => {
      if (this.#found.at(start, end) && !this.#found.remainder) visit(this.#found);
    });
  }
}
