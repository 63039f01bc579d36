/**
 * Reads pinholes and their counters from the sets.
 *
 * @module
 */
import { type FiveTuple, tupleKey } from "../lib/pinhole/pinhole.ts";
import type { ElementReader } from "../lib/sys/nftables_reader.ts";
import type { Counters, ListedEntry } from "./enforcer.ts";
import { type PinholeSet, readKey, setOf, tupleProblem, writeKey } from "./nftables_tuple.ts";

/** All pinholes of a set. */
export function listSet(reader: ElementReader, set: PinholeSet): ListedEntry[] {
  // A set that changes while it is read can show an element twice.
  const found = new Map<string, ListedEntry>();
  reader.dump(set, (view, key, state) => {
    const tuple = readKey(set, view, key);
    if (tuple === undefined) return;
    found.set(tupleKey(tuple), {
      tuple,
      packets: state.packets,
      bytes: state.bytes,
      expires: state.expires < 0 ? undefined : state.expires / 1000,
    });
  });
  return [...found.values()];
}

/** The numbers of the tuples for each set; impossible tuples are in none. */
function bySet(tuples: readonly FiveTuple[]): Map<PinholeSet, number[]> {
  const sets = new Map<PinholeSet, number[]>();
  tuples.forEach((tuple, i) => {
    if (tupleProblem(tuple) !== undefined) return;
    const set = setOf(tuple);
    const members = sets.get(set);
    if (members === undefined) sets.set(set, [i]);
    else members.push(i);
  });
  return sets;
}

/** The counters of pinholes, in their order; undefined for one that is not there. */
export function readCounters(
  reader: ElementReader,
  tuples: readonly FiveTuple[],
): (Counters | undefined)[] {
  const results = new Array<Counters | undefined>(tuples.length).fill(undefined);
  for (const [set, members] of bySet(tuples)) {
    reader.read(
      set,
      members.length,
      (i, words, at) => writeKey(tuples[members[i] as number] as FiveTuple, words, at),
      (i, state) => {
        results[members[i] as number] = { packets: state.packets, bytes: state.bytes };
      },
    );
  }
  return results;
}
