/**
 * How often each user asked in the last minute, in memory that does not grow with the rate.
 *
 * @module
 */
const SLOTS = 60;
const MAX_USERS = 100_000;

interface Window {
  /** Second of the newest slot. */
  second: number;
  readonly slots: Uint32Array;
  total: number;
}

/** Counts by user over a window of 60 slots of one second. */
export class RateCounter {
  readonly #users = new Map<string, Window>();

  /** Counts one more request of `user` at `now` (milliseconds). */
  add(user: string, now: number): void {
    let w = this.#users.get(user);
    if (w === undefined) {
      if (this.#users.size >= MAX_USERS) this.#forgetQuiet(now);
      w = { second: Math.floor(now / 1000), slots: new Uint32Array(SLOTS), total: 0 };
      this.#users.set(user, w);
    }
    advance(w, now);
    const slot = w.second % SLOTS;
    w.slots[slot] = (w.slots[slot] as number) + 1;
    w.total++;
  }

  /** Requests of `user` in the minute before `now`. */
  count(user: string, now: number): number {
    const w = this.#users.get(user);
    if (w === undefined) return 0;
    advance(w, now);
    return w.total;
  }

  #forgetQuiet(now: number): void {
    for (const [user, w] of this.#users) {
      advance(w, now);
      if (w.total === 0) this.#users.delete(user);
    }
  }
}

function advance(w: Window, now: number): void {
  const second = Math.floor(now / 1000);
  // A clock set back keeps the window as it is: requests count longer, never shorter.
  const steps = Math.min(SLOTS, second - w.second);
  for (let i = 1; i <= steps; i++) {
    const slot = (w.second + i) % SLOTS;
    w.total -= w.slots[slot] as number;
    w.slots[slot] = 0;
  }
  if (steps > 0) w.second = second;
}
