/**
 * The registry's entry of a driver that is nothing but a dialect of the command line with ACLs.
 *
 * @module
 */
import { listingEntry } from "./acl/entry.ts";
import { parseListing } from "./acl/listing.ts";
import { CliAclEnforcer } from "./cli_acl.ts";
import {
  accessTo,
  type DeviceConfig,
  deviceSchema,
  type DeviceSecrets,
  dialectFor,
  readSecrets,
} from "./device_options.ts";
import { readDialect } from "./dialect.ts";
import type { Driver } from "./registry.ts";

/**
 * Makes the driver of a device; nothing is reached yet.
 *
 * @param builtIn the text of its dialect.
 * @throws {EnforcerError} when secrets or dialect cannot be read.
 */
export function createCliDevice(
  name: string,
  builtIn: string,
  config: DeviceConfig,
  secrets: DeviceSecrets = readSecrets(config),
  backoff?: readonly number[],
): CliAclEnforcer {
  return new CliAclEnforcer({
    dialect: dialectFor(config, builtIn, name),
    access: {
      ...accessTo(config, secrets, name, 22, (connection) => connection.shell()),
      backoff,
    },
    acl: config.acl,
    acl6: config.acl6,
    interface: config.interface,
    capacity: config.capacity,
    optimalBatch: config.optimal_batch,
  });
}

/** What the registry knows of such a driver. */
export function cliDriver(name: string, builtIn: string): Driver {
  const dialect = readDialect(builtIn, `${name}.yaml`);
  const { acl, acl6 } = NAMES;
  return {
    options: deviceSchema,
    create: (checked) => createCliDevice(name, builtIn, checked as DeviceConfig),
    capabilities: new CliAclEnforcer({
      dialect,
      acl,
      acl6,
      access: {
        name,
        answers: { user: "" },
        timeout: 0,
        open: () => Promise.reject(new Error("this is only asked for what it can do")),
      },
    }).capabilities,
    parse: (text) =>
      parseListing(text, dialect.listing).map((entry) =>
        listingEntry(entry, entry.acl === acl || entry.acl === acl6)
      ),
  };
}

const NAMES = { acl: "DIAPER", acl6: "DIAPER6" } as const;
