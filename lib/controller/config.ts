/**
 * The configuration file: YAML, checked by a schema, with errors at file:line:column.
 *
 * @module
 */
import { z } from "zod";
import {
  absolutePath,
  duration,
  durationOrNone,
  interfaceName,
  prefixText,
} from "../config/values.ts";
import { ConfigError, parseYaml, unreadable } from "../config/yaml.ts";
import type { Protocol } from "../pinhole/pinhole.ts";

/** Where the configuration is looked for when none is named. */
export const DEFAULT_CONFIG = "/etc/diaper/diaper.yaml";

const accountName = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$/, {
  error: "expected the name of an account",
});

const port = z.string().regex(/^(tcp|udp)\/([1-9][0-9]{0,4})$/, {
  error: 'expected a protocol and port such as "tcp/21"',
}).transform((text) => {
  const [protocol, number] = text.split("/") as [Protocol, string];
  return { protocol, port: Number(number) };
}).refine((p) => p.port <= 65535, { error: "expected a port between 1 and 65535" });

/** An address and port as they stand in the file. */
export function parseEndpoint(text: string): { readonly host: string; readonly port: number } {
  const colon = text.lastIndexOf(":");
  return {
    host: text.slice(0, colon).replace(/^\[|\]$/g, ""),
    port: Number(text.slice(colon + 1)),
  };
}

const endpointText = z.string().regex(/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[1-9][0-9]{0,4}$/, {
  error: 'expected an address and port such as "192.0.2.1:7422" or "[2001:db8::1]:7422"',
}).refine((text) => parseEndpoint(text).port <= 65535, {
  error: "expected a port between 1 and 65535",
});

const endpoint = endpointText.transform(parseEndpoint);

const ipv4 = z.ipv4({ error: "expected an IPv4 address" });

const prefix4 = z.cidrv4({ error: 'expected a prefix such as "10.0.0.0/8"' });

const schema = z.strictObject({
  policy: absolutePath.default("/etc/diaper/site.policy"),
  run_dir: absolutePath.default("/run/diaper"),
  state_dir: absolutePath.default("/var/lib/diaper"),
  log_dir: absolutePath.default("/var/log/diaper"),
  /** Members of this group may use the control socket, besides root. */
  control_group: accountName.default("diaper"),
  broker: z.strictObject({
    fail_bind: z.boolean().default(false),
    max_channels: z.int().min(16).max(1_000_000).default(16_384),
    max_channels_per_user: z.int().min(1).max(1_000_000).default(1_024),
    delegates: z.record(accountName, z.array(accountName)).default({}),
  }).prefault({}),
  perimeter: z.strictObject({
    table: z.string().regex(/^[a-z][a-z0-9_]{0,30}$/, {
      error: "expected a name of small letters, digits and _",
    }).default("diaper"),
    hooks: z.array(z.enum(["input", "forward"])).min(1).default(["input"]),
    outside: z.array(interfaceName).default([]),
    open_ports: z.array(port).default([]),
    allow_ping: z.boolean().default(true),
    capacity: z.int().min(1).max(10_000_000).default(1_048_576),
    /** How long a request waits for room when the enforcer is full; "0s": not at all. */
    wait: durationOrNone.default(5),
    lease: duration.default(3600),
    sweep: duration.default(60),
    /** What becomes of the open pinholes when diaper stops in good order. The perimeter stays. */
    on_exit: z.enum(["keep", "close"]).default("keep"),
  }).refine((p) => !p.hooks.includes("forward") || p.outside.length > 0, {
    error: "hooks has forward, which needs the interfaces to the outside",
    path: ["outside"],
  }).prefault({}),
  /** Where an agent-broker finds its controllers, and who it is there. */
  remote: z.strictObject({
    controllers: z.array(endpoint).default([]),
    /** Account at the controller; the key says who we are, the account where it may be used. */
    user: accountName.default("diaper"),
    /** Remote delegate of all local delegates that are not named below; the host's name without it. */
    delegate: accountName.nullable().default(null),
    delegates: z.record(accountName, accountName).default({}),
    keys: absolutePath.default("/etc/diaper/keys"),
    known_controllers: absolutePath.default("/etc/diaper/known_controllers"),
    /** How long a program waits for its pinhole. */
    wait: duration.default(20),
  }).prefault({}),
  /** What a controller for other hosts listens on, and whom it trusts. */
  controller: z.strictObject({
    listen: z.array(endpoint).default([]),
    host_key: absolutePath.default("/etc/diaper/host_key"),
    authorized_keys: absolutePath.default("/etc/diaper/authorized_keys"),
    /** The account that a stock sshd runs `diaper gate` as. */
    gate_account: accountName.nullable().default(null),
    /** How long the pinholes stay of a broker that is not heard of. */
    lease: duration.default(60),
    max_brokers: z.int().min(1).max(100_000).default(1000),
  }).prefault({}),
  nat: z.strictObject({
    /** Inside addresses, and the outside addresses by which the outside knows them. */
    addresses: z.record(ipv4, ipv4).default({}),
    /** Hosts there see the inside addresses; none: the private networks of RFC 1918. */
    local: z.array(prefix4).default([]),
  }).prefault({}),
  /** Several controllers of one enforcer: etcd says which of them serves, and holds the ledger. */
  cluster: z.strictObject({
    etcd: z.array(
      z.string().regex(/^https?:\/\/[A-Za-z0-9.:[\]-]+$/, {
        error: 'expected a URL such as "https://192.0.2.1:2379"',
      }),
    ).default([]),
    /** Of all keys; controllers of one enforcer have the same. */
    prefix: z.string().regex(/^\/[A-Za-z0-9/_.-]{1,100}$/, {
      error: 'expected something like "/diaper/border"',
    }).default("/diaper"),
    /** How long the one that serves may not be heard of before another takes over. */
    patience: duration.default(1),
    ca: absolutePath.nullable().default(null),
    certificate: absolutePath.nullable().default(null),
    key: absolutePath.nullable().default(null),
  }).prefault({}),
  /** Options of the enforcer that `--enforcer NAME` names; its driver checks them (drivers/registry.ts). */
  enforcer: z.record(z.string(), z.unknown()).default({}),
  /** A file about the console that a controller reports to; "off": to none. */
  console: z.union([z.literal("off"), absolutePath]).default("off"),
  /** Where /metrics and /healthz are; "off": nowhere. */
  metrics: z.union([z.literal("off"), endpointText]).default("127.0.0.1:9722"),
  /** Where audit events go besides the file: a datagram socket such as /dev/log, or address:port. */
  syslog: z.union([z.literal("off"), absolutePath, endpointText]).default("off"),
  /** Several enforcers of one controller, in the order in which traffic from outside passes them. */
  enforcers: z.array(z.strictObject({
    driver: z.string().regex(/^[a-z0-9]{1,20}$/, { error: "expected the name of an enforcer" }),
    /** What is behind it; everything without it. */
    destinations: z.array(prefixText).min(1).optional(),
    options: z.record(z.string(), z.unknown()).default({}),
  })).default([]),
  history: z.strictObject({
    keep: duration.default(30 * 86400),
    max: z.int().min(0).max(100_000_000).default(1_000_000),
  }).prefault({}),
});

/** A checked configuration; times in seconds. */
export type Config = z.infer<typeof schema>;

/**
 * Reads a configuration.
 *
 * @param file its name, for messages.
 * @throws {ConfigError} with everything that is wrong with it.
 */
export function parseConfig(text: string, file: string): Config {
  return parseYaml(schema, text, file);
}

/**
 * Reads the configuration in a file. Without a name the default file is read; when that does not exist,
 * all settings have their defaults.
 *
 * @throws {ConfigError} when it cannot be read or used.
 */
export function loadConfig(file: string | undefined): { config: Config; file: string } {
  const path = file ?? DEFAULT_CONFIG;
  try {
    return { config: parseConfig(Deno.readTextFileSync(path), path), file: path };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    if (file === undefined && error instanceof Deno.errors.NotFound) {
      return { config: schema.parse({}), file: path };
    }
    throw unreadable(path, error);
  }
}
