/**
 * The kernel's sockets as lifetimes need them: notices on the data plane's poll set, and dumps.
 *
 * @module
 */
import { ipKind } from "../net/ip.ts";
import type { Protocol } from "../pinhole/pinhole.ts";
import { EPOLL, type Poller } from "../sys/epoll.ts";
import { kernelAtLeast } from "../sys/kernel.ts";
import { SystemError } from "../sys/libc.ts";
import {
  CONNECTED,
  DestroyNotices,
  type DiagSocket,
  HOLDING,
  SocketDump,
} from "../sys/sock_diag.ts";
import type { LiveSocket, SocketTruth } from "./lifetimes.ts";

/** Called with each socket that is gone for good. */
export type EndHandler = (protocol: Protocol, localPort: number, cookie: bigint) => void;

/** What the kernel knows of sockets in this network namespace. */
export class SocketWatch implements SocketTruth {
  /** Linux 6.8 lists sockets that are bound and no more. */
  readonly coversBound: boolean = kernelAtLeast(6, 8);
  readonly #dump = new SocketDump();
  #notices: DestroyNotices | undefined;
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
      this.#notices = new DestroyNotices();
    } catch (error) {
      // An old kernel, or no right to listen: {@link notices} says so, and the caller compares by itself.
      if (!(error instanceof SystemError)) throw error;
      return;
    }
    const notices = this.#notices;
    this.#poller = poller;
    poller.add(notices.fd, EPOLL.IN, () => {
      const complete = notices.read((protocol, socket) => {
        ended(protocol, socket.localPort, socket.cookie);
      });
      if (!complete) lost();
    });
  }

  /** See {@link SocketTruth.dump}. */
  dump(what: "connections" | "all", visit: (socket: LiveSocket) => void): void {
    this.#dump.tcp(what === "all" ? HOLDING : CONNECTED, (s) => visit(live("tcp", s)));
    if (what === "all") this.#dump.udp((s) => visit(live("udp", s)));
  }

  /** Stops listening. */
  close(): void {
    if (this.#notices !== undefined) {
      this.#poller?.remove(this.#notices.fd);
      this.#notices.close();
    }
    this.#dump.close();
  }
}

function live(protocol: Protocol, s: DiagSocket): LiveSocket {
  const remote = s.remote;
  return {
    protocol,
    cookie: s.cookie,
    localPort: s.localPort,
    remote: ipKind(remote) === "unspecified" ? undefined : remote.text,
  };
}
