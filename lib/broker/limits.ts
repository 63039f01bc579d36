/**
 * How many channels may be open, in all and for each account, so that one account cannot use up what
 * the others need.
 *
 * @module
 */

/** Counts channels; one for each broker. */
export class ChannelLimits {
  readonly #total: number;
  readonly #perUser: number;
  readonly #counts = new Map<number, number>();
  #open = 0;
  #paused: (() => void) | undefined;

  /**
   * @param total most channels at once.
   * @param perUser most channels of one account; root is bound by the total alone.
   */
  constructor(total: number, perUser: number) {
    this.#total = total;
    this.#perUser = perUser;
  }

  /** Counts one more channel of `uid`; returns in words why that may not be, if so. */
  take(uid: number): string | undefined {
    if (this.#open >= this.#total) return `all ${this.#total} channels are in use`;
    const count = this.#counts.get(uid) ?? 0;
    if (uid !== 0 && count >= this.#perUser) return full(uid, count);
    this.#counts.set(uid, count + 1);
    this.#open++;
    return undefined;
  }

  /** Counts a channel for another account than before; returns in words why that may not be, if so. */
  move(from: number, to: number): string | undefined {
    const count = this.#counts.get(to) ?? 0;
    if (to !== 0 && to !== from && count >= this.#perUser) return full(to, count);
    this.#less(from);
    this.#counts.set(to, (this.#counts.get(to) ?? 0) + 1);
    return undefined;
  }

  /** Counts one channel of `uid` less, and goes on with what waited for that. */
  release(uid: number): void {
    this.#less(uid);
    this.#open--;
    const paused = this.#paused;
    this.#paused = undefined;
    paused?.();
  }

  /** Calls `resume` once when the next channel is released. */
  pause(resume: () => void): void {
    this.#paused = resume;
  }

  #less(uid: number): void {
    const count = (this.#counts.get(uid) ?? 1) - 1;
    if (count <= 0) this.#counts.delete(uid);
    else this.#counts.set(uid, count);
  }
}

function full(uid: number, count: number): string {
  return `uid ${uid} has ${count} channels open, the most that one account may have`;
}
