/**
 * The driver for Cisco NX-OS: ACLs in a configuration session, applied wholly or not at all.
 *
 * @module
 */
import type { CliAclEnforcer } from "./cli_acl.ts";
import { cliDriver, createCliDevice } from "./cli_module.ts";
import type { DeviceConfig, DeviceSecrets } from "./device_options.ts";
import text from "./dialects/nxos.yaml" with { type: "text" };
import type { Driver } from "./registry.ts";

/** What the registry knows of it. */
export const driver: Driver = cliDriver("nxos", text);

/** Makes a driver with secrets that are not in files, and pauses for locks in ms. */
export function createNxos(
  config: DeviceConfig,
  secrets: DeviceSecrets,
  backoff?: readonly number[],
): CliAclEnforcer {
  return createCliDevice("nxos", text, config, secrets, backoff);
}
