/**
 * Finds out what this kernel's nf_tables can do, by trying it in a table made for that.
 *
 * @module
 */
import type { Conntrack } from "../lib/sys/conntrack.ts";
import { E } from "../lib/sys/libc.ts";
import type { Libnftables } from "../lib/sys/libnftables.ts";
import { ElementTransaction } from "../lib/sys/nftables_elements.ts";
import { ElementReader } from "../lib/sys/nftables_reader.ts";
import type { TableReader } from "../lib/sys/nftables_table.ts";
import { EnforcerError } from "./enforcer.ts";
import type { KernelFeatures } from "./nftables_pinholes.ts";

/** What the probe works with. */
export interface ProbeHandles {
  readonly nft: Libnftables;
  readonly tables: TableReader;
  readonly conntrack: Conntrack;
}

const SET = { name: "probe", keyBytes: 4 } as const;
const HOUR = 3_600_000;

/**
 * Tries what the driver needs and what it can use. The table `NAME_probe` exists meanwhile; it has
 * no chains, so it does nothing.
 *
 * @throws {EnforcerError} when something that is needed is missing.
 * @throws {NetlinkError} without the right to change the packet filter.
 */
export function probeKernel(handles: ProbeHandles, table: string): KernelFeatures {
  const name = `${table}_probe`;
  // Reading proves the right to ask before anything is made.
  if (handles.tables.read(name) !== undefined) remove(handles.nft, name);
  const made = handles.nft.run(
    `add table inet ${name}\n` +
      `add set inet ${name} ${SET.name} { type ipv4_addr; size 4; flags timeout; counter; }`,
  );
  if (!made.ok) {
    throw new EnforcerError(
      `This kernel has no nf_tables sets with timeouts and counters: ${made.error}`,
      "Use Linux 5.10 or later with nf_tables (modprobe nf_tables), or another enforcer.",
    );
  }
  try {
    handles.conntrack.forget([NOBODY]);
    return probeElements(name);
  } finally {
    remove(handles.nft, name);
  }
}

/** A flow that cannot be: asking for it shows whether conntrack can be asked. */
const NOBODY = {
  protocol: "tcp",
  source: new Uint8Array(4),
  sourcePort: 0,
  destination: new Uint8Array(4),
  destinationPort: 1,
} as const;

function probeElements(table: string): KernelFeatures {
  const transaction = new ElementTransaction(table);
  const reader = new ElementReader(table);
  const step = (action: "add" | "destroy", lease: number): number => {
    transaction.begin();
    transaction.words[transaction.step(action, SET, lease)] = 1;
    return transaction.commit()?.code ?? 0;
  };
  try {
    const added = step("add", HOUR) === 0 && step("add", 2 * HOUR) === 0;
    let expires = 0;
    reader.read(SET, 1, (_, words, at) => words[at] = 1, (_, state) => expires = state.expires);
    if (!added || expires <= 0) {
      throw new EnforcerError(
        "This kernel does not keep elements with a timeout",
        "Use Linux 5.10 or later, or another enforcer.",
      );
    }
    const removed = step("destroy", 0) === 0;
    return { renews: expires > HOUR, destroys: removed && step("destroy", 0) !== E.NOENT };
  } finally {
    transaction.close();
    reader.close();
  }
}

function remove(nft: Libnftables, table: string): void {
  const result = nft.run(`delete table inet ${table}`);
  if (!result.ok) {
    throw new EnforcerError(
      `Cannot remove the table inet ${table}: ${result.error}`,
      `Remove it by hand: nft delete table inet ${table}`,
    );
  }
}
