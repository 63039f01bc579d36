/**
 * An enforcer in memory: for tests, dry runs, and trying a policy without a perimeter.
 *
 * @module
 */
import { type FiveTuple, tupleKey, tupleText } from "../lib/pinhole/pinhole.ts";
import {
  type ChangeResult,
  type Counters,
  type Enforcer,
  type EnforcerCapabilities,
  type EnforcerChange,
  EnforcerError,
  type ListedEntry,
} from "./enforcer.ts";

/** What the debug enforcer is made with. */
export interface DebugOptions {
  /** Pinholes that fit, for each address family. Default: without limit. */
  readonly capacity?: number;
  /** The clock that leases end by, in milliseconds. Default: a monotonic clock. */
  readonly now?: () => number;
}

/** The debug enforcer, with what tests ask it. */
export interface DebugEnforcer extends Enforcer {
  /** Lets traffic through a pinhole, as if packets had come; false when it is not open. */
  pass(tuple: FiveTuple, packets: number, bytes: number): boolean;
  /** The tuples whose connections were ended, in order. */
  readonly ended: readonly FiveTuple[];
}

interface Entry {
  readonly tuple: FiveTuple;
  packets: number;
  bytes: number;
  /** When the lease ends; undefined without one. */
  ends: number | undefined;
}

/**
 * Makes an enforcer that only remembers.
 *
 * @throws {EnforcerError} for an impossible capacity.
 */
export function createDebug(options: DebugOptions = {}): DebugEnforcer {
  const capacity = options.capacity ?? Number.MAX_SAFE_INTEGER;
  if (!Number.isSafeInteger(capacity) || capacity < 1) {
    throw new EnforcerError(`Cannot hold ${capacity} pinholes`, "Give a capacity of at least 1.");
  }
  return new Debug(capacity, options.now ?? (() => performance.now()));
}

class Debug implements DebugEnforcer {
  readonly name = "debug";
  readonly capabilities: EnforcerCapabilities;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  readonly #ended: FiveTuple[] = [];
  /** No lease ends before that. */
  #firstEnd = Infinity;
  #connected = false;

  constructor(capacity: number, now: () => number) {
    this.#now = now;
    this.capabilities = {
      atomic: false,
      counterAge: 0,
      capacity,
      optimalBatch: 1000,
      ipv6: true,
      sourcePorts: true,
      portRanges: false,
      persistent: false,
      leases: true,
      ephemeral: true,
    };
  }

  get ended(): readonly FiveTuple[] {
    return this.#ended;
  }

  connect(): Promise<void> {
    this.#connected = true;
    return Promise.resolve();
  }

  apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    return this.#work(() => this.applyNow(batch));
  }

  applyNow(batch: readonly EnforcerChange[]): ChangeResult[] {
    if (!this.#connected) throw notConnected();
    this.#expire();
    return batch.map((change) => this.#change(change));
  }

  counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]> {
    return this.#work(() =>
      tuples.map((tuple) => {
        const entry = this.#entries.get(tupleKey(tuple));
        return entry && { packets: entry.packets, bytes: entry.bytes };
      })
    );
  }

  list(): Promise<ListedEntry[]> {
    return this.#work(() =>
      [...this.#entries.values()].map(({ tuple, packets, bytes, ends }) => ({
        tuple,
        packets,
        bytes,
        expires: ends === undefined ? undefined : (ends - this.#now()) / 1000,
      }))
    );
  }

  inspect(): Promise<ListedEntry[]> {
    return Promise.resolve([]); // it lives in one process: nobody else can have filled it
  }

  endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    return this.#work(() => void this.#ended.push(...tuples));
  }

  plan(batch: readonly EnforcerChange[]): string {
    return batch.map(({ action, tuple }) => `${action} ${tupleText(tuple)}\n`).join("");
  }

  close(): Promise<void> {
    this.#connected = false;
    return Promise.resolve();
  }

  remove(): Promise<void> {
    this.#entries.clear();
    return Promise.resolve();
  }

  pass(tuple: FiveTuple, packets: number, bytes: number): boolean {
    this.#expire();
    const entry = this.#entries.get(tupleKey(tuple));
    if (entry === undefined) return false;
    entry.packets += packets;
    entry.bytes += bytes;
    return true;
  }

  #change({ action, tuple, lease }: EnforcerChange): ChangeResult {
    if (tuple.source.family !== tuple.destination.family) {
      const message = `${tupleText(tuple)} mixes IPv4 and IPv6`;
      return { ok: false, reason: "refused", message };
    }
    const key = tupleKey(tuple);
    if (action === "close") {
      this.#entries.delete(key);
      return { ok: true };
    }
    const ends = lease === 0 ? undefined : this.#now() + lease * 1000;
    if (ends !== undefined) this.#firstEnd = Math.min(this.#firstEnd, ends);
    const entry = this.#entries.get(key);
    if (entry !== undefined) {
      entry.ends = ends;
      return { ok: true };
    }
    let used = 0;
    if (this.#entries.size >= this.capabilities.capacity) {
      for (const other of this.#entries.values()) {
        if (other.tuple.source.family === tuple.source.family) used++;
      }
    }
    if (used >= this.capabilities.capacity) {
      return { ok: false, reason: "full", message: `no room for ${tupleText(tuple)}` };
    }
    this.#entries.set(key, { tuple, packets: 0, bytes: 0, ends });
    return { ok: true };
  }

  #expire(): void {
    const now = this.#now();
    if (now < this.#firstEnd) return;
    this.#firstEnd = Infinity;
    for (const [key, { ends }] of this.#entries) {
      if (ends === undefined) continue;
      if (ends <= now) this.#entries.delete(key);
      else this.#firstEnd = Math.min(this.#firstEnd, ends);
    }
  }

  #work<T>(work: () => T): Promise<T> {
    if (!this.#connected) return Promise.reject(notConnected());
    this.#expire();
    return Promise.resolve(work());
  }
}

function notConnected(): EnforcerError {
  return new EnforcerError("The debug enforcer is not connected", "Call connect() first.");
}
