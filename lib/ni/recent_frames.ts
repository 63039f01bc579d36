/**
 * Copies of the frames that a scanner saw last, so that its alerts can carry them.
 *
 * @module
 */
import type { Direction, FrameRef } from "./frame.ts";

/** A copy. */
export interface FrameCopy {
  readonly number: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly wireLength: number;
  readonly direction: Direction;
  readonly seconds: number;
  readonly nanoseconds: number;
}

interface Entry extends Omit<FrameCopy, "bytes"> {
  readonly start: number;
  readonly length: number;
}

/** A ring of bytes with an index: what is new takes the place of what is oldest. */
export class RecentFrames {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #entries: Entry[] = [];
  #first = 0;
  #at = 0;

  /** @param size bytes kept. */
  constructor(size: number) {
    this.#bytes = new Uint8Array(size);
  }

  /** Keeps a copy of a frame. */
  add(frame: FrameRef): void {
    const length = frame.end - frame.start;
    if (length > this.#bytes.length) return;
    // A frame is in one piece. What is left at the end is older than what is at the beginning.
    if (this.#at + length > this.#bytes.length) {
      this.#makeRoom(this.#at, this.#bytes.length);
      this.#at = 0;
    }
    this.#makeRoom(this.#at, this.#at + length);
    this.#bytes.set(frame.data.subarray(frame.start, frame.end), this.#at);
    this.#entries.push({
      number: frame.number,
      start: this.#at,
      length,
      wireLength: frame.wireLength,
      direction: frame.direction,
      seconds: frame.seconds,
      nanoseconds: frame.nanoseconds,
    });
    this.#at += length;
  }

  /** A frame by its number, when it is still there. */
  get(number: number): FrameCopy | undefined {
    let low = this.#first;
    let high = this.#entries.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const entry = this.#entries[middle] as Entry;
      if (entry.number === number) {
        const { start, length, ...rest } = entry;
        return { ...rest, bytes: this.#bytes.slice(start, start + length) };
      }
      if (entry.number < number) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }

  /** Forgets the oldest frames as long as they are in the way. */
  #makeRoom(from: number, to: number): void {
    while (this.#first < this.#entries.length) {
      const { start, length } = this.#entries[this.#first] as Entry;
      // The oldest are those that the writer comes to next; behind it lies only what is newer.
      if (start >= to || start + length <= from) break;
      this.#first++;
    }
    if (this.#first > 1024 && this.#first * 2 > this.#entries.length) {
      this.#entries.splice(0, this.#first);
      this.#first = 0;
    }
  }
}
