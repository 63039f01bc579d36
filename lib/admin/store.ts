/**
 * Where a console keeps alerts. SQLite by default; PostgreSQL where several consoles share them.
 *
 * @module
 */

/** An alert as it came from an NI. */
export interface IncomingAlert {
  readonly ni: string;
  readonly spool: string;
  readonly seq: number;
  readonly event: Readonly<Record<string, unknown>>;
  readonly capture: Uint8Array;
}

/** What is asked about most, taken out of the event. */
export interface AlertFields {
  /** Milliseconds since the epoch, by the NI's clock. */
  readonly at: number;
  readonly scanner: string;
  readonly signature: string;
  readonly category: string;
  readonly severity: number;
  readonly action: string;
  readonly proto: string;
  readonly src: string;
  readonly dest: string;
  readonly destPort: number;
}

/** An alert that is kept. */
export interface StoredAlert extends AlertFields {
  /** The console's number, in the order in which it took them. */
  readonly id: number;
  readonly ni: string;
  readonly seq: number;
  /** When the console took it. */
  readonly received: number;
  readonly event: Readonly<Record<string, unknown>>;
  /** Octets of its capture; 0 without one. */
  readonly capture: number;
}

/** How far one spool has come. */
export interface SpoolPosition {
  readonly acked: number;
  readonly lost: number;
}

/** What is looked for; everything without any of it. */
export interface AlertFilter {
  readonly ni?: string | undefined;
  readonly scanner?: string | undefined;
  readonly signature?: string | undefined;
  /** This grave or graver: 1 is the gravest. */
  readonly severity?: number | undefined;
  /** An address, as source or destination. */
  readonly host?: string | undefined;
  /** A word anywhere in the event. */
  readonly text?: string | undefined;
  /** Only those with a smaller number, or with a greater one. */
  readonly before?: number | undefined;
  readonly after?: number | undefined;
  readonly limit: number;
  /** Oldest first; newest first without it. */
  readonly oldest?: boolean | undefined;
}

/** Alerts of one severity in one step of time. */
export interface AlertRate {
  /** Beginning of the step, milliseconds since the epoch. */
  readonly at: number;
  readonly severity: number;
  readonly count: number;
}

/** What an NI has sent. */
export interface NiTotals {
  readonly ni: string;
  readonly alerts: number;
  readonly lost: number;
}

/** A store that cannot be used, and what to do about it. */
export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly next: string;
  constructor(message: string, next: string, options?: ErrorOptions) {
    super(message, options);
    this.next = next;
  }
}

/** The store. */
export interface AlertStore {
  /** How far a spool has come; it is made when it is not known. */
  position(ni: string, spool: string): Promise<SpoolPosition>;
  /**
   * Keeps alerts for good, each once: what has a number that the position has passed was kept before. Alerts of one
   * spool are in order.
   *
   * @returns those that are new, with their numbers.
   */
  append(alerts: readonly IncomingAlert[]): Promise<StoredAlert[]>;
  list(filter: AlertFilter): Promise<StoredAlert[]>;
  get(id: number): Promise<StoredAlert | undefined>;
  /** The packets of an alert as a capture file. */
  capture(id: number): Promise<Uint8Array | undefined>;
  /** Rates by the clock of the console, steps of {@link RATE_STEP_MS} joined to `step`. */
  rates(since: number, until: number, step: number): Promise<AlertRate[]>;
  totals(): Promise<NiTotals[]>;
  /** Removes what is too old or too many of one NI; a part at a time. @returns how many. */
  prune(olderThan: number, mostOfOne: number): Promise<number>;
  close(): Promise<void>;
}

/** Milliseconds of the smallest step of rates. */
export const RATE_STEP_MS = 10_000;

const LONGEST_TEXT = 300;

/** Takes the fields out of an event, whatever the NI has put there. */
export function alertFields(event: Readonly<Record<string, unknown>>, now: number): AlertFields {
  const alert = isRecord(event["alert"]) ? event["alert"] : {};
  const text = (value: unknown, longest = LONGEST_TEXT) =>
    typeof value === "string" ? value.slice(0, longest) : "";
  const at = Date.parse(text(event["timestamp"]));
  const severity = alert["severity"];
  const port = event["dest_port"];
  return {
    at: Number.isFinite(at) ? at : now,
    scanner: text(event["scanner"], 64),
    signature: text(alert["signature"]) || text(event["event_type"], 64),
    category: text(alert["category"], 100),
    severity: severity === 1 || severity === 2 ? severity : 3,
    action: text(alert["action"], 32),
    proto: text(event["proto"], 16),
    src: text(event["src_ip"], 64),
    dest: text(event["dest_ip"], 64),
    destPort: typeof port === "number" && Number.isInteger(port) && port >= 0 && port < 65_536
      ? port
      : 0,
  };
}

/** True for an object that is no array. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What of the incoming is new, by spool, and how far each spool comes by it. */
export function newAlerts<T extends Pick<IncomingAlert, "ni" | "spool" | "seq">>(
  alerts: readonly T[],
  position: (ni: string, spool: string) => SpoolPosition,
): {
  readonly fresh: T[];
  readonly positions: Map<string, { ni: string; spool: string; acked: number; lost: number }>;
} {
  const positions = new Map<string, { ni: string; spool: string; acked: number; lost: number }>();
  const fresh = alerts.filter(({ ni, spool, seq }) => {
    const key = `${ni} ${spool}`;
    let at = positions.get(key);
    if (at === undefined) positions.set(key, at = { ni, spool, ...position(ni, spool) });
    if (seq <= at.acked) return false;
    at.lost += seq - at.acked - 1;
    at.acked = seq;
    return true;
  });
  return { fresh, positions };
}
