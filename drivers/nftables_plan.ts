/**
 * A batch as nft(8) would take it, for dry runs. The driver itself speaks netlink.
 *
 * @module
 */
import type { FiveTuple } from "../lib/pinhole/pinhole.ts";
import type { EnforcerChange } from "./enforcer.ts";
import type { Translation } from "./nftables_nat.ts";
import { setOf, tupleProblem } from "./nftables_tuple.ts";

/** The commands, one a line; a change that nftables cannot make is a comment that says why. */
export function planText(
  table: string,
  batch: readonly EnforcerChange[],
  translation: Translation,
): string {
  return batch.map((change) => {
    const { tuple, action, lease } = change;
    const problem = tupleProblem(tuple);
    if (problem !== undefined) return `# refused: ${problem}\n`;
    const set = setOf(tuple);
    const one = (set: string, tuple: FiveTuple, value: string) => {
      const key = keyText(tuple);
      const add = (more: string) => `add element inet ${table} ${set} { ${key}${more}${value} }\n`;
      if (action === "open") {
        return add(lease === 0 ? "" : ` timeout ${Math.round(lease * 1000)}ms`);
      }
      // Removing what is not there would fail the transaction, adding what is there does not.
      return `${add("")}delete element inet ${table} ${set} { ${key} }\n`;
    };
    const nat = translation.entryOf(tuple);
    return one(set.name, tuple, "") +
      (nat === undefined ? "" : one(nat.map.name, nat.outer, ` : ${nat.inside.text}`));
  }).join("");
}

function keyText(tuple: FiveTuple): string {
  return [
    tuple.protocol,
    tuple.source.text,
    ...(tuple.sourcePort === 0 ? [] : [tuple.sourcePort]),
    tuple.destination.text,
    tuple.destinationPort,
  ].join(" . ");
}
