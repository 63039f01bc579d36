/**
 * The ipset enforcer's entry in the registry.
 *
 * @module
 */
import { z } from "zod";
import { driverOptions, HOST_OPTIONS } from "./host_options.ts";
import { createIpset, type IpsetOptions } from "./ipset.ts";
import { parseIpset } from "./ipset_listing.ts";
import type { Driver } from "./registry.ts";

const options = z.strictObject({
  ...HOST_OPTIONS,
  /** Begins the names of our chains. */
  prefix: z.string().optional(),
  /** Begins the names of our sets. */
  set: z.string().optional(),
  /** Which iptables has the rules: the system's choice, over nf_tables, or the old one. */
  backend: z.enum(["default", "nft", "legacy"]).optional(),
}).transform(driverOptions);

/** What the registry knows of it. */
export const driver: Driver = {
  options,
  create: (checked) => createIpset(checked as IpsetOptions),
  capabilities: createIpset().capabilities,
  parse: parseIpset,
};
