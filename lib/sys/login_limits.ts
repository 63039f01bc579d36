/**
 * Who may try to log in: so many connections of one address at once, and after failures not at all for a
 * while, so that guessing and flooding cost others nothing.
 *
 * @module
 */

/** Connections of one address at once, when nothing else is said. */
const AT_ONCE = 20;
/** Connections of all at once. */
const IN_ALL = 2000;
/** Failures that are forgiven. */
const FORGIVEN = 5;
/** Milliseconds for which one more failure keeps an address out. */
const PENALTY_MS = 10_000;
const LONGEST_PENALTY_MS = 600_000;
const MOST_ADDRESSES = 10_000;

interface Record {
  open: number;
  failures: number;
  until: number;
}

/** Counts connections and failures by address. Times are milliseconds of a clock that only goes forward. */
export class LoginLimits {
  readonly #records = new Map<string, Record>();
  readonly #atOnce: number;
  #open = 0;

  /** @param atOnce connections of one address at once. */
  constructor(atOnce = AT_ONCE) {
    this.#atOnce = atOnce;
  }

  /** Counts a connection when it may be; each one is to be taken back by {@link leave}. */
  admit(address: string, now: number): boolean {
    const record = this.#records.get(address) ?? this.#add(address, now);
    if (record === undefined || this.#open >= IN_ALL) return false;
    if (record.open >= this.#atOnce || now < record.until) return false;
    record.open++;
    this.#open++;
    return true;
  }

  /** A connection of the address is over. */
  leave(address: string): void {
    const record = this.#records.get(address);
    if (record === undefined) return;
    record.open--;
    this.#open--;
    if (record.open === 0 && record.failures === 0) this.#records.delete(address);
  }

  /** A connection of the address ended without a proven key. */
  failed(address: string, now: number): void {
    // It may have left already, and been forgotten as one without failures.
    const record = this.#records.get(address) ?? this.#add(address, now);
    if (record === undefined) return;
    record.failures++;
    if (record.failures <= FORGIVEN) return;
    record.until = now + Math.min(
      LONGEST_PENALTY_MS,
      PENALTY_MS * 2 ** Math.min(10, record.failures - FORGIVEN - 1),
    );
  }

  /** A key was proven: what failed before is forgotten. */
  succeeded(address: string): void {
    const record = this.#records.get(address);
    if (record !== undefined) record.failures = record.until = 0;
  }

  #add(address: string, now: number): Record | undefined {
    if (this.#records.size >= MOST_ADDRESSES) {
      for (const [old, r] of this.#records) {
        if (r.open === 0 && r.until < now) this.#records.delete(old);
      }
      if (this.#records.size >= MOST_ADDRESSES) return undefined;
    }
    const record = { open: 0, failures: 0, until: 0 };
    this.#records.set(address, record);
    return record;
  }
}
