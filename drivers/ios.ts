/**
 * The driver for Cisco IOS and IOS-XE: named extended ACLs. Changes are live at once and never saved, so that
 * a router that reboots comes back without pinholes; their numbers are not remembered, since a reboot gives
 * entries new ones.
 *
 * @module
 */
import type { CliAclEnforcer } from "./cli_acl.ts";
import { cliDriver, createCliDevice } from "./cli_module.ts";
import type { DeviceConfig, DeviceSecrets } from "./device_options.ts";
import text from "./dialects/ios.yaml" with { type: "text" };
import type { Driver } from "./registry.ts";

/** What the registry knows of it. */
export const driver: Driver = cliDriver("ios", text);

/** Makes a driver with secrets that are not in files, and pauses for locks in ms. */
export function createIos(
  config: DeviceConfig,
  secrets: DeviceSecrets,
  backoff?: readonly number[],
): CliAclEnforcer {
  return createCliDevice("ios", text, config, secrets, backoff);
}
