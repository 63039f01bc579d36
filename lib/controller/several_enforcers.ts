/**
 * Several enforcers as one (paper, section 5.1): each is responsible for the destinations behind it. Those of
 * different destinations share the load, so that their capacities add up; those of the same destination
 * stand in sequence, and a pinhole is open when it is open at all of them, or at none.
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
import { inRange, type IpAddress, type IpRange } from "../net/ip.ts";
import { type FiveTuple, tupleKey } from "../pinhole/pinhole.ts";

/** What they are called together, where a name is needed. */
export const SEVERAL = "enforcers";

/** One of several enforcers. */
export interface Segment {
  readonly enforcer: Enforcer;
  /** What is behind it; undefined: everything. */
  readonly destinations: readonly IpRange[] | undefined;
}

/** All of them, in the order in which traffic from outside passes them. */
export class SeveralEnforcers implements Enforcer {
  readonly name: string;
  readonly capabilities: EnforcerCapabilities;
  readonly #segments: readonly Segment[];

  /** @throws {RangeError} without any. */
  constructor(segments: readonly Segment[]) {
    if (segments.length === 0) throw new RangeError("Cannot control no enforcer at all");
    this.#segments = segments;
    this.name = segments.map((s) => s.enforcer.name).join("+");
    const all = segments.map((s) => s.enforcer.capabilities);
    const ages = all.map((c) => c.counterAge);
    this.capabilities = {
      atomic: false,
      counterAge: ages.includes(undefined) ? undefined : Math.max(...ages.map((a) => a ?? 0)),
      capacity: capacityOf(segments),
      optimalBatch: Math.min(...all.map((c) => c.optimalBatch)),
      ipv6: all.every((c) => c.ipv6),
      sourcePorts: all.every((c) => c.sourcePorts),
      portRanges: all.every((c) => c.portRanges),
      persistent: all.some((c) => c.persistent),
      leases: all.every((c) => c.leases),
    };
  }

  async connect(): Promise<void> {
    for (const { enforcer } of this.#segments) await enforcer.connect();
  }

  /** Opens from the inside out and closes from the outside in, so that nothing half-open lets traffic in. */
  async apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    const results: ChangeResult[] = batch.map((c) =>
      this.#of(c.tuple.destination).length > 0
        ? { ok: true }
        : { ok: false, reason: "refused", message: "no enforcer is responsible for that host" }
    );
    const opened: { segment: Segment; index: number }[] = [];
    const act = async (segment: Segment, action: "open" | "close") => {
      const indexes = batch.flatMap((c, i) =>
        c.action === action && covers(segment, c.tuple.destination) &&
          (action === "close" || results[i]?.ok === true)
          ? [i]
          : []
      );
      if (indexes.length === 0) return;
      const part = await attempt(segment.enforcer, indexes.map((i) => batch[i] as EnforcerChange));
      indexes.forEach((i, at) => {
        const result = part[at] as ChangeResult;
        if (!result.ok) results[i] = result;
        else if (action === "open") opened.push({ segment, index: i });
      });
    };
    for (const segment of this.#segments) await act(segment, "close");
    for (const segment of this.#segments.toReversed()) await act(segment, "open");
    await this.#undo(batch, results, opened);
    return results;
  }

  /** What passed at the outermost of those that a pinhole is at; undefined when it is missing at one. */
  async counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]> {
    const found: (Counters | undefined | "missing")[] = tuples.map(() => undefined);
    for (const segment of this.#segments) {
      const indexes = tuples.flatMap((t, i) => covers(segment, t.destination) ? [i] : []);
      if (indexes.length === 0) continue;
      const part = await segment.enforcer.counters(indexes.map((i) => tuples[i] as FiveTuple));
      indexes.forEach((i, at) => {
        const c = part[at];
        if (c === undefined) found[i] = "missing";
        else if (found[i] === undefined) found[i] = c;
      });
    }
    return found.map((c) => c === "missing" ? undefined : c);
  }

  async list(): Promise<ListedEntry[]> {
    const entries = new Map<string, ListedEntry>();
    for (const { enforcer } of this.#segments) {
      for (const e of await enforcer.list()) {
        const key = tupleKey(e.tuple);
        if (!entries.has(key)) entries.set(key, e);
      }
    }
    return [...entries.values()];
  }

  async endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    for (const segment of this.#segments) {
      const own = tuples.filter((t) => covers(segment, t.destination));
      if (own.length > 0) await segment.enforcer.endConnections(own);
    }
  }

  get silence(): string | undefined {
    return this.#segments.map((s) => s.enforcer.silence).find((why) => why !== undefined);
  }

  intact(): boolean {
    return this.#segments.every((s) => s.enforcer.intact?.() !== false);
  }

  plan(batch: readonly EnforcerChange[]): string {
    return this.#segments.flatMap((segment) => {
      const own = batch.filter((c) => covers(segment, c.tuple.destination));
      return own.length === 0 ? [] : [segment.enforcer.plan(own)];
    }).join("");
  }

  async close(): Promise<void> {
    for (const { enforcer } of this.#segments) await enforcer.close();
  }

  async remove(): Promise<void> {
    for (const { enforcer } of this.#segments) await enforcer.remove();
  }

  /** Takes back what was opened at some and not at all; one that cannot be taken back is unknown. */
  async #undo(
    batch: readonly EnforcerChange[],
    results: ChangeResult[],
    opened: readonly { segment: Segment; index: number }[],
  ): Promise<void> {
    for (const segment of this.#segments) {
      const half = opened.filter((o) => o.segment === segment && results[o.index]?.ok === false)
        .map((o) => o.index);
      if (half.length === 0) continue;
      const part = await attempt(
        segment.enforcer,
        half.map((i) => ({ ...batch[i] as EnforcerChange, action: "close" as const })),
      );
      half.forEach((i, at) => {
        const result = part[at] as ChangeResult;
        if (!result.ok) results[i] = { ok: false, reason: "unknown", message: result.message };
      });
    }
  }

  #of(destination: IpAddress): Segment[] {
    return this.#segments.filter((s) => covers(s, destination));
  }
}

function covers(segment: Segment, destination: IpAddress): boolean {
  return segment.destinations === undefined ||
    segment.destinations.some((range) => inRange(destination, range));
}

/** One that breaks as a whole has not said what it did. */
async function attempt(
  enforcer: Enforcer,
  changes: readonly EnforcerChange[],
): Promise<ChangeResult[]> {
  try {
    return await enforcer.apply(changes);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return changes.map(() => ({
      ok: false,
      reason: "unknown",
      message: `${enforcer.name}: ${message}`,
    }));
  }
}

/** Capacities of segments add up; where destinations overlap, the smallest counts. */
function capacityOf(segments: readonly Segment[]): number {
  const overlap = segments.some((a, i) => segments.slice(i + 1).some((b) => meet(a, b)));
  const all = segments.map((s) => s.enforcer.capabilities.capacity);
  return overlap ? Math.min(...all) : all.reduce((sum, c) => sum + c, 0);
}

function meet(a: Segment, b: Segment): boolean {
  if (a.destinations === undefined || b.destinations === undefined) return true;
  const one = b.destinations;
  return a.destinations.some((r) => one.some((s) => inRange(r.first, s) || inRange(s.first, r)));
}
