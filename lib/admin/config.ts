/**
 * What a console's configuration (console.yaml) may say.
 *
 * @module
 */
import { z } from "zod";
import { inRange, type IpRange, parseIp, prefixRange } from "../net/ip.ts";

/** Where it is looked for when none is named. */
export const DEFAULT_CONSOLE_CONFIG = "/etc/diaper/console.yaml";

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400 };
const duration = z.string().regex(/^([1-9][0-9]{0,8})(s|m|h|d)$/, {
  error: 'expected a time such as "30s", "10m", "1h" or "7d"',
}).transform((text) => Number(text.slice(0, -1)) * (UNITS[text.slice(-1)] as number));

const path = z.string().regex(/^\/[^\0]*$/, { error: "expected an absolute path" });
const name = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$/, { error: "expected a name" });

const endpoint = z.string().regex(/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$/, {
  error: 'expected an address and port such as "192.0.2.1:7423" or "[2001:db8::1]:7423"',
}).transform((text) => {
  const colon = text.lastIndexOf(":");
  return {
    host: text.slice(0, colon).replace(/^\[|\]$/g, ""),
    port: Number(text.slice(colon + 1)),
  };
}).refine(({ port }) => port <= 65_535, { error: "expected a port of at most 65535" });

const prefix = z.string().transform((text, context): IpRange => {
  const [address = "", length] = text.split("/");
  const ip = parseIp(address);
  const longest = ip?.family === 4 ? 32 : 128;
  const bits = length === undefined ? longest : Number(length);
  if (ip === undefined || !/^[0-9]{0,3}$/.test(length ?? "") || bits > longest) {
    context.addIssue({ code: "custom", message: "expected an address or prefix" });
    return z.NEVER;
  }
  return prefixRange(ip, bits);
});

const severity = z.int().min(1).max(3);

const schema = z.strictObject({
  /** What people know it as; the host's name without it. */
  name: name.nullable().default(null),
  /** Where NIs and controllers come to. */
  listen: z.array(endpoint).default([]),
  key: path.default("/etc/diaper/console_key"),
  /** Who they are: lib/admin/registry.ts. */
  peers: path.default("/etc/diaper/peers"),
  run_dir: path.default("/run/diaper-console"),
  state_dir: path.default("/var/lib/diaper-console"),
  control_group: name.default("diaper"),
  /** "sqlite", or a file that only its owner can read, with the URL of a PostgreSQL database. */
  store: z.union([z.literal("sqlite"), path]).default("sqlite"),
  keep: duration.default(90 * 86_400),
  /** Alerts of one peer that are kept. */
  keep_of_one: z.int().min(100).max(1_000_000_000).default(1_000_000),
  /** Alerts a second that one peer may send for long. */
  alerts_per_second: z.int().min(1).max(1_000_000).default(500),
  /** Connections of one address at once. */
  connections_per_address: z.int().min(1).max(100_000).default(20),
  /** Never slowed, filtered or blocked. */
  never_block: z.array(prefix).default([]),
  /** Control sockets of controllers on this host, for their pinholes. */
  controllers: z.array(path).default([]),
  web: z.strictObject({
    listen: z.union([z.literal("off"), endpoint]).prefault("127.0.0.1:7480"),
    /** "off" on loopback only; "made": a certificate of its own; or files. */
    tls: z.union([
      z.literal("off"),
      z.literal("made"),
      z.strictObject({ certificate: path, key: path }),
    ]).default("off"),
    /** Other names, with ports, that it is reached by. */
    hosts: z.array(z.string().regex(/^[A-Za-z0-9.:[\]-]{1,255}$/)).default([]),
  }).prefault({}),
  /** When findings are one outbreak. */
  outbreak: z.strictObject({
    hosts: z.int().min(2).max(10_000).default(3),
    within: duration.default(600),
  }).prefault({}),
  bundles: z.strictObject({
    /** Public keys (base64 of SSH's form) of those whose bundles are taken; our own key besides. */
    signers: z.array(z.string()).default([]),
    /** The most that a scanner in a bundle may ask for. */
    contain: z.boolean().default(true),
    injections: z.int().min(0).max(1000).default(16),
    memory: z.int().min(16 * 1024 * 1024).default(1024 * 1024 * 1024),
    cpu: z.int().min(1).max(100).default(100),
    alerts_per_minute: z.int().min(1).default(600),
  }).prefault({}),
  eve: z.strictObject({
    file: path,
    rotate: z.int().min(1024 * 1024).default(256 * 1024 * 1024),
    keep: z.int().min(1).max(100).default(5),
  }).nullable().default(null),
  syslog: z.strictObject({
    to: z.union([path, endpoint]),
    severity: severity.default(3),
    per_minute: z.int().min(1).default(6000),
  }).nullable().default(null),
  webhooks: z.array(z.strictObject({
    url: z.string().regex(/^https?:\/\/[^\s]+$/, { error: "expected an http or https URL" }),
    /** A file with a secret: deliveries are signed by it (HMAC-SHA256). */
    secret: path.nullable().default(null),
    severity: severity.default(2),
    per_minute: z.int().min(1).default(60),
  })).default([]),
  mail: z.strictObject({
    server: endpoint,
    from: z.string().regex(/^[^\s@<>]+@[^\s@<>]+$/, { error: "expected an address" }),
    to: z.array(z.string().regex(/^[^\s@<>]+@[^\s@<>]+$/, { error: "expected an address" })).min(1),
    severity: severity.default(1),
    per_hour: z.int().min(1).default(12),
  }).nullable().default(null),
}).refine((c) => c.web.listen === "off" || c.web.tls !== "off" || isLoopback(c.web.listen.host), {
  error: "web.listen is not on loopback, which needs web.tls (made, or certificate and key)",
  path: ["web", "listen"],
});

/** A checked configuration; times in seconds. */
export type ConsoleConfig = z.output<typeof schema>;

/** The schema. */
export const consoleSchema: z.ZodType<ConsoleConfig> = schema;

/** True for addresses that only this host reaches. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** Why a host is never to be contained; undefined when it may be. */
export function neverBlock(config: ConsoleConfig, host: string): string | undefined {
  const ip = parseIp(host);
  if (ip === undefined) return "it is not an address";
  const range = config.never_block.find((r) => inRange(ip, r));
  return range === undefined ? undefined : "it is in never_block of the console's configuration";
}
