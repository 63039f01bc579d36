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

/** Frames that are remembered at most: a mebibyte of small ones. A power of two. */
const MOST = 16_384;
/** Numbers kept of each: start, length, wire length, direction, seconds, nanoseconds. */
const FIELDS = 6;

/** A ring of bytes with an index: what is new takes the place of what is oldest. No object is made for a frame. */
export class RecentFrames {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #numbers = new Float64Array(MOST);
  readonly #facts = new Uint32Array(MOST * FIELDS);
  /** The oldest frame that is there and the one after the newest, counted from the beginning. */
  #first = 0;
  #next = 0;
  #at = 0;

  /** @param size bytes kept. */
  constructor(size: number) {
    this.#bytes = new Uint8Array(size);
  }

  /** Keeps a copy of a frame, whose bytes are `bytes`. */
  add(frame: FrameRef, bytes: Uint8Array): void {
    const { length } = bytes;
    if (length > this.#bytes.length) return;
    // A frame is in one piece. What is left at the end is older than what is at the beginning.
    if (this.#at + length > this.#bytes.length) {
      this.#makeRoom(this.#at, this.#bytes.length);
      this.#at = 0;
    }
    this.#makeRoom(this.#at, this.#at + length);
    if (this.#next - this.#first === MOST) this.#first++;
    this.#bytes.set(bytes, this.#at);
    const place = this.#next++ & (MOST - 1);
    this.#numbers[place] = frame.number;
    const facts = this.#facts;
    const at = place * FIELDS;
    facts[at] = this.#at;
    facts[at + 1] = length;
    facts[at + 2] = frame.wireLength;
    facts[at + 3] = frame.direction === "to-host" ? 1 : 0;
    facts[at + 4] = frame.seconds;
    facts[at + 5] = frame.nanoseconds;
    this.#at += length;
  }

  /** A frame by its number, when it is still there. */
  get(number: number): FrameCopy | undefined {
    let low = this.#first;
    let high = this.#next - 1;
    while (low <= high) {
      const middle = Math.floor((low + high) / 2);
      const found = this.#numbers[middle & (MOST - 1)] as number;
      if (found === number) return this.#copy(number, (middle & (MOST - 1)) * FIELDS);
      if (found < number) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }

  #copy(number: number, at: number): FrameCopy {
    const [start = 0, length = 0, wireLength = 0, direction, seconds = 0, nanoseconds = 0] = this
      .#facts.subarray(at, at + FIELDS);
    return {
      number,
      bytes: this.#bytes.slice(start, start + length),
      wireLength,
      direction: direction === 1 ? "to-host" : "from-host",
      seconds,
      nanoseconds,
    };
  }

  /** Forgets the oldest frames as long as they are in the way. */
  #makeRoom(from: number, to: number): void {
    const facts = this.#facts;
    while (this.#first < this.#next) {
      const at = (this.#first & (MOST - 1)) * FIELDS;
      const start = facts[at] as number;
      // The oldest are those that the writer comes to next; behind it lies only what is newer.
      if (start >= to || start + (facts[at + 1] as number) <= from) break;
      this.#first++;
    }
  }
}
