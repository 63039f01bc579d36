/**
 * An enforcer in memory whose failures a test chooses.
 *
 * @module
 */
import type {
  ChangeResult,
  Counters,
  Enforcer,
  EnforcerCapabilities,
  EnforcerChange,
  ListedEntry,
} from "../../drivers/enforcer.ts";
import { type FiveTuple, tupleKey, tupleText } from "../../lib/pinhole/pinhole.ts";

/** Remembers what it was told, and breaks as ordered. */
export class FakeEnforcer implements Enforcer {
  readonly name = "fake";
  readonly capabilities: EnforcerCapabilities = {
    atomic: true,
    counterAge: 0,
    capacity: 1000,
    optimalBatch: 100,
    ipv6: true,
    sourcePorts: true,
    portRanges: false,
    persistent: false,
    leases: true,
  };
  readonly entries = new Map<string, { tuple: FiveTuple; packets: number; bytes: number }>();
  /** Batches as text, `+` for open and `-` for close. */
  readonly batches: string[][] = [];
  readonly ended: string[] = [];
  /** Makes the result of each change; undefined: done. */
  answer: (change: EnforcerChange) => ChangeResult | undefined = () => undefined;
  /** Thrown by the next calls of apply. */
  broken: Error | undefined;

  connect(): Promise<void> {
    return Promise.resolve();
  }

  apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    this.batches.push(batch.map((c) => `${c.action === "open" ? "+" : "-"}${c.id}`));
    if (this.broken !== undefined) return Promise.reject(this.broken);
    return Promise.resolve(batch.map((c) => {
      const result = this.answer(c) ?? { ok: true };
      if (result.ok) {
        const key = tupleKey(c.tuple);
        if (c.action === "close") this.entries.delete(key);
        else if (!this.entries.has(key)) {
          this.entries.set(key, { tuple: c.tuple, packets: 0, bytes: 0 });
        }
      }
      return result;
    }));
  }

  counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]> {
    return Promise.resolve(tuples.map((t) => this.entries.get(tupleKey(t))));
  }

  list(): Promise<ListedEntry[]> {
    return Promise.resolve([...this.entries.values()].map((e) => ({ ...e, expires: undefined })));
  }

  endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    this.ended.push(...tuples.map(tupleText));
    return Promise.resolve();
  }

  plan(): string {
    return "";
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  remove(): Promise<void> {
    this.entries.clear();
    return Promise.resolve();
  }
}
