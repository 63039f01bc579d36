/**
 * Free numbers for new entries of an ACL whose entries are numbered, in front of an entry that would keep
 * everything after it from matching.
 *
 * @module
 */

/** Hands out free numbers. */
export class EntryNumbers {
  readonly #used: Set<number>;
  /** No number below it is free. */
  #gap: number;
  readonly #last: number;
  #next: number;

  /**
   * @param used the numbers in use.
   * @param first lowest number wanted; lower ones are taken when the barrier leaves no other.
   * @param last highest number wanted.
   * @param barrier the number of the first entry that denies everything, or Infinity.
   */
  constructor(used: Iterable<number>, first: number, last: number, barrier: number) {
    this.#used = new Set(used);
    this.#last = Math.min(last, barrier - 1);
    this.#gap = this.#last >= first ? first : 1;
    let highest = this.#gap - 1;
    for (const n of this.#used) if (n <= this.#last && n > highest) highest = n;
    this.#next = highest + 1;
  }

  /** A free number, or undefined when there is none. */
  take(): number | undefined {
    if (this.#next > this.#last) {
      while (this.#gap <= this.#last && this.#used.has(this.#gap)) this.#gap++;
      if (this.#gap > this.#last) return undefined;
      this.#used.add(this.#gap);
      return this.#gap;
    }
    while (this.#used.has(this.#next)) this.#next++;
    if (this.#next > this.#last) return this.take();
    this.#used.add(this.#next);
    return this.#next++;
  }
}
