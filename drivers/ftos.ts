/**
 * The driver for Force10 FTOS and Dell OS9. Counters are those of an interface, which the configuration names.
 *
 * @module
 */
import type { CliAclEnforcer } from "./cli_acl.ts";
import { cliDriver, createCliDevice } from "./cli_module.ts";
import type { DeviceConfig, DeviceSecrets } from "./device_options.ts";
import text from "./dialects/ftos.yaml" with { type: "text" };
import type { Driver } from "./registry.ts";

/** What the registry knows of it. */
export const driver: Driver = cliDriver("ftos", text);

/** Makes a driver with secrets that are not in files, and pauses for locks in ms. */
export function createFtos(
  config: DeviceConfig,
  secrets: DeviceSecrets,
  backoff?: readonly number[],
): CliAclEnforcer {
  return createCliDevice("ftos", text, config, secrets, backoff);
}
