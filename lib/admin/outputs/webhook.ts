/**
 * Alerts to an HTTP server: a POST of a JSON object with some of them, signed, tried again until it is taken or too
 * many wait.
 *
 * @module
 */
import { createHmac } from "node:crypto";
import type { StoredAlert } from "../store.ts";
import { type AlertOutput, eveEvent, type OutputStatus, RateLimit } from "./output.ts";

/** Where to, and how often. */
export interface WebhookOptions {
  readonly url: string;
  readonly secret: string | undefined;
  /** This grave or graver. */
  readonly severity: number;
  readonly perMinute: number;
}

/** Alerts in one delivery. */
const BATCH = 100;
/** Alerts that wait; the oldest are dropped. */
const MOST_WAITING = 10_000;
const TIMEOUT_MS = 10_000;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;

/** One receiver. */
export class WebhookOutput implements AlertOutput {
  readonly #options: WebhookOptions;
  readonly #limit: RateLimit;
  readonly #ending = new AbortController();
  #waiting: StoredAlert[] = [];
  #dropped = 0;
  /** Dropped since the last delivery, which says so. */
  #untold = 0;
  #sent = 0;
  #failed: string | undefined;
  #working: Promise<void> | undefined;

  constructor(options: WebhookOptions) {
    this.#options = options;
    this.#limit = new RateLimit(options.perMinute, 60_000);
  }

  /** As {@link AlertOutput.alerts}. */
  alerts(alerts: readonly StoredAlert[]): void {
    for (const alert of alerts) {
      if (alert.severity <= this.#options.severity) this.#waiting.push(alert);
    }
    const over = this.#waiting.length - MOST_WAITING;
    if (over > 0) {
      this.#waiting.splice(0, over);
      this.#dropped += over;
      this.#untold += over;
    }
    if (this.#waiting.length === 0) return;
    this.#working ??= this.#work().finally(() => this.#working = undefined);
  }

  /** As {@link AlertOutput.status}. */
  status(): OutputStatus {
    return {
      name: `webhook ${new URL(this.#options.url).host}`,
      sent: this.#sent,
      dropped: this.#dropped,
      failed: this.#failed,
    };
  }

  /** As {@link AlertOutput.close}. */
  async close(): Promise<void> {
    this.#ending.abort();
    await this.#working;
  }

  async #work(): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    while (this.#waiting.length > 0 && !this.#ending.signal.aborted) {
      const wait = this.#limit.wait();
      if (wait > 0) {
        await sleep(wait, this.#ending.signal);
        continue;
      }
      this.#limit.take();
      const batch = this.#waiting.slice(0, BATCH);
      const untold = this.#untold;
      this.#failed = await this.#deliver(batch, untold);
      if (this.#failed === undefined) {
        const gone = new Set(batch);
        this.#waiting = this.#waiting.filter((a) => !gone.has(a));
        this.#sent += batch.length;
        this.#untold -= untold;
        pause = FIRST_PAUSE_MS;
      } else {
        await sleep(pause, this.#ending.signal);
        pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
      }
    }
  }

  /** @returns why it failed. */
  async #deliver(batch: readonly StoredAlert[], dropped: number): Promise<string | undefined> {
    const body = JSON.stringify({ alerts: batch.map(eveEvent), dropped });
    const headers: Record<string, string> = {
      "Content-Type": "application/json",
      "User-Agent": "diaper",
      // The receiver can tell a delivery that was tried again from a new one.
      "X-Diaper-Delivery": `${batch[0]?.id}-${batch.at(-1)?.id}`,
    };
    if (this.#options.secret !== undefined) {
      const mac = createHmac("sha256", this.#options.secret).update(body).digest("hex");
      headers["X-Diaper-Signature"] = `sha256=${mac}`;
    }
    try {
      const answer = await fetch(this.#options.url, {
        method: "POST",
        body,
        headers,
        redirect: "error",
        signal: AbortSignal.any([AbortSignal.timeout(TIMEOUT_MS), this.#ending.signal]),
      });
      await answer.body?.cancel();
      return answer.ok ? undefined : `it answered ${answer.status}`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}

/** Waits, but not longer than until the end. */
export function sleep(ms: number, end: AbortSignal): Promise<void> {
  if (end.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      end.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    end.addEventListener("abort", done);
  });
}
