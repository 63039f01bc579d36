/**
 * The kernel's sockets as lifetimes need them: notices on the data plane's poll set, and dumps.
 *
 * @module
 */
import { unmapIp } from "../net/ip.ts";
import type { Protocol } from "../pinhole/pinhole.ts";
import { EPOLL, type Poller } from "../sys/epoll.ts";
import { kernelAtLeast } from "../sys/kernel.ts";
import { SystemError } from "../sys/libc.ts";
import { NetlinkOverrun } from "../sys/netlink.ts";
import {
  ALL_STATES,
  CONNECTION_STATES,
  DestroyListener,
  SockDiag,
  type SocketInfo,
} from "../sys/sock_diag.ts";
import type { LiveSocket, SocketTruth } from "./lifetimes.ts";

/** Notices read at a time, and so the longest that a request waits for them. */
const SLICE = 256;

/** Called with each socket that is gone for good. */
export type EndHandler = (protocol: Protocol, localPort: number, cookie: bigint) => void;

/** What the kernel knows of sockets in this network namespace. */
export class SocketWatch implements SocketTruth {
  /** Linux 6.8 lists sockets that are bound and no more. */
  readonly coversBound: boolean = kernelAtLeast(6, 8);
  readonly #diag = new SockDiag();
  #notices: DestroyListener | undefined;
  #poller: Poller | undefined;
  #ended: EndHandler = () => {};
  #lost: () => void = () => {};
  #waitingSince = Infinity;

  /** The kernel tells of ends by itself. */
  get notices(): boolean {
    return this.#notices !== undefined;
  }

  /** Since when there are notices to {@link read}, on the clock of `performance.now`; Infinity: none. */
  get waitingSince(): number {
    return this.#waitingSince;
  }

  /**
   * Listens for ends from now on, where the kernel tells of them.
   *
   * @param lost called when notices were lost and all must be compared.
   */
  watch(poller: Poller, ended: EndHandler, lost: () => void): void {
    try {
      this.#notices = new DestroyListener();
    } catch (error) {
      // An old kernel, or no right to listen: {@link notices} says so, and the caller compares by itself.
      if (!(error instanceof SystemError)) throw error;
      return;
    }
    this.#poller = poller;
    this.#ended = ended;
    this.#lost = lost;
    // Once, until they are read: whoever serves requests is not disturbed by each.
    poller.add(this.#notices.fd, EPOLL.IN | EPOLL.ONESHOT, () => {
      this.#waitingSince = performance.now();
    });
  }

  /** Passes on some of the notices that are there. */
  read(): void {
    const notices = this.#notices;
    if (notices === undefined) return;
    try {
      // As many as asked for: there may be more.
      if (notices.read((s) => this.#ended(s.protocol, s.localPort, s.cookie), SLICE) >= SLICE) {
        return;
      }
    } catch (error) {
      if (!(error instanceof NetlinkOverrun)) throw error;
      this.#lost();
    }
    if (this.#waitingSince === Infinity) return;
    this.#waitingSince = Infinity;
    this.#poller?.change(notices.fd, EPOLL.IN | EPOLL.ONESHOT);
  }

  /** See {@link SocketTruth.dump}. */
  dump(what: "connections" | "all", visit: (socket: LiveSocket) => void): void {
    const see = (s: SocketInfo) => {
      if (!s.remainder) visit(live(s));
    };
    this.#diag.dump("tcp", what === "all" ? ALL_STATES : CONNECTION_STATES, see);
    if (what === "all") this.#diag.dump("udp", ALL_STATES, see);
  }

  /** Stops listening. */
  close(): void {
    if (this.#notices !== undefined) {
      this.#poller?.remove(this.#notices.fd);
      this.#notices.close();
    }
    this.#diag.close();
  }
}

function live(s: SocketInfo): LiveSocket {
  return {
    protocol: s.protocol,
    cookie: s.cookie,
    localPort: s.localPort,
    remote: s.remotePort === 0 ? undefined : unmapIp(s.remoteAddress()).text,
  };
}
