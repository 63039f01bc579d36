/**
 * The nftables enforcer's entry in the registry.
 *
 * @module
 */
import { z } from "zod";
import { driverOptions, HOST_OPTIONS } from "./host_options.ts";
import { createNftables, type NftablesOptions } from "./nftables.ts";
import { parseNftables } from "./nftables_listing.ts";
import type { Driver } from "./registry.ts";

const options = z.strictObject({
  ...HOST_OPTIONS,
  table: z.string().optional(),
  priority: z.int().min(-400).max(400).optional(),
  nat: z.record(z.ipv4(), z.ipv4()).optional(),
}).transform(driverOptions);

/** What the registry knows of it. */
export const driver: Driver = {
  options,
  create: (checked) => createNftables(checked as NftablesOptions),
  capabilities: createNftables().capabilities,
  parse: parseNftables,
};
