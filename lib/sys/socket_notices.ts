/**
 * Notices of sockets that are released for good, whatever way that happened (sock_diag(7)).
 *
 * @module
 */
import { NETLINK, NetlinkOverrun, NetlinkSocket } from "./netlink.ts";
import { NLMSG_HDRLEN } from "./netlink_message.ts";
import { SOCK_DIAG_BY_FAMILY, type SocketInfo, SocketReader } from "./socket_info.ts";

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
    this.#socket = new NetlinkSocket(NETLINK.SOCK_DIAG, {
      receiveBuffer: options.receiveBuffer ?? 32 << 20,
      groups: DESTROY_GROUPS,
    });
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
   * @throws {NetlinkOverrun} after those that came, when others were lost: ask SockDiag what
   * still lives. Reading can go on afterwards.
   */
  read(visit: (socket: SocketInfo) => void, limit = 1024): number {
    let told = 0;
    let lost = false;
    // After a loss the kernel drops all further notices, without saying so again, until everything
    // queued is read. Only then may the caller compare, or it would miss what ends meanwhile.
    for (let i = 0; i < limit || lost; i++) {
      let n = 0;
      try {
        n = this.#socket.receive();
      } catch (error) {
        if (!(error instanceof NetlinkOverrun)) throw error;
        lost = true;
        continue;
      }
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
    if (lost) throw new NetlinkOverrun();
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
