/**
 * What a broker and a controller say to each other: docs/protocols/broker-controller.md. Lines of JSON,
 * each checked by size and by schema; what is not in the schema is refused.
 *
 * @module
 */
import { z } from "zod";
import { ipKind, parseIp } from "../net/ip.ts";
import type { FiveTuple } from "../pinhole/pinhole.ts";

/** Version of the protocol. */
export const REMOTE_VERSION = 1;

/** Name of the SSH subsystem. */
export const SUBSYSTEM = "diaper";

/** Longest line in octets. */
export const LONGEST_LINE = 4096;

/** Requests of one session that may wait for their verdict at once. */
export const MOST_IN_FLIGHT = 1024;

const name = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$/);
const identity = z.string().regex(/^[A-Za-z0-9-]{8,64}$/);
const key = z.string().regex(/^[A-Za-z0-9-]{1,36}\.[0-9]{1,15}$/);
const number = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const port = z.int().min(0).max(65535);
const cookie = z.string().regex(/^[0-9]{1,20}$/);
const why = z.string().max(512);
const reason = z.enum(["socket-closed", "process-exited", "by-hand"]);

const traffic = {
  proto: z.enum(["tcp", "udp"]),
  source: z.string().max(45),
  source_port: port,
  destination: z.string().max(45),
  destination_port: port.min(1),
};

const owner = {
  user: name,
  uid: z.int().min(0).max(0xffffffff),
  pid: z.int().min(0).max(0xffffffff),
  program: z.string().max(1024),
  cookie,
};

const fromBroker = z.discriminatedUnion("op", [
  z.strictObject({
    op: z.literal("hello"),
    version: z.int().min(1).max(1000),
    broker: identity,
    boot: identity,
    instance: identity,
  }),
  z.strictObject({
    op: z.literal("open"),
    key,
    ...traffic,
    ...owner,
    bound_at: number.optional(),
    ttl: z.int().min(1).max(365 * 86400).optional(),
  }),
  z.strictObject({ op: z.literal("close"), key, reason }),
  z.strictObject({ op: z.literal("list") }),
  z.strictObject({ op: z.literal("ping"), n: number }),
]);

const toBroker = z.discriminatedUnion("op", [
  z.strictObject({
    op: z.literal("welcome"),
    version: z.int(),
    delegate: name,
    controller: identity,
    lease: z.number().positive(),
  }),
  z.strictObject({ op: z.literal("standby"), why }),
  z.strictObject({
    op: z.literal("verdict"),
    key,
    kind: z.enum(["open", "refused", "unavailable"]),
    id: number,
    why,
  }),
  z.strictObject({ op: z.literal("waiting"), key, position: number }),
  z.strictObject({ op: z.literal("closed"), key, reason: z.string().max(64) }),
  z.strictObject({ op: z.literal("pinhole"), key, id: number, ...traffic, ...owner }),
  z.strictObject({ op: z.literal("listed"), count: number }),
  z.strictObject({ op: z.literal("pong"), n: number }),
  z.strictObject({ op: z.literal("error"), why }),
]);

const session = z.strictObject({
  op: z.literal("session"),
  delegate: name,
  via: z.enum(["ssh", "gate"]),
  peer: z.string().max(128),
});

/** What a broker says. */
export type BrokerMessage = z.infer<typeof fromBroker>;
/** What a controller says. */
export type ControllerMessage = z.infer<typeof toBroker>;
/** What an SSH server says about a session before the broker's first word. */
export type SessionLine = z.infer<typeof session>;

/** Reads a line of a broker; the string says what is wrong with it. */
export function parseBrokerMessage(line: string): BrokerMessage | string {
  return parse(fromBroker, line);
}

/** Reads a line of a controller; the string says what is wrong with it. */
export function parseControllerMessage(line: string): ControllerMessage | string {
  return parse(toBroker, line);
}

/** Reads the first line of a session; the string says what is wrong with it. */
export function parseSessionLine(line: string): SessionLine | string {
  return parse(session, line);
}

/** The traffic that a message is about; the string says why it cannot be a pinhole's. */
export function readTuple(m: z.infer<z.ZodObject<typeof traffic>>): FiveTuple | string {
  const source = parseIp(m.source);
  const destination = parseIp(m.destination);
  if (source === undefined || ipKind(source) !== "host") return "source is not one host's address";
  if (destination === undefined || ipKind(destination) !== "host") {
    return "destination is not one host's address";
  }
  if (source.family !== destination.family) return "source and destination are of two families";
  return {
    protocol: m.proto,
    source,
    sourcePort: m.source_port,
    destination,
    destinationPort: m.destination_port,
  };
}

/** The fields of a message that say what traffic it is about. */
export function tupleFields(t: FiveTuple): z.infer<z.ZodObject<typeof traffic>> {
  return {
    proto: t.protocol,
    source: t.source.text,
    source_port: t.sourcePort,
    destination: t.destination.text,
    destination_port: t.destinationPort,
  };
}

function parse<T>(schema: z.ZodType<T>, line: string): T | string {
  if (line.length > LONGEST_LINE) return "line is too long";
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "line is not JSON";
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
  return `${where}${issue?.message ?? "not understood"}`.slice(0, 256);
}
