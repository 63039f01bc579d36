/**
 * The driver for Cisco IOS and IOS-XE: named extended ACLs. Changes are live at once and never saved, so that
 * a router that reboots comes back without pinholes; their numbers are not remembered, since a reboot gives
 * entries new ones.
 *
 * @module
 */
import { CliAclEnforcer } from "./cli_acl.ts";
import {
  accessTo,
  type DeviceConfig,
  type DeviceSecrets,
  dialectFor,
  readSecrets,
} from "./device_options.ts";
import text from "./dialects/ios.yaml" with { type: "text" };

/**
 * Makes a driver for an IOS device.
 *
 * @throws {EnforcerError} when secrets or dialect cannot be read.
 */
export function createIos(
  config: DeviceConfig,
  secrets: DeviceSecrets = readSecrets(config),
): CliAclEnforcer {
  return new CliAclEnforcer({
    dialect: dialectFor(config, text, "ios"),
    access: accessTo(config, secrets, "ios", 22, (connection) => connection.shell()),
    acl: config.acl,
    acl6: config.acl6,
    interface: config.interface,
    capacity: config.capacity,
    optimalBatch: config.optimal_batch,
  });
}
