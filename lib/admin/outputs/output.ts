/**
 * Where a console tells others of alerts, and how often it may.
 *
 * @module
 */
import type { StoredAlert } from "../store.ts";

/** What an output has done so far. */
export interface OutputStatus {
  readonly name: string;
  readonly sent: number;
  /** Not sent: over its limit, or nobody took them. */
  readonly dropped: number;
  /** Why the last attempt failed. */
  readonly failed: string | undefined;
}

/** One output. */
export interface AlertOutput {
  /** Alerts that are safe in the store. Never waits, never throws. */
  alerts(alerts: readonly StoredAlert[]): void;
  status(): OutputStatus;
  close(): Promise<void>;
}

/** So many in a time, and no more; what is over is counted. */
export class RateLimit {
  readonly #most: number;
  readonly #window: number;
  #since = -Infinity;
  #count = 0;

  /** @param window milliseconds. */
  constructor(most: number, window: number) {
    this.#most = most;
    this.#window = window;
  }

  /** Counts one; false when it is over the limit. */
  take(now: number = performance.now()): boolean {
    if (now - this.#since >= this.#window) [this.#since, this.#count] = [now, 0];
    return ++this.#count <= this.#most;
  }

  /** Milliseconds until one may be taken again. */
  wait(now: number = performance.now()): number {
    return this.#count < this.#most ? 0 : Math.max(0, this.#since + this.#window - now);
  }
}

/** An alert as EVE JSON, with the console's number and the NI that it is from. */
export function eveEvent(alert: StoredAlert): Record<string, unknown> {
  const { timestamp, event_type, ...rest } = alert.event;
  return {
    timestamp: typeof timestamp === "string" ? timestamp : new Date(alert.at).toISOString(),
    event_type: typeof event_type === "string" ? event_type : "alert",
    ...rest,
    host: alert.ni,
    diaper: { id: alert.id, ni: alert.ni, received: new Date(alert.received).toISOString() },
  };
}
