/**
 * Uses libnftables and the readers of nftables on a lab's host for a test.
 *
 * @module
 */
import { Libnftables } from "../../lib/sys/libnftables.ts";
import { ElementTransaction } from "../../lib/sys/nftables_elements.ts";
import { TableReader } from "../../lib/sys/nftables_table.ts";
import { serve } from "../drivers/remote.ts";

const nft = new Libnftables();
const tables = new TableReader();

await serve({
  run: (commands: string, options: { json?: boolean; dryRun?: boolean }) =>
    nft.run(commands, options),
  table: (name: string) => tables.read(name) ?? null,
  rules: (name: string) => tables.rules(name),
  generation: () => tables.generation(),
  /** Steps on a set of numbers; null when committed, or which step failed with which errno. */
  transact: (table: string, set: string, steps: ["add" | "delete" | "destroy", number][]) => {
    const transaction = new ElementTransaction(table);
    try {
      transaction.begin();
      for (const [action, key] of steps) {
        const at = transaction.step(action, { name: set, keyBytes: 4 }, 0);
        transaction.words[at] = key;
      }
      const failure = transaction.commit();
      return failure === undefined ? null : { code: failure.code, element: failure.element };
    } finally {
      transaction.close();
    }
  },
});
