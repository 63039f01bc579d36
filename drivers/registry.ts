/**
 * All drivers by name, as `--enforcer NAME` takes them. A driver is loaded when it is asked for.
 *
 * @module
 */
import type { z } from "zod";
import { type Enforcer, type EnforcerCapabilities, EnforcerError } from "./enforcer.ts";
import type { ListingParser } from "./listing.ts";

/** What a driver's module gives: `driver` is exported by `drivers/NAME_module.ts`. */
export interface Driver {
  /** What the driver is set up with: the section `enforcer` of the configuration, checked by it. */
  readonly options: z.ZodType;
  /**
   * Makes the enforcer from options that {@link Driver.options} has put out; nothing is touched
   * before connect().
   *
   * @throws {EnforcerError} for options that cannot be.
   */
  readonly create: (options: unknown) => Enforcer;
  /** What it can do with default options, before any is reached. */
  readonly capabilities: EnforcerCapabilities;
  /** Reads saved listings of this enforcer; absent for one that has none. */
  readonly parse?: ListingParser;
}

/** A row of the registry. */
export interface DriverEntry {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  /** `host`: guards this host or what it forwards. `device`: reached over the network. `test`: neither. */
  readonly kind: "host" | "device" | "test";
  readonly load: () => Promise<Driver>;
}

/** All drivers, in the order in which they are shown. */
export const DRIVERS: readonly DriverEntry[] = [
  {
    name: "nftables",
    summary: "this host, by sets in the kernel's nf_tables over netlink",
    kind: "host",
    load: async () => (await import("./nftables_module.ts")).driver,
  },
  {
    name: "iptables",
    summary: "this host, by iptables-restore over either back end",
    kind: "host",
    load: async () => (await import("./iptables_module.ts")).driver,
  },
  {
    name: "ipset",
    summary: "this host, by sets of ipset behind one rule of iptables",
    kind: "host",
    load: async () => (await import("./ipset_module.ts")).driver,
  },
  {
    name: "ios",
    summary: "Cisco IOS and IOS-XE, by named extended ACLs over SSH",
    kind: "device",
    load: async () => (await import("./ios.ts")).driver,
  },
  {
    name: "nxos",
    summary: "Cisco NX-OS, by ACLs in a configuration session over SSH",
    kind: "device",
    load: async () => (await import("./nxos.ts")).driver,
  },
  {
    name: "ftos",
    summary: "Force10 FTOS and Dell OS9, by named extended ACLs over SSH",
    kind: "device",
    load: async () => (await import("./ftos.ts")).driver,
  },
  {
    name: "ironware",
    summary: "Foundry and Brocade IronWare (NetIron, FastIron), by ACLs and rebinds over SSH",
    kind: "device",
    load: async () => (await import("./ironware.ts")).driver,
  },
  {
    name: "junos",
    summary: "Juniper Junos, by firewall filters over NETCONF or the command line",
    kind: "device",
    load: async () => (await import("./junos.ts")).driver,
  },
  {
    name: "eos",
    summary: "Arista EOS, by ACLs in a configuration session over SSH",
    kind: "device",
    load: async () => (await import("./eos.ts")).driver,
  },
  {
    name: "ni",
    summary: "the host behind an NI, by maps of the NI's programs in the kernel",
    kind: "host",
    load: async () => (await import("./ni_module.ts")).driver,
  },
  {
    name: "debug",
    summary: "only remembers: for trying a policy without a perimeter",
    kind: "test",
    load: async () => (await import("./debug_module.ts")).driver,
  },
];

/**
 * The driver of a name.
 *
 * @throws {EnforcerError} that names all there are, when it is none of them.
 */
export function driverEntry(name: string): DriverEntry {
  const found = DRIVERS.find((entry) => entry.name === name);
  if (found !== undefined) return found;
  throw new EnforcerError(
    `There is no enforcer named ${JSON.stringify(name)}`,
    `Choose from: ${DRIVERS.map((entry) => entry.name).join(", ")}.`,
  );
}

/** An option that cannot be. */
export interface OptionProblem {
  /** Where it stands within the options. */
  readonly path: readonly PropertyKey[];
  /** It is the key at the end of the path that is wrong, and not its value. */
  readonly key: boolean;
  readonly message: string;
}

/**
 * Makes the enforcer of a name; it is not connected yet.
 *
 * @param options as in the configuration; checked here.
 * @throws {EnforcerError} for a name that there is not and options that cannot be.
 */
export async function createEnforcer(name: string, options: unknown = {}): Promise<Enforcer> {
  const driver = await driverEntry(name).load();
  const checked = driver.options.safeParse(options);
  if (checked.success) return driver.create(checked.data);
  const problems = checked.error.issues.flatMap(readIssue).map(({ path, message }) =>
    `${["enforcer", ...path].join(".")}: ${message}`
  );
  throw new EnforcerError(
    `The options of the enforcer ${name} cannot be used: ${problems.join("; ")}`,
    `Correct them in the configuration; diaper.yaml(5) says what is possible.`,
  );
}

/**
 * What is wrong with options; nothing is reached for that but the files that they name.
 *
 * @throws {EnforcerError} for a name that there is not.
 */
export async function optionProblems(name: string, options: unknown): Promise<OptionProblem[]> {
  const driver = await driverEntry(name).load();
  const checked = driver.options.safeParse(options);
  if (!checked.success) return checked.error.issues.flatMap(readIssue);
  try {
    await driver.create(checked.data).close();
    return [];
  } catch (error) {
    if (!(error instanceof EnforcerError)) throw error;
    return [{ path: [], key: false, message: `${error.message}: ${error.next}` }];
  }
}

/** Several keys that nobody knows are one issue, and a problem each. */
function readIssue(issue: z.core.$ZodIssue): OptionProblem[] {
  const { path, message } = issue;
  if (issue.code !== "unrecognized_keys") return [{ path, key: false, message }];
  return issue.keys.map((key) => ({ path: [...path, key], key: true, message: "unknown key" }));
}
