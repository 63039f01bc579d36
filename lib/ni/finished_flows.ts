/**
 * Flows of which one scanner has seen enough. They are forgotten when they were quiet for long, and the oldest when there
 * are too many: of a flow that is forgotten a scanner sees more than it must.
 *
 * @module
 */

/** Flows that are remembered. */
const MOST = 65_536;
/** Milliseconds for which a flow may be quiet. */
const QUIET_MS = 300_000;

/** The flows of one scanner, by key. */
export class FinishedFlows {
  /** When each was seen last; the first is the one seen longest ago. */
  readonly #flows = new Map<string, number>();

  /** Flows that are remembered now. */
  get size(): number {
    return this.#flows.size;
  }

  /** A flow is finished. `now` in milliseconds. */
  add(key: string, now: number): void {
    this.#flows.delete(key);
    this.#flows.set(key, now);
    if (this.#flows.size <= MOST) return;
    for (const oldest of this.#flows.keys()) {
      this.#flows.delete(oldest);
      return;
    }
  }

  /** Whether a flow is; it was seen `now`. */
  has(key: string, now: number): boolean {
    const seen = this.#flows.get(key);
    if (seen === undefined) return false;
    const quiet = now - seen > QUIET_MS;
    if (quiet) this.#flows.delete(key);
    else this.add(key, now);
    return !quiet;
  }

  /** Another connection has the same addresses and ports now. */
  delete(key: string): boolean {
    return this.#flows.delete(key);
  }
}
