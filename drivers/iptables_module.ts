/**
 * The iptables enforcer's entry in the registry.
 *
 * @module
 */
import { z } from "zod";
import { driverOptions, HOST_OPTIONS } from "./host_options.ts";
import { createIptables, type IptablesOptions } from "./iptables.ts";
import { parseIptables } from "./iptables_listing.ts";
import type { Driver } from "./registry.ts";

const options = z.strictObject({
  ...HOST_OPTIONS,
  /** Begins the names of our chains. */
  prefix: z.string().optional(),
  /** Which iptables: the system's choice, over nf_tables, or the old one. */
  backend: z.enum(["default", "nft", "legacy"]).optional(),
}).transform(driverOptions);

/** What the registry knows of it. */
export const driver: Driver = {
  options,
  create: (checked) => createIptables(checked as IptablesOptions),
  capabilities: createIptables().capabilities,
  parse: parseIptables,
};
