/**
 * What a batch of changes comes to on a device that only knows entries: which are to be added and removed,
 * and what the answer to each change is once it is known what became of them.
 *
 * @module
 */
import { type FiveTuple, tupleKey, tupleText } from "../lib/pinhole/pinhole.ts";
import type { ChangeResult, EnforcerChange } from "./enforcer.ts";

/** What limits a device. */
export interface BatchLimits {
  /** Pinholes that fit, for each address family. */
  readonly capacity: number;
  readonly ipv6: boolean;
}

/** A batch, thought through. */
export interface BatchPlan {
  readonly opens: readonly FiveTuple[];
  readonly closes: readonly FiveTuple[];
  /** Were open, are closed and opened again by the batch: nothing to send, but they count from 0. */
  readonly reopened: readonly string[];
  /**
   * The answers, given what became of the additions and removals.
   *
   * @param failed by the tuple's key; what is not in it was done.
   */
  answers(failed: ReadonlyMap<string, ChangeResult & { ok: false }>): ChangeResult[];
}

/**
 * Thinks a batch through, in order.
 *
 * @param present the keys of the pinholes that are open, with their address families.
 */
export function planBatch(
  batch: readonly EnforcerChange[],
  present: ReadonlyMap<string, 4 | 6>,
  limits: BatchLimits,
): BatchPlan {
  const now = new Map(present);
  const count = { 4: 0, 6: 0 };
  for (const family of now.values()) count[family]++;
  const touched = new Map<string, FiveTuple>();
  const closed = new Set<string>();
  const early: (ChangeResult | undefined)[] = batch.map(({ action, tuple }) => {
    const problem = tupleProblem(tuple, limits);
    if (problem !== undefined) return { ok: false, reason: "refused", message: problem };
    const key = tupleKey(tuple);
    const { family } = tuple.source;
    if (action === "open") {
      if (now.has(key)) return undefined;
      if (count[family] >= limits.capacity) {
        return { ok: false, reason: "full", message: `no room for ${tupleText(tuple)}` };
      }
      now.set(key, family);
      count[family]++;
    } else if (now.delete(key)) {
      count[family]--;
      closed.add(key);
    }
    touched.set(key, tuple);
    return undefined;
  });
  const opens: FiveTuple[] = [];
  const closes: FiveTuple[] = [];
  const reopened: string[] = [];
  for (const [key, tuple] of touched) {
    if (now.has(key) && !present.has(key)) opens.push(tuple);
    else if (!now.has(key) && present.has(key)) closes.push(tuple);
    else if (now.has(key) && closed.has(key)) reopened.push(key);
  }
  return {
    opens,
    closes,
    reopened,
    answers: (failed) =>
      batch.map((change, i) => {
        const result = early[i];
        if (result !== undefined) return result;
        const key = tupleKey(change.tuple);
        const failure = failed.get(key);
        const wanted = now.has(key) ? "open" : "close";
        return failure !== undefined && change.action === wanted ? failure : { ok: true };
      }),
  };
}

/** Why a tuple cannot be a pinhole of a device, or undefined when it can. */
function tupleProblem(t: FiveTuple, limits: BatchLimits): string | undefined {
  if (t.source.family !== t.destination.family) return `${tupleText(t)} mixes IPv4 and IPv6`;
  if (t.protocol !== "tcp" && t.protocol !== "udp") return `${tupleText(t)} is neither TCP nor UDP`;
  if (t.source.family === 6 && !limits.ipv6) return `${tupleText(t)}: IPv6 is not driven there`;
  const port = (n: number, lowest: number) => Number.isInteger(n) && n >= lowest && n <= 0xffff;
  if (!port(t.destinationPort, 1) || !port(t.sourcePort, 0)) {
    return `${tupleText(t)} has an impossible port`;
  }
  return undefined;
}
