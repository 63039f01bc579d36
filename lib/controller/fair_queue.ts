/**
 * A queue of several owners, who take turns: one that puts in very much waits longer for its own, and nobody
 * else does.
 *
 * @module
 */

/** What waits, by whom it is for. What one owner put in comes out in that order. */
export class FairQueue<T> {
  readonly #owner: (item: T) => string;
  /** In the order of turns. */
  #queues = new Map<string, T[]>();
  #length = 0;

  /** @param owner says whose an item is. */
  constructor(owner: (item: T) => string) {
    this.#owner = owner;
  }

  /** How many wait. */
  get length(): number {
    return this.#length;
  }

  /** Puts items behind all others of their owners. */
  push(...items: readonly T[]): void {
    for (const item of items) this.#of(item).push(item);
    this.#length += items.length;
  }

  /** Puts items back that were taken, before all others of their owners. */
  putBack(items: readonly T[]): void {
    for (const item of items.toReversed()) this.#of(item).unshift(item);
    this.#length += items.length;
  }

  /** Takes so many at most: all of them when they are no more, and else one of each owner in turn. */
  take(most: number): T[] {
    if (most <= 0) return [];
    if (this.#length <= most) {
      const all = [...this.#queues.values()].flat();
      this.#queues.clear();
      this.#length = 0;
      return all;
    }
    const shares = new Map<string, number>();
    for (let left = most; left > 0;) {
      for (const [owner, queue] of this.#queues) {
        const share = shares.get(owner) ?? 0;
        if (share === queue.length) continue;
        shares.set(owner, share + 1);
        if (--left === 0) break;
      }
    }
    const taken: T[] = [];
    for (const [owner, share] of shares) {
      const queue = this.#queues.get(owner) as T[];
      taken.push(...queue.splice(0, share));
      // Who had a turn comes after those who had none.
      this.#queues.delete(owner);
      if (queue.length > 0) this.#queues.set(owner, queue);
    }
    this.#length -= taken.length;
    return taken;
  }

  /** Keeps only what `stays` says. */
  filter(stays: (item: T) => boolean): void {
    this.#length = 0;
    for (const [owner, queue] of this.#queues) {
      const rest = queue.filter(stays);
      this.#length += rest.length;
      if (rest.length === 0) this.#queues.delete(owner);
      else this.#queues.set(owner, rest);
    }
  }

  #of(item: T): T[] {
    const owner = this.#owner(item);
    let queue = this.#queues.get(owner);
    if (queue === undefined) this.#queues.set(owner, queue = []);
    return queue;
  }
}
