/**
 * Parts that are transferred piece by piece (IMAP's partial fetches): what came of each so far, so that a piece is
 * looked at together with those before it.
 *
 * @module
 */
import type { Message } from "./message.ts";
import type { MessageInfo } from "./protocol/exchange.ts";

/** Parts that are kept at once, and infected ones that are remembered. */
const MOST = 8;
const MOST_INFECTED = 10_000;

/** Bytes up to which every piece is looked at with all before it; then it is done each time that it has doubled. */
const SMALL = 4 * 1024 * 1024;

interface Known {
  bytes: Uint8Array;
  /** Bytes that were looked at. */
  checked: number;
  infected: boolean;
}

/** The parts of one connection. */
export class Pieces {
  readonly #known = new Map<string, Known>();
  readonly #limit: number;

  /** @param limit bytes that are kept of all parts together. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** What came before a piece; undefined when it stands alone. */
  before({ piece }: MessageInfo): Uint8Array | undefined {
    if (piece === undefined) return undefined;
    const known = this.#known.get(piece.of);
    if (known === undefined || known.bytes.length < piece.origin) return undefined;
    return known.bytes.subarray(0, piece.origin);
  }

  /** A part of that was infected: nothing of it is to be had any more. */
  isInfected({ piece }: MessageInfo): boolean {
    return piece !== undefined && this.#known.get(piece.of)?.infected === true;
  }

  /** Enough came to look at it again. */
  isDue({ info: { piece }, length }: Message): boolean {
    if (piece === undefined || piece.last || length < SMALL) return true;
    return length >= 2 * (this.#known.get(piece.of)?.checked ?? 0);
  }

  /** Keeps what is known after a piece. */
  keep(message: Message, infected: boolean): void {
    const { piece } = message.info;
    if (piece === undefined || message.ignored) return;
    const known = this.#known.get(piece.of);
    const bytes = message.own.slice();
    const checked = this.isDue(message) ? message.length : known?.checked ?? 0;
    this.#known.delete(piece.of);
    this.#known.set(piece.of, { bytes, checked, infected: infected || known?.infected === true });
    let total = 0;
    for (const { bytes } of this.#known.values()) total += bytes.length;
    for (const [key, known] of this.#known) {
      if (this.#known.size <= MOST && total <= this.#limit) return;
      total -= known.bytes.length;
      // That it is infected has to be known as long as the connection is there, so long as there are not too many.
      if (known.infected && this.#known.size < MOST_INFECTED) known.bytes = new Uint8Array();
      else this.#known.delete(key);
    }
  }
}
