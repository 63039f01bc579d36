/**
 * The forms of what a daemon tells the command line, checked on arrival.
 *
 * @module
 */
import { z } from "zod";
import { notUnderstood } from "./control_client.ts";

const count = z.number().min(0);
const port = z.int().min(0).max(65535);
const time = z.iso.datetime({ offset: true });

const pinhole = z.object({
  id: z.int().min(1),
  proto: z.enum(["tcp", "udp"]),
  source: z.string(),
  source_port: port.nullable(),
  destination: z.string(),
  destination_port: port,
  state: z.enum(["opening", "open", "closing", "closed"]),
  delegate: z.string(),
  user: z.string(),
  pid: z.int().nullable(),
  program: z.string().nullable(),
  opened_at: time.nullable(),
  expires_at: time.nullable(),
  packets: count,
  bytes: count,
  rule: z.string(),
});

/** A pinhole as `pinhole list --json` prints it. */
export type PinholeRow = z.infer<typeof pinhole>;

const change = z.object({
  ...pinhole.shape,
  event_type: z.enum(["pinhole.opened", "pinhole.closed", "pinhole.failed"]),
  timestamp: time,
  why: z.string().optional(),
});

/** A change of a pinhole, as a watch tells it. */
export type PinholeChange = z.infer<typeof change>;

const sweep = z.object({ pinholes: count, repaired: count, idle: count, workMs: count });

const status = z.object({
  role: z.string(),
  pid: z.int(),
  started_at: time,
  /** Absent for a broker, which has neither enforcer nor policy. */
  enforcer: z.object({ name: z.string(), failed: z.string().nullable() }).optional(),
  policy: z.object({ file: z.string(), rules: count, loaded_at: time }).optional(),
  pinholes: z.object({ open: count, capacity: count.optional(), waiting: count.optional() }),
  /** Of a controller that does not lead: who does, by its name; null when that cannot be found out. */
  standby: z.object({ leader: z.string().nullable(), why: z.string() }).optional(),
  /** The brokers at a controller for other hosts. */
  brokers: z.array(
    z.object({ broker: z.string(), via: z.string(), peer: z.string(), in_flight: count }),
  ).optional(),
  /** A broker's ways to its controllers. */
  uplinks: z.array(z.object({
    delegate: z.string(),
    controller: z.string().nullable(),
    failed: z.string().nullable(),
    waiting: count,
    open: count,
    closing: count,
  })).optional(),
  channels: count,
  notices: z.boolean(),
  audit_failed: z.string().nullable(),
  counts: z.record(z.string(), count),
  dropped: z.object({ packets: count, bytes: count }).nullish(),
  sweep: sweep.nullish(),
});

/** What a daemon says of itself. */
export type DaemonStatus = z.infer<typeof status>;

/**
 * Reads what a sweep came to.
 *
 * @throws {CliError} when it is none.
 */
export function readSweep(value: unknown): z.infer<typeof sweep> {
  return read(sweep, "a sweep", value);
}

/**
 * Reads a pinhole.
 *
 * @throws {CliError} when it is none.
 */
export function readPinhole(value: unknown): PinholeRow {
  return read(pinhole, "a pinhole", value);
}

/**
 * Reads a status.
 *
 * @throws {CliError} when it is none.
 */
export function readStatus(value: unknown): DaemonStatus {
  return read(status, "the status", value);
}

/**
 * The change that an event tells of; undefined for other events.
 *
 * @throws {CliError} when it is no event, or a change that lacks something.
 */
export function readChange(value: unknown): PinholeChange | undefined {
  const { event_type } = read(z.object({ event_type: z.string() }), "an event", value);
  return change.shape.event_type.safeParse(event_type).success
    ? read(change, `the event ${event_type}`, value)
    : undefined;
}

function read<T>(schema: z.ZodType<T>, what: string, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
  throw notUnderstood(`${what}: ${where}${issue?.message ?? "not understood"}`);
}
