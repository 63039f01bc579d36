/**
 * What an NI is told about its console (ni-console.yaml). In a file of its own: a console may send an NI another
 * configuration, but not another console.
 *
 * @module
 */
import { z } from "zod";
import { isKey, KEY_TYPE } from "../sys/ssh_key.ts";

const path = z.string().regex(/^\/[^\0]*$/, { error: "expected an absolute path" });

const endpoint = z.string().regex(/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$/, {
  error: 'expected an address and port such as "192.0.2.1:7423"',
}).transform((text) => {
  const colon = text.lastIndexOf(":");
  return {
    host: text.slice(0, colon).replace(/^\[|\]$/g, ""),
    port: Number(text.slice(colon + 1)),
  };
}).refine(({ port }) => port <= 65_535, { error: "expected a port of at most 65535" });

const key = z.string().transform((text, context) => {
  const words = text.trim().split(/\s+/);
  const base64 = words[0] === KEY_TYPE ? words[1] : words[0];
  if (base64 !== undefined && isKey(base64)) return base64;
  context.addIssue({ code: "custom", message: `expected an ${KEY_TYPE} public key` });
  return z.NEVER;
});

const schema = z.strictObject({
  /** Consoles that we go to, in the order in which they are tried. */
  connect: z.array(endpoint).default([]),
  /** Where we wait for a console: an address of the management side. */
  listen: z.array(endpoint).default([]),
  /** Public keys of consoles. */
  console_keys: z.array(key).min(1),
  /** Our private key; made when it is not there. */
  key: path.default("/etc/diaper/ni_key"),
  state_dir: path.default("/var/lib/diaper-ni"),
  /** Address that we go from. */
  source: z.union([z.ipv4(), z.ipv6()]).nullable().default(null),
  spool: z.strictObject({
    alerts: z.int().min(100).max(100_000_000).default(1_000_000),
    bytes: z.int().min(1_048_576).default(1_073_741_824),
    when_full: z.enum(["drop-oldest", "drop-newest"]).default("drop-oldest"),
  }).prefault({}),
  bundles: z.strictObject({
    /** Public keys whose bundles are taken; the console's without it. */
    signers: z.array(key).default([]),
    contain: z.boolean().default(true),
    injections: z.int().min(0).max(1000).default(16),
    memory: z.int().min(16 * 1024 * 1024).default(1024 * 1024 * 1024),
    cpu: z.int().min(1).max(100).default(100),
    alerts_per_minute: z.int().min(1).default(600),
    /** Seconds that a bundle must be well before it is kept. */
    probation: z.int().min(1).max(86_400).default(30),
  }).prefault({}),
}).refine((c) => c.connect.length + c.listen.length > 0, {
  error: "give connect or listen, or both",
  path: ["connect"],
});

/** A checked configuration. */
export type NiConsoleConfig = z.output<typeof schema>;

/** The schema. */
export const niConsoleSchema: z.ZodType<NiConsoleConfig> = schema;
