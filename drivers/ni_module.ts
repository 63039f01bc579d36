/**
 * The NI enforcer's entry in the registry.
 *
 * @module
 */
import { z } from "zod";
import { driverOptions, HOST_OPTIONS } from "./host_options.ts";
import { createNi, type NiOptions } from "./ni.ts";
import type { Driver } from "./registry.ts";

const name = HOST_OPTIONS.outside.unwrap().element;
const options = z.strictObject({
  /** The NI's interface to the host. */
  host: name.optional(),
  /** The NI's interface to the network. */
  net: name.optional(),
  capacity: HOST_OPTIONS.capacity,
  open_ports: HOST_OPTIONS.open_ports,
  allow_ping: HOST_OPTIONS.allow_ping,
  allow_dhcp: HOST_OPTIONS.allow_dhcp,
}).transform(driverOptions);

/** What the registry knows of it. */
export const driver: Driver = {
  options,
  create: (checked) => createNi(checked as NiOptions),
  capabilities: createNi().capabilities,
};
