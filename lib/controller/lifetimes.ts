/**
 * When a pinhole ends with its socket and the connections that came in by it.
 *
 * A TCP listener may be closed as soon as it has accepted; the pinhole then lives as long as the accepted
 * connections (paper, section 3.2: closing a listening socket that has already been accepted does not close the
 * pinhole). The kernel is asked for them, so that it does not matter which process holds them now.
 *
 * @module
 */
import type { FiveTuple, Pinhole, Protocol } from "../pinhole/pinhole.ts";
import { processStart } from "../sys/process_facts.ts";
import type { Closer } from "./expiry.ts";
import { type PinholeTable, portKey } from "./pinhole_table.ts";

/** A socket that the kernel holds now. */
export interface LiveSocket {
  readonly protocol: Protocol;
  readonly cookie: bigint;
  readonly localPort: number;
  /** The other end's address as text, IPv4 unmapped; undefined when there is none. */
  readonly remote: string | undefined;
}

/** The kernel's knowledge of sockets in this network namespace. */
export interface SocketTruth {
  /** Sockets that are bound but neither listen nor are connected are in the dump too. */
  readonly coversBound: boolean;
  /**
   * Calls `visit` for each TCP connection, or for all sockets that hold a local port. What is left of a
   * connection in TIME_WAIT is no socket.
   */
  dump(what: "connections" | "all", visit: (socket: LiveSocket) => void): void;
}

/** What is known of the traffic that pinholes have let in, in their order; undefined: nothing. */
export interface Traffic {
  counters(tuples: readonly FiveTuple[]): Promise<({ readonly packets: number } | undefined)[]>;
}

/** Shortest time between two dumps, as a multiple of what the last one took. */
const DUMP_SPACING = 10;
const MIN_SPACING_MS = 5;

/** Watches over the ends of pinholes. */
export class Lifetimes {
  readonly #table: PinholeTable;
  readonly #closer: Closer;
  readonly #traffic: Traffic;
  readonly #truth: SocketTruth;
  /** Pinholes whose socket has ended and whose connections live on, by port. */
  readonly #lingering = new Map<number, Set<Pinhole>>();
  /** Pinholes that may have ended. */
  readonly #suspects = new Set<Pinhole>();
  #nextDump = 0;

  constructor(
    table: PinholeTable,
    closer: Closer,
    traffic: Traffic,
    truth: SocketTruth,
  ) {
    this.#table = table;
    this.#closer = closer;
    this.#traffic = traffic;
    this.#truth = truth;
  }

  /** The kernel says that a socket is gone for good. */
  ended(protocol: Protocol, localPort: number, cookie: bigint): void {
    for (const p of this.#table.ofSocket(cookie)) {
      // A datagram socket has no connections that could outlive it.
      if (p.tuple.protocol === "udp") this.#closer.close(p, "socket-closed");
      else this.#suspects.add(p);
    }
    const lingering = this.#lingering.get(portKey(protocol, localPort));
    if (lingering !== undefined) { for (const p of lingering) this.#suspects.add(p); }
  }

  /** Milliseconds until {@link check} has something to do; -1 when it has nothing. */
  due(now: number): number {
    return this.#suspects.size === 0 ? -1 : Math.max(0, this.#nextDump - now);
  }

  /**
   * Looks into the suspected ends.
   *
   * @param now milliseconds on the clock of `performance.now`.
   */
  async check(now: number): Promise<void> {
    if (this.#suspects.size === 0 || now < this.#nextDump) return;
    const suspects = [...this.#suspects].filter((p) => p.state === "open" || p.state === "opening");
    this.#suspects.clear();
    const used = await this.#used(suspects);
    if (used.length === 0) return;
    const connections = new Set<string>();
    const ports = new Set(used.map((p) => p.tuple.destinationPort));
    this.#dump("connections", (s) => {
      if (s.protocol === "tcp" && s.remote !== undefined && ports.has(s.localPort)) {
        connections.add(`${s.localPort}|${s.remote}`);
      }
    });
    for (const p of used) this.#decide(p, connections);
  }

  /**
   * Compares all pinholes with all sockets: at the start, after notices were lost, and with each
   * sweep.
   */
  reconcile(): void {
    const cookies = new Set<bigint>();
    const connections = new Set<string>();
    this.#dump("all", (s) => {
      cookies.add(s.cookie);
      if (s.remote !== undefined) connections.add(`${s.localPort}|${s.remote}`);
    });
    for (const p of this.#table.all()) {
      if (p.cookie === 0n || cookies.has(p.cookie)) continue;
      if (!this.#truth.coversBound && processStart(p.requester.pid) === p.requester.pidStart) {
        continue;
      }
      if (p.tuple.protocol === "udp") this.#closer.close(p, "socket-closed");
      else this.#decide(p, connections);
    }
  }

  /** Pinholes that no packet ever used cannot have connections: they end here, without a dump. */
  async #used(suspects: Pinhole[]): Promise<Pinhole[]> {
    if (suspects.length === 0) return [];
    const counters = await this.#traffic.counters(suspects.map((p) => p.tuple));
    return suspects.filter((p, i) => {
      const c = counters[i];
      if (c === undefined || c.packets > 0) return true;
      this.#closer.close(p, "socket-closed");
      return false;
    });
  }

  #decide(p: Pinhole, connections: ReadonlySet<string>): void {
    const key = portKey(p.tuple.protocol, p.tuple.destinationPort);
    const lingering = this.#lingering.get(key);
    if (connections.has(`${p.tuple.destinationPort}|${p.tuple.source.text}`)) {
      if (lingering === undefined) this.#lingering.set(key, new Set([p]));
      else lingering.add(p);
      return;
    }
    if (lingering?.delete(p) === true && lingering.size === 0) this.#lingering.delete(key);
    this.#closer.close(p, "socket-closed");
  }

  #dump(what: "connections" | "all", visit: (socket: LiveSocket) => void): void {
    const start = performance.now();
    this.#truth.dump(what, visit);
    const end = performance.now();
    this.#nextDump = end + Math.max(MIN_SPACING_MS, (end - start) * DUMP_SPACING);
  }
}
