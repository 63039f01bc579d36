/**
 * A batch as nft(8) would take it, for dry runs. The driver itself speaks netlink.
 *
 * @module
 */
import type { EnforcerChange } from "./enforcer.ts";
import { setOf, tupleProblem } from "./nftables_tuple.ts";

/** The commands, one a line; a change that nftables cannot make is a comment that says why. */
export function planText(table: string, batch: readonly EnforcerChange[]): string {
  return batch.map((change) => {
    const { tuple, action, lease } = change;
    const problem = tupleProblem(tuple);
    if (problem !== undefined) return `# refused: ${problem}\n`;
    const set = setOf(tuple);
    const key = [
      tuple.protocol,
      tuple.source.text,
      ...(set.sourcePort ? [tuple.sourcePort] : []),
      tuple.destination.text,
      tuple.destinationPort,
    ].join(" . ");
    const add = (timeout: string) => `add element inet ${table} ${set.name} { ${key}${timeout} }\n`;
    if (action === "open") return add(lease === 0 ? "" : ` timeout ${Math.round(lease * 1000)}ms`);
    // Removing what is not there would fail the transaction, adding what is there does not.
    return `${add("")}delete element inet ${table} ${set.name} { ${key} }\n`;
  }).join("");
}
