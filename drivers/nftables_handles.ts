/**
 * What the nftables driver holds open, and how failures there become errors for people.
 *
 * @module
 */
import { Conntrack } from "../lib/sys/conntrack.ts";
import { E, SystemError } from "../lib/sys/libc.ts";
import { Libnftables } from "../lib/sys/libnftables.ts";
import { NetlinkError } from "../lib/sys/netlink.ts";
import { ElementTransaction } from "../lib/sys/nftables_elements.ts";
import { ElementReader } from "../lib/sys/nftables_reader.ts";
import { TableReader } from "../lib/sys/nftables_table.ts";
import { SockDiag } from "../lib/sys/sock_diag.ts";
import { EnforcerError } from "./enforcer.ts";

/** Everything that is held open while connected. */
export interface Handles {
  readonly nft: Libnftables;
  readonly tables: TableReader;
  readonly transaction: ElementTransaction;
  readonly reader: ElementReader;
  readonly conntrack: Conntrack;
  readonly sockets: SockDiag;
}

/**
 * Opens everything for one table; nothing is changed by it.
 *
 * @throws {EnforcerError} when the kernel or a library lacks something, or the right is missing.
 */
export function openHandles(table: string): Handles {
  const made: { close(): void }[] = [];
  const keep = <T extends { close(): void }>(thing: T): T => {
    made.push(thing);
    return thing;
  };
  try {
    return {
      nft: keep(new Libnftables()),
      tables: keep(new TableReader()),
      transaction: keep(new ElementTransaction(table)),
      reader: keep(new ElementReader(table)),
      conntrack: keep(new Conntrack()),
      sockets: keep(new SockDiag()),
    };
  } catch (error) {
    for (const thing of made) thing.close();
    throw asEnforcerError(error);
  }
}

/** Closes everything. */
export function closeHandles(handles: Handles): void {
  for (const thing of Object.values(handles) as { close(): void }[]) thing.close();
}

/**
 * Runs commands of nft(8)'s language as one transaction.
 *
 * @throws {EnforcerError} when they are refused; nothing has changed then.
 */
export function run(nft: Libnftables, commands: string): void {
  const result = nft.run(commands);
  if (result.ok) return;
  throw new EnforcerError(
    `nftables refused the perimeter: ${result.error}`,
    "The kernel needs nf_tables with concatenated sets and conntrack (Linux 5.10 or later); " +
      "`diaper doctor` says what is missing.",
  );
}

/** An error with what a person can do about it, where that is known; any other as it is. */
export function asEnforcerError(error: unknown): unknown {
  if (error instanceof EnforcerError || !(error instanceof Error)) return error;
  if (error.name === "LibnftablesMissing") {
    return new EnforcerError(
      error.message,
      "Install libnftables (Debian: apt install libnftables1).",
    );
  }
  const code = error instanceof NetlinkError || error instanceof SystemError ? error.code : 0;
  if (code === E.PERM || code === E.ACCES) {
    return new EnforcerError(
      `Not permitted to change the packet filter: ${error.message}`,
      "Run as root, or with the capability CAP_NET_ADMIN.",
    );
  }
  if (code === 0) return error;
  return new EnforcerError(
    `The kernel cannot be a perimeter: ${error.message}`,
    "Load the modules nf_tables and nf_conntrack_netlink (modprobe), or use a kernel that has them.",
  );
}
