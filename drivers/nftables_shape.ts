/**
 * Compares a table that was found with the perimeter that is wanted.
 *
 * @module
 */
import type { ChainShape, SetShape, TableShape } from "../lib/sys/nftables_table.ts";
import { NFT_SET } from "../lib/sys/nftables_protocol.ts";
import {
  CONTROL_SETS,
  COUNTERS,
  GC_SECONDS,
  type PerimeterChain,
  perimeterChains,
  type PerimeterOptions,
  SERVICE_TYPE,
} from "./nftables_rules.ts";
import { NAT_MAPS, NAT_PRIORITY } from "./nftables_nat.ts";
import { PINHOLE_SETS, type PinholeSet } from "./nftables_tuple.ts";

const HOOK = { prerouting: 0, input: 1, forward: 2 } as const;
const POLICY = { drop: 0, accept: 1 } as const;
/** Sets that a rule itself made have this flag and go with the rule. */
const isNamed = (set: SetShape) => (set.flags & NFT_SET.ANONYMOUS) === 0;

/** True when the table has exactly the sets, chains and counters of the perimeter. */
export function perimeterMatches(table: TableShape, options: PerimeterOptions): boolean {
  const chains = perimeterChains(options);
  const sets = table.sets.filter(isNamed);
  const maps = options.nat.empty ? [] : NAT_MAPS;
  return table.flags === 0 &&
    table.flowtables.length === 0 &&
    table.chains.length === chains.length &&
    chains.every((chain) => {
      const found = table.chains.find((c) => c.name === chain.name);
      return found !== undefined && chainMatches(found, chain, options.priority);
    }) &&
    table.objects.length === COUNTERS.length &&
    COUNTERS.every((name) => table.objects.some((object) => object.name === name)) &&
    sets.length === PINHOLE_SETS.length + CONTROL_SETS.length + maps.length &&
    PINHOLE_SETS.every((wanted) => {
      const found = sets.find((set) => set.name === wanted.name);
      return found !== undefined && keysMatch(found, wanted) && found.counted &&
        found.size === options.capacity && found.gcInterval === GC_SECONDS * 1000;
    }) &&
    maps.every((wanted) => {
      const found = sets.find((set) => set.name === wanted.name);
      return found !== undefined && found.keyType === wanted.pinholes.keyType &&
        (found.flags & ~NFT_SET.EVAL) === (NFT_SET.MAP | NFT_SET.TIMEOUT) &&
        found.size === options.capacity;
    }) &&
    CONTROL_SETS.every((wanted) =>
      sets.some((set) =>
        set.name === wanted.name && set.keyType === SERVICE_TYPE &&
        set.keyLength === wanted.keyBytes &&
        set.flags === 0
      )
    );
}

/** The sets of a table whose elements are pinholes as ours are, whatever else is different. */
export function pinholesKept(table: TableShape): PinholeSet[] {
  return PINHOLE_SETS.filter((wanted) =>
    table.sets.some((set) => set.name === wanted.name && keysMatch(set, wanted))
  );
}

function keysMatch(found: SetShape, wanted: PinholeSet): boolean {
  const strange = NFT_SET.ANONYMOUS | NFT_SET.CONSTANT | NFT_SET.INTERVAL | NFT_SET.MAP |
    NFT_SET.EVAL | NFT_SET.OBJECT;
  return found.keyType === wanted.keyType && found.keyLength === wanted.keyBytes &&
    (found.flags & NFT_SET.TIMEOUT) !== 0 && (found.flags & strange) === 0;
}

function chainMatches(found: ChainShape, wanted: PerimeterChain, priority: number): boolean {
  if (wanted.hook === undefined) return found.hook === undefined;
  const nat = wanted.hook === "prerouting";
  return found.hook === HOOK[wanted.hook] && found.type === (nat ? "nat" : "filter") &&
    found.policy === (nat ? POLICY.accept : POLICY.drop) &&
    found.priority === (nat ? NAT_PRIORITY : priority);
}
