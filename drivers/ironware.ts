/**
 * The driver for Foundry and Brocade IronWare: NetIron, and FastIron (`variant: fastiron`). Changes reach the
 * hardware at a rebind, which clears the counters; they are read at most once a minute by the device itself.
 *
 * @module
 */
import type { CliAclEnforcer } from "./cli_acl.ts";
import { cliDriver, createCliDevice } from "./cli_module.ts";
import { type DeviceConfig, type DeviceSecrets, readSecrets } from "./device_options.ts";
import fastiron from "./dialects/fastiron.yaml" with { type: "text" };
import netiron from "./dialects/netiron.yaml" with { type: "text" };
import type { Driver } from "./registry.ts";

/** What the registry knows of it. */
export const driver: Driver = {
  ...cliDriver("ironware", netiron),
  create: (checked) => createIronware(checked as DeviceConfig),
};

/** Makes a driver; secrets come from files, and pauses for locks are in ms. */
export function createIronware(
  config: DeviceConfig,
  secrets: DeviceSecrets = readSecrets(config),
  backoff?: readonly number[],
): CliAclEnforcer {
  const text = config.variant === "fastiron" ? fastiron : netiron;
  return createCliDevice("ironware", text, config, secrets, backoff);
}
