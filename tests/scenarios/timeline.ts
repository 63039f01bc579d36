/**
 * The life of one pinhole, put together from the audit trail and a packet capture.
 *
 * @module
 */
import type { CapturedPacket } from "../lab/capture.ts";
import type { AuditLine } from "../lab/diaper.ts";

/** When what happened, in milliseconds since the epoch; undefined: it did not. */
export interface Timeline {
  /** The port that was bound. */
  readonly port: number;
  /** When the program called bind, by the agent's clock reading. */
  readonly bound: number | undefined;
  /** When the broker was asked. */
  readonly asked: number | undefined;
  /** When the policy allowed it. */
  readonly allowed: number | undefined;
  /** The rule that decided. */
  readonly rule: string | undefined;
  /** When the enforcer had it. */
  readonly opened: number | undefined;
  /** Milliseconds from asking to open, measured by the daemon. */
  readonly openMs: number | undefined;
  /** When the external host's first packet came. */
  readonly firstPacket: number | undefined;
  /** When the enforcer no longer had it. */
  readonly closed: number | undefined;
  /** Why it was closed, in words. */
  readonly why: string | undefined;
  /** The account of the program. */
  readonly user: string | undefined;
  /** The path of the program. */
  readonly program: string | undefined;
  /** Packets let in. */
  readonly packets: number | undefined;
  /** Bytes let in. */
  readonly bytes: number | undefined;
}

/** Which pinhole is meant. */
export interface PinholeKey {
  /** The external host. */
  readonly source: string;
  /** The internal host. */
  readonly destination: string;
  /** The destination port. */
  readonly port: number;
  /** Only what happened from then on counts, in milliseconds since the epoch. */
  readonly since: number;
}

/** True for events of that pinhole. */
export function concerns(event: AuditLine, key: PinholeKey): boolean {
  // Times of events are whole milliseconds.
  return Date.parse(event.timestamp) >= Math.floor(key.since) && event["source"] === key.source &&
    event["destination"] === key.destination && event["destination_port"] === key.port;
}

/** Puts a pinhole's timeline together. */
export function timelineOf(
  key: PinholeKey,
  events: readonly AuditLine[],
  packets: readonly CapturedPacket[],
): Timeline {
  const own = events.filter((event) => concerns(event, key));
  const find = (type: string) => own.find((event) => event.event_type === type);
  const [requested, allowed, opened, closed] = [
    ...["pinhole.requested", "pinhole.allowed", "pinhole.opened", "pinhole.closed"].map(find),
  ];
  const first = packets.find((p) =>
    p.time >= key.since && p.source === key.source && p.destination === key.destination &&
    p.destinationPort === key.port
  );
  return {
    port: key.port,
    bound: time(requested?.["bound_at"] ?? opened?.["bound_at"]),
    asked: time(requested?.timestamp),
    allowed: time(allowed?.timestamp),
    rule: text(allowed?.["rule"] ?? opened?.["rule"]),
    opened: time(opened?.timestamp),
    openMs: number(opened?.["open_ms"]),
    firstPacket: first?.time,
    closed: time(closed?.timestamp),
    why: text(closed?.["why"] ?? closed?.["reason"]),
    user: text(opened?.["user"]),
    program: text(opened?.["program"]),
    packets: number(closed?.["packets"]),
    bytes: number(closed?.["bytes"]),
  };
}

/** The value below which the share `q` of the sorted values lies (nearest rank); undefined of none. */
export function quantile(values: readonly number[], q: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)];
}

function time(value: unknown): number | undefined {
  const parsed = typeof value === "string" ? Date.parse(value) : NaN;
  return Number.isNaN(parsed) ? undefined : parsed;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function number(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}
