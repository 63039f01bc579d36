/**
 * How many events of each kind there were since the start, as `status` and the metrics show them.
 *
 * @module
 */

/** Counts events. */
export class EventCounts {
  readonly #counts: Record<string, number> = {
    requested: 0,
    allowed: 0,
    refused: 0,
    opened: 0,
    failed: 0,
    closed: 0,
  };

  /** All counts so far. */
  get all(): Readonly<Record<string, number>> {
    return this.#counts;
  }

  /** Counts one event, when it is of a kind that is counted. */
  count(eventType: string): void {
    const what = eventType === "request.refused" ? "refused" : eventType.replace("pinhole.", "");
    const count = this.#counts[what];
    if (count !== undefined) this.#counts[what] = count + 1;
  }
}
