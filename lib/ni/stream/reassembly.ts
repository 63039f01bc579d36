/**
 * One direction's bytes, put together from segments in any order.
 *
 * @module
 */
import { ByteStore, type PiecePool } from "./byte_store.ts";
import { addRange, type Range } from "./ranges.ts";

/** Which bytes count when a segment brings other ones than an earlier one. */
export type OverlapPolicy = "first" | "last";

/** Bits of {@link Reassembly.accept}'s result. */
export const ACCEPTED = {
  /** Bytes came that were not there. */
  FRESH: 1,
  /** Bytes came that differ from those that are there. */
  CONFLICT: 2,
  /** The stream goes on: bytes can be read that could not be before. */
  FORWARD: 4,
  /** There was no memory; nothing of it counts. */
  FULL: 8,
} as const;

/** Pieces out of order that are kept at most: more is an attack. */
const MOST_RANGES = 1024;

/** The bytes of one direction. Offsets count from its first byte. */
export class Reassembly {
  /** Where they are. Those from `store.low` to {@link next} are there, and those of {@link ranges}. */
  readonly store: ByteStore;
  /** The first byte that is not there. */
  next: number;
  /** What came out of order, above {@link next}. */
  readonly ranges: Range[] = [];

  constructor(pool: PiecePool, at = 0) {
    this.store = new ByteStore(pool, at);
    this.next = at;
  }

  /**
   * Takes a segment's bytes, which are at `offset`.
   *
   * @param firm bytes below are what somebody has already been given: they stay as they are.
   * @returns a mask of {@link ACCEPTED}.
   */
  accept(
    offset: number,
    data: Uint8Array,
    start: number,
    end: number,
    policy: OverlapPolicy,
    firm: number,
  ): number {
    // What was forgotten, the receiver has acknowledged.
    if (offset < this.store.low) {
      start += this.store.low - offset;
      offset = this.store.low;
      if (start >= end) return 0;
    }
    if (offset === this.next && this.ranges.length === 0) {
      if (!this.store.write(offset, data, start, end)) return ACCEPTED.FULL;
      this.next += end - start;
      return ACCEPTED.FRESH | ACCEPTED.FORWARD;
    }
    if (this.ranges.length >= MOST_RANGES && offset > this.next) return ACCEPTED.FULL;
    return this.#overlapping(offset, data, start, end, policy, firm);
  }

  /** Goes on behind bytes that will never come. The range up to the next ones that are there. */
  skip(): Range | undefined {
    const first = this.ranges.shift();
    if (first === undefined) return undefined;
    const gap = { start: this.next, end: first.start };
    this.next = first.end;
    return gap;
  }

  #overlapping(
    offset: number,
    data: Uint8Array,
    start: number,
    end: number,
    policy: OverlapPolicy,
    firm: number,
  ): number {
    const base = start - offset; // index of offset 0
    const stop = offset + end - start;
    let result = 0;
    let at = offset;
    const there: Range[] = [{ start: this.store.low, end: this.next }, ...this.ranges];
    for (const range of there) {
      if (range.end <= at || range.start >= stop) continue;
      if (at < range.start) {
        if (!this.store.write(at, data, base + at, base + range.start)) return ACCEPTED.FULL;
        result |= ACCEPTED.FRESH;
        at = range.start;
      }
      const until = Math.min(stop, range.end);
      if (!this.store.equals(at, data, base + at, base + until)) {
        result |= ACCEPTED.CONFLICT;
        const from = Math.max(at, firm);
        if (policy === "last" && from < until) {
          this.store.write(from, data, base + from, base + until);
        }
      }
      at = until;
      if (at === stop) break;
    }
    if (at < stop) {
      if (!this.store.write(at, data, base + at, base + stop)) return ACCEPTED.FULL;
      result |= ACCEPTED.FRESH;
    }
    if (stop > this.next) addRange(this.ranges, Math.max(offset, this.next), stop);
    const first = this.ranges[0];
    if (first !== undefined && first.start <= this.next) {
      this.ranges.shift();
      if (first.end > this.next) {
        this.next = first.end;
        result |= ACCEPTED.FORWARD;
      }
    }
    return result;
  }
}
