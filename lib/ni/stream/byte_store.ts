/**
 * Bytes of a stream by their offsets, in pieces that all streams share: what is not there costs nothing.
 *
 * @module
 */

/** Bytes of a piece: small, so that ten thousand connections with little in flight need little. */
export const PIECE = 4096;
const PIECES_A_SLAB = 64;

/** Memory for all streams of an NI, with a bound. */
export class PiecePool {
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  readonly #most: number;
  #made = 0;

  /** @param most bytes that all streams may hold together. */
  constructor(most: number) {
    this.#most = Math.max(PIECES_A_SLAB, Math.ceil(most / PIECE));
  }

  /** Bytes that are taken. */
  get used(): number {
    return (this.#made - this.#free.length) * PIECE;
  }

  /** True when fewer than `count` bytes are left. */
  isFull(count: number): boolean {
    return this.used + count > this.#most * PIECE;
  }

  /** A piece, or undefined when all are taken. */
  take(): Uint8Array<ArrayBuffer> | undefined {
    const piece = this.#free.pop();
    if (piece !== undefined) return piece;
    if (this.#made >= this.#most) return undefined;
    const slab = new Uint8Array(PIECE * PIECES_A_SLAB);
    for (let i = PIECES_A_SLAB - 1; i >= 0; i--) {
      this.#free.push(slab.subarray(i * PIECE, (i + 1) * PIECE));
    }
    this.#made += PIECES_A_SLAB;
    return this.#free.pop();
  }

  /** Gives a piece back. */
  give(piece: Uint8Array<ArrayBuffer>): void {
    this.#free.push(piece);
  }
}

/** Bytes from {@link low} on. Which of them were written, its owner knows. */
export class ByteStore {
  /** Bytes below are forgotten. */
  low: number;
  readonly #pool: PiecePool;
  readonly #pieces: (Uint8Array<ArrayBuffer> | undefined)[] = [];
  /** Number of the first piece. */
  #first: number;

  /** @param low offset of the first byte that will be there. */
  constructor(pool: PiecePool, low = 0) {
    this.#pool = pool;
    this.low = low;
    this.#first = Math.floor(low / PIECE);
  }

  /** Writes bytes; none below {@link low}. False when there is no memory: then part of it is written. */
  write(offset: number, data: Uint8Array, start: number, end: number): boolean {
    let at = offset;
    for (let from = start; from < end;) {
      const number = Math.floor(at / PIECE);
      const within = at - number * PIECE;
      const length = Math.min(PIECE - within, end - from);
      const piece = this.#pieces[number - this.#first] ?? this.#make(number - this.#first);
      if (piece === undefined) return false;
      piece.set(data.subarray(from, from + length), within);
      at += length;
      from += length;
    }
    return true;
  }

  /** Whether the bytes at an offset, all of them there, are these. */
  equals(offset: number, data: Uint8Array, start: number, end: number): boolean {
    let at = offset;
    for (let from = start; from < end;) {
      const number = Math.floor(at / PIECE);
      const within = at - number * PIECE;
      const length = Math.min(PIECE - within, end - from);
      const piece = this.#pieces[number - this.#first];
      if (piece === undefined) return false;
      for (let i = 0; i < length; i++) {
        if (piece[within + i] !== data[from + i]) return false;
      }
      at += length;
      from += length;
    }
    return true;
  }

  /** Copies the bytes from `offset` to `end`, which are there. */
  copy(offset: number, end: number, target: Uint8Array, to: number): void {
    for (let at = offset; at < end;) {
      const number = Math.floor(at / PIECE);
      const within = at - number * PIECE;
      const length = Math.min(PIECE - within, end - at);
      const piece = this.#pieces[number - this.#first];
      if (piece === undefined) throw new RangeError(`No bytes at ${at} of a stream`);
      target.set(piece.subarray(within, within + length), to + at - offset);
      at += length;
    }
  }

  /** Forgets all bytes below an offset. */
  forget(offset: number): void {
    if (offset <= this.low) return;
    this.low = offset;
    const first = Math.floor(offset / PIECE);
    const gone = Math.min(first - this.#first, this.#pieces.length);
    if (gone > 0) {
      for (let i = 0; i < gone; i++) this.#give(i);
      // Mostly one: nothing is made for it.
      if (gone === 1) this.#pieces.shift();
      else this.#pieces.splice(0, gone);
    }
    if (first > this.#first) this.#first = first;
  }

  /** Forgets everything. Nothing can be written any more but from {@link low} on. */
  clear(): void {
    for (let i = 0; i < this.#pieces.length; i++) this.#give(i);
    this.#pieces.length = 0;
  }

  /**
   * Forgets everything, and the piece that is only written in part, when nothing is there.
   *
   * @param offset where the next byte will be.
   */
  empty(offset: number): void {
    this.clear();
    this.low = offset;
    this.#first = Math.floor(offset / PIECE);
  }

  #make(index: number): Uint8Array<ArrayBuffer> | undefined {
    const piece = this.#pool.take();
    if (piece === undefined) return undefined;
    while (this.#pieces.length < index) this.#pieces.push(undefined);
    this.#pieces[index] = piece;
    return piece;
  }

  #give(index: number): void {
    const piece = this.#pieces[index];
    if (piece !== undefined) this.#pool.give(piece);
  }
}
