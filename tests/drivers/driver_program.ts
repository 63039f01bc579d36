/**
 * Runs a driver on a lab's host for a test (see remote.ts). Its arguments: the driver's name, its options,
 * and for nftables what the kernel is to be taken for instead of asking it.
 *
 * @module
 */
import type { Enforcer, EnforcerChange } from "../../drivers/enforcer.ts";
import { createNftables, type NftablesOptions } from "../../drivers/nftables.ts";
import type { KernelFeatures } from "../../drivers/nftables_pinholes.ts";
import type { OpenPort } from "../../drivers/nftables_rules.ts";
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";
import { createEnforcer } from "../../drivers/registry.ts";
import { serve } from "./remote.ts";

const [name = "nftables", options = "{}", features] = Deno.args;
const driver: Enforcer & { setOpenPorts?(ports: readonly OpenPort[]): void | Promise<void> } =
  name === "nftables"
    ? createNftables(
      JSON.parse(options) as NftablesOptions,
      features === undefined ? undefined : () => JSON.parse(features) as KernelFeatures,
    )
    // Options of a configuration have names with underscores.
    : await createEnforcer(
      name,
      JSON.parse(
        options.replaceAll(
          /"([a-z]+)([A-Z])([a-z]+)":/g,
          (_, a, b, c) => `"${a}_${b.toLowerCase()}${c}":`,
        ),
      ),
    );

await serve({
  capabilities: () => driver.capabilities,
  connect: () => driver.connect(),
  apply: (batch: EnforcerChange[]) => driver.apply(batch),
  counters: async (tuples: FiveTuple[]) => (await driver.counters(tuples)).map((c) => c ?? null),
  list: () => driver.list(),
  inspect: () => driver.inspect?.() ?? null,
  endConnections: (tuples: FiveTuple[]) => driver.endConnections(tuples),
  check: (batch: EnforcerChange[]) => driver.check?.(batch),
  close: () => driver.close(),
  remove: () => driver.remove(),
  setOpenPorts: (ports: OpenPort[]) => driver.setOpenPorts?.(ports),
  held: () => driver.held?.(),
  intact: () => driver.intact?.(),
  statistics: () => driver.statistics?.(),
});
