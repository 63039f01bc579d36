/**
 * What a console and its peers (NIs and controllers) say to each other, checked by schema: docs/protocols/console.md.
 * Whatever does not fit ends the connection; nothing is guessed.
 *
 * @module
 */
import { z } from "zod";

/** Version of the protocol. */
export const CONSOLE_PROTOCOL = 1;
/** The one subsystem of the channel. */
export const CONSOLE_SUBSYSTEM = "diaper-console";
/** Alerts in one message. */
export const MOST_ALERTS = 500;
/** Alerts that an NI has sent and that were not acknowledged yet, at most. */
export const ALERT_WINDOW = 2000;
/** Octets of a bundle in one message. */
export const BUNDLE_CHUNK = 256 * 1024;
/** Octets of a bundle. */
export const LARGEST_BUNDLE = 32 * 1024 * 1024;
/** Seconds that an order lasts at most. */
export const LONGEST_ORDER = 366 * 86_400;

const seq = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const hex = (octets: number) => z.string().regex(new RegExp(`^[0-9a-f]{${octets * 2}}$`));
const line = (longest: number) => z.string().max(longest);
const json = z.record(z.string(), z.unknown());
const uuid = z.string().regex(/^[0-9a-f-]{36}$/);

/** What becomes of a host: verbs that administrators order, for a time. */
export const ORDER_VERBS = ["slow", "filter", "block", "allow"] as const;

const orderFields = {
  id: uuid,
  verb: z.enum(ORDER_VERBS),
  /** Address of the host that is contained. */
  host: z.union([z.ipv4(), z.ipv6()]),
  /** Seconds from `issued_at`. `allow` undoes what was ordered, and needs none. */
  lifetime: z.int().min(1).max(LONGEST_ORDER),
  reason: z.string().min(1).max(500),
  owner: z.string().min(1).max(100),
  issued_at: z.iso.datetime(),
  /** With `slow`: new connections, and bytes, a second. */
  connections: z.int().min(0).max(1_000_000).optional(),
  bytes: z.int().min(0).max(10_000_000_000).optional(),
  /** With `filter`: prefixes that the host may still reach. */
  destinations: z.array(z.string().max(64)).max(256).optional(),
};

/** An order to contain a host, or to let it go. */
export interface ContainmentOrder extends z.infer<typeof order> {}
const order = z.strictObject(orderFields);
/** Its schema. */
export const containmentOrder: z.ZodType<ContainmentOrder> = order;

/** Reads an order that was checked before. @throws {z.ZodError} when it is none. */
export function readOrder(value: unknown): ContainmentOrder {
  return order.parse(value);
}

const pinhole = z.object({
  id: z.int(),
  proto: z.string(),
  source: z.string(),
  source_port: z.int().nullable(),
  destination: z.string(),
  destination_port: z.int(),
  state: z.string(),
  delegate: z.string(),
  user: z.string(),
  program: z.string().nullable(),
  opened_at: z.string().nullable(),
  expires_at: z.string().nullable(),
  rule: z.string(),
});
/** An open pinhole, as a controller shows it. */
export type ReportedPinhole = z.infer<typeof pinhole>;

const containFields = {
  id: uuid,
  verb: orderFields.verb,
  host: orderFields.host,
  /** Seconds from when the console gives the order. */
  lifetime: orderFields.lifetime,
  reason: orderFields.reason,
  connections: orderFields.connections,
  bytes: orderFields.bytes,
  destinations: orderFields.destinations,
  /** It is only asked what would be done. */
  dry_run: z.boolean(),
};

const contain = z.strictObject(containFields);
/** What a controller asks of the NIs that a host is behind. */
export type ContainRequest = z.infer<typeof contain>;

/** How far a bundle has come on an NI. */
export const BUNDLE_PHASES = ["refused", "started", "switched", "healthy", "rolled-back"] as const;

const fromPeer = z.discriminatedUnion("op", [
  z.strictObject({
    op: z.literal("hello"),
    version: z.literal(CONSOLE_PROTOCOL),
    role: z.enum(["ni", "controller"]),
    /** What it calls itself: for people only; who it is comes from its key. */
    host: line(255),
    software: line(64),
    started_at: z.iso.datetime(),
    /** Identity of its spool: sequence numbers count within one. */
    spool: hex(16),
    /** The oldest alert that it has, and the number that the next will get. */
    first: seq,
    next: seq,
    /** The bundle that runs; null: the scanners that came with it. */
    bundle: z.strictObject({ version: line(64), digest: hex(32) }).nullable(),
  }),
  z.strictObject({
    op: z.literal("alerts"),
    /** In order of their numbers; a number that is left out was lost. Captures stand in the bytes. */
    alerts: z.array(z.strictObject({ seq, event: json, capture: z.int().min(0) })).min(1)
      .max(MOST_ALERTS),
  }),
  z.strictObject({ op: z.literal("state"), state: json }),
  z.strictObject({
    op: z.literal("order-result"),
    id: uuid,
    ok: z.boolean(),
    why: line(500),
  }),
  z.strictObject({
    op: z.literal("config-result"),
    id: uuid,
    ok: z.boolean(),
    why: line(2000),
  }),
  z.strictObject({ op: z.literal("bundle-want"), digest: hex(32), offset: z.int().min(0) }),
  z.strictObject({
    op: z.literal("bundle-result"),
    digest: hex(32),
    version: line(64),
    phase: z.enum(BUNDLE_PHASES),
    why: line(2000),
  }),
  z.strictObject({
    op: z.literal("pinholes"),
    /** These are all that there are; without it, changes. */
    reset: z.boolean(),
    pinholes: z.array(pinhole).max(1000),
    closed: z.array(z.int()).max(1000),
  }),
  /** Of controllers: a host is to be contained, or let go, at the NIs that it is behind. */
  z.strictObject({ op: z.literal("contain"), ...containFields }),
  z.strictObject({ op: z.literal("ping"), n: seq }),
]);

/** What an NI or a controller says. */
export type PeerMessage = z.infer<typeof fromPeer>;

const fromConsole = z.discriminatedUnion("op", [
  z.strictObject({
    op: z.literal("welcome"),
    version: z.literal(CONSOLE_PROTOCOL),
    /** What the console calls the peer. */
    ni: line(64),
    /** Alerts of this spool that it has for good. */
    acked: seq,
  }),
  z.strictObject({ op: z.literal("ack"), spool: hex(16), seq }),
  z.strictObject({ op: z.literal("order"), ...orderFields }),
  z.strictObject({ op: z.literal("config"), id: uuid, text: z.string().max(512 * 1024) }),
  z.strictObject({
    op: z.literal("bundle"),
    digest: hex(32),
    version: line(64),
    size: z.int().min(1).max(LARGEST_BUNDLE),
  }),
  z.strictObject({ op: z.literal("bundle-data"), digest: hex(32), offset: z.int().min(0) }),
  /** To controllers: an alert of an NI, as it was stored. */
  z.strictObject({
    op: z.literal("alert"),
    ni: line(64),
    id: z.int(),
    event: json,
    /** Its addresses that this NI stands before: of others an NI may say what it likes. */
    hosts: z.array(line(64)).max(2),
    /** Those of them that are never to be contained. */
    never: z.array(line(64)).max(2),
  }),
  /** To controllers: what became of a `contain`; `peers`: who was told. */
  z.strictObject({
    op: z.literal("contain-result"),
    id: uuid,
    ok: z.boolean(),
    why: line(500),
    peers: z.array(line(64)).max(1000),
  }),
  z.strictObject({ op: z.literal("pong"), n: seq }),
  z.strictObject({ op: z.literal("error"), why: line(500) }),
]);

/** What a console says. */
export type ConsoleMessage = z.infer<typeof fromConsole>;

/** Reads a peer's message; the string says what is wrong with it. */
export function parsePeerMessage(value: unknown): PeerMessage | string {
  return read(fromPeer, value);
}

/** Reads a console's message; the string says what is wrong with it. */
export function parseConsoleMessage(value: unknown): ConsoleMessage | string {
  return read(fromConsole, value);
}

function read<T>(schema: z.ZodType<T>, value: unknown): T | string {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const op = (value as { op?: unknown } | null)?.op;
  const where = issue?.path.join(".") ?? "";
  return `message ${JSON.stringify(op ?? null).slice(0, 40)} ${where}: ${
    issue?.message ?? "wrong"
  }`;
}
