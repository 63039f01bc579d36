/**
 * The driver for Arista EOS: ACLs in a configuration session, applied wholly or not at all.
 *
 * @module
 */
import type { CliAclEnforcer } from "./cli_acl.ts";
import { cliDriver, createCliDevice } from "./cli_module.ts";
import type { DeviceConfig, DeviceSecrets } from "./device_options.ts";
import text from "./dialects/eos.yaml" with { type: "text" };
import type { Driver } from "./registry.ts";

/** What the registry knows of it. */
export const driver: Driver = cliDriver("eos", text);

/** Makes a driver with secrets that are not in files, and pauses for locks in ms. */
export function createEos(
  config: DeviceConfig,
  secrets: DeviceSecrets,
  backoff?: readonly number[],
): CliAclEnforcer {
  return createCliDevice("eos", text, config, secrets, backoff);
}
