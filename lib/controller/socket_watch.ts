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

/** Called with each socket that is gone for good. */
export type EndHandler = (protocol: Protocol, localPort: number, cookie: bigint) => void;

/** What the kernel knows of sockets in this network namespace. */
export class SocketWatch implements SocketTruth {
  /** Linux 6.8 lists sockets that are bound and no more. */
  readonly coversBound: boolean = kernelAtLeast(6, 8);
  readonly #diag = new SockDiag();
  #notices: DestroyListener | undefined;
  #poller: Poller | undefined;

  /** The kernel tells of ends by itself. */
  get notices(): boolean {
    return this.#notices !== undefined;
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
    const notices = this.#notices;
    this.#poller = poller;
    poller.add(notices.fd, EPOLL.IN, () => {
      try {
        notices.read((s) => ended(s.protocol, s.localPort, s.cookie));
      } catch (error) {
        if (!(error instanceof NetlinkOverrun)) throw error;
        lost();
      }
    });
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
