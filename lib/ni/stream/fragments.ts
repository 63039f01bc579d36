/**
 * Puts fragmented packets together (RFC 791, 8200, 5722), within bounds. Only TCP's are looked at.
 *
 * @module
 */
import { addWords, finishChecksum } from "../../net/checksum.ts";
import { type Packet, PROTOCOL } from "../../net/packet.ts";
import type { Direction } from "../frame.ts";
import type { HeldFrame } from "../held_frames.ts";
import type { Arrival } from "./arrival.ts";
import { put16 } from "./segment_writer.ts";

/** Milliseconds that a packet's fragments are waited for (RFC 8200: 60 s, Linux: 30 s). */
const WAIT = 30_000;
const MOST_PACKETS = 256;
const MOST_FRAGMENTS = 128;
const LARGEST = 65_535;

interface Piece {
  readonly start: number;
  readonly end: number;
  readonly frame: HeldFrame;
  /** Place of its payload in the frame. */
  readonly payload: number;
}

interface Partial {
  readonly key: string;
  readonly since: number;
  readonly direction: Direction;
  readonly pieces: Piece[];
  length: number | undefined;
  /** Where the headers of the first fragment end: the link's, and IP's without what only fragments have. */
  headers: { frame: HeldFrame; network: number; ipEnd: number } | undefined;
}

/** What became of a fragment. */
export type FragmentResult =
  /** Others are missing. */
  | "waits"
  /** It, and all others of its packet, must not go on. */
  | "bad"
  /** The packet is in {@link Fragments.memory}. */
  | "whole";

/** Packets in parts. */
export class Fragments {
  /** The packet that was put together last, with its link header. */
  readonly memory: Uint8Array<ArrayBuffer> = new Uint8Array(LARGEST + 256);
  /** The byte after it. */
  end = 0;
  /** The fragments that it came in, in their order. */
  frames: readonly HeldFrame[] = [];
  /** Why the last one was bad. */
  why = "";
  readonly #partial = new Map<string, Partial>();
  readonly #drop: (frames: readonly HeldFrame[]) => void;

  /** @param drop gets what is given up. */
  constructor(drop: (frames: readonly HeldFrame[]) => void) {
    this.#drop = drop;
  }

  /** Packets that wait for the rest. */
  get size(): number {
    return this.#partial.size;
  }

  /** Takes a fragment of a TCP packet. */
  add(arrival: Arrival, now: number): FragmentResult {
    const p = arrival.packet;
    const key = `${p.source().text} ${p.destination().text} ${p.fragmentId}`;
    const partial = this.#partial.get(key) ?? this.#begin(key, arrival.direction, now);
    const start = p.fragmentOffset;
    const end = start + p.networkEnd - p.transport;
    const wrong = this.#check(partial, p, start, end);
    if (wrong !== undefined) return this.#bad(partial, wrong);
    const frame = arrival.holdFragment();
    if (frame === undefined) return this.#bad(partial, "no room for fragments");
    const piece = { start, end, frame, payload: frame.start + p.transport - p.start };
    let i = partial.pieces.length;
    while (i > 0 && (partial.pieces[i - 1] as Piece).start > start) i--;
    const before = partial.pieces[i - 1];
    const after = partial.pieces[i];
    partial.pieces.splice(i, 0, piece);
    if (
      (before !== undefined && before.end > start) || (after !== undefined && after.start < end)
    ) {
      // The same again is harmless; anything else has no purpose but to be read differently (RFC 5722).
      const same = [before, after].some((other) =>
        other !== undefined && other.start === start && other.end === end && sameBytes(other, piece)
      );
      if (!same) return this.#bad(partial, "fragments overlap");
      partial.pieces.splice(partial.pieces.indexOf(piece), 1);
      this.#drop([frame]);
      return "waits";
    }
    if (!p.moreFragments) partial.length = end;
    if (start === 0) {
      const offset = frame.start - p.start;
      partial.headers = { frame, network: p.network + offset, ipEnd: p.transport + offset };
    }
    return this.#assemble(partial, p.version) ? "whole" : "waits";
  }

  /** Gives up what has waited for too long. */
  expire(now: number): void {
    for (const partial of this.#partial.values()) {
      if (now - partial.since <= WAIT) return;
      this.#forget(partial);
    }
  }

  #begin(key: string, direction: Direction, now: number): Partial {
    if (this.#partial.size >= MOST_PACKETS) {
      for (const oldest of this.#partial.values()) {
        this.#forget(oldest);
        break;
      }
    }
    const partial: Partial = {
      key,
      since: now,
      direction,
      pieces: [],
      length: undefined,
      headers: undefined,
    };
    this.#partial.set(key, partial);
    return partial;
  }

  #check(partial: Partial, p: Packet, start: number, end: number): string | undefined {
    if (end > LARGEST || end <= start) return "a fragment is longer than a packet can be";
    if (p.moreFragments && (end - start) % 8 !== 0) return "a fragment's length is not of 8 bytes";
    if (partial.pieces.length >= MOST_FRAGMENTS) return "too many fragments";
    const { length } = partial;
    if (length !== undefined && (end > length || (!p.moreFragments && end !== length))) {
      return "fragments tell different lengths";
    }
    return undefined;
  }

  #bad(partial: Partial, why: string): "bad" {
    this.why = why;
    this.#forget(partial);
    return "bad";
  }

  #forget(partial: Partial): void {
    this.#partial.delete(partial.key);
    this.#drop(partial.pieces.map(({ frame }) => frame));
    partial.pieces.length = 0;
  }

  #assemble(partial: Partial, version: number): boolean {
    const { headers, length, pieces } = partial;
    if (headers === undefined || length === undefined) return false;
    let at = 0;
    for (const { start, end } of pieces) {
      if (start !== at) return false;
      at = end;
    }
    if (at !== length) return false;
    const { memory } = this;
    const { frame, network, ipEnd } = headers;
    const link = network - frame.start;
    const size = version === 4 ? ipEnd - network : 40;
    memory.set(frame.memory.data.subarray(frame.start, network + size), 0);
    for (const { start, end, frame: { memory: { data } }, payload } of pieces) {
      memory.set(data.subarray(payload, payload + end - start), link + size + start);
    }
    this.end = link + size + length;
    if (version === 4) {
      if (size + length > LARGEST) return false;
      put16(memory, link + 2, size + length);
      put16(memory, link + 6, 0);
      put16(memory, link + 10, 0);
      put16(memory, link + 10, finishChecksum(addWords(0, memory, link, link + size)));
    } else {
      // Other extension headers do not matter to TCP, nor does their absence to its checksum.
      put16(memory, link + 4, length);
      memory[link + 6] = PROTOCOL.TCP;
    }
    this.frames = pieces.map((piece) => piece.frame);
    this.#partial.delete(partial.key);
    return true;
  }
}

function sameBytes(a: Piece, b: Piece): boolean {
  for (let i = 0; i < a.end - a.start; i++) {
    if (a.frame.memory.data[a.payload + i] !== b.frame.memory.data[b.payload + i]) return false;
  }
  return true;
}
