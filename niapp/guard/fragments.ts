/**
 * Judges fragments (RFC 1858, RFC 3128, RFC 5722): too small to be judged by others, overlapping, or never whole.
 *
 * @module
 */
import { type Packet, PROTOCOL } from "../../lib/net/packet.ts";

/** What is wrong with a fragment. */
export type FragmentFault =
  | "tiny fragment"
  | "overlapping fragments"
  | "fragment beyond the largest datagram";

/** Bytes of a TCP header that a first fragment has at least: up to the flags and window (RFC 1858 3). */
const TMIN = 16;
const LARGEST = 65_535;
/** Datagrams that are put together at a time, and fragments of each. */
const MOST_DATAGRAMS = 4096;
const MOST_FRAGMENTS = 128;

interface Datagram {
  /** Ranges that came, in order of their offsets: start, end, number of the frame. */
  readonly parts: [start: number, end: number, frame: number][];
  /** Bytes of all, once the last fragment came. */
  size: number | undefined;
  readonly since: number;
  /** It overlapped: nothing of it is taken any more (RFC 5722). */
  bad: boolean;
}

/** What became of a fragment. */
export interface FragmentResult {
  readonly fault: FragmentFault | undefined;
  /** Frames of the datagram in the order of their offsets, when this one made it whole. */
  readonly whole: readonly number[] | undefined;
  /** Frames of the datagram that came before and were right until now. */
  readonly before: readonly number[];
}

/** Datagrams that come in fragments. */
export class FragmentTable {
  readonly #datagrams = new Map<string, Datagram>();

  /** Takes a fragment. `now` in milliseconds. */
  add(p: Packet, frame: number, now: number): FragmentResult {
    const key = `${p.source().text} ${p.destination().text} ${
      p.version === 4 ? p.protocol : 0
    } ${p.fragmentId}`;
    const start = p.fragmentOffset;
    const end = start + p.networkEnd - p.transport;
    const known = this.#datagrams.get(key);
    const fault = faultOf(p, start, end);
    if (known?.bad === true) {
      return { fault: fault ?? "overlapping fragments", whole: undefined, before: [] };
    }
    if (fault !== undefined) return this.#spoil(key, now, fault, known);
    const datagram = known ?? this.#begin(key, now);
    const overlaps = datagram.parts.some(([from, to]) => start < to && end > from) ||
      (datagram.size !== undefined && end > datagram.size) ||
      (!p.moreFragments && datagram.parts.some(([, to]) => to > end)) ||
      datagram.parts.length >= MOST_FRAGMENTS;
    if (overlaps) return this.#spoil(key, now, "overlapping fragments", datagram);
    datagram.parts.push([start, end, frame]);
    if (!p.moreFragments) datagram.size = end;
    const bytes = datagram.parts.reduce((sum, [from, to]) => sum + to - from, 0);
    if (bytes !== datagram.size) return { fault: undefined, whole: undefined, before: [] };
    this.#datagrams.delete(key);
    const whole = datagram.parts.sort((a, b) => a[0] - b[0]).map((part) => part[2]);
    return { fault: undefined, whole, before: [] };
  }

  /** Takes out what began before `time` and is not whole; the frames of each. */
  expire(time: number): (readonly number[])[] {
    const gone: number[][] = [];
    for (const [key, datagram] of this.#datagrams) {
      if (datagram.since > time) break;
      this.#datagrams.delete(key);
      if (!datagram.bad) gone.push(datagram.parts.map((part) => part[2]));
    }
    return gone;
  }

  /** When the oldest began; undefined when there is none. */
  get oldest(): number | undefined {
    for (const { since } of this.#datagrams.values()) return since;
    return undefined;
  }

  /** There is no room for a datagram that is not known yet. */
  get full(): boolean {
    return this.#datagrams.size >= MOST_DATAGRAMS;
  }

  #begin(key: string, now: number): Datagram {
    const datagram: Datagram = { parts: [], size: undefined, since: now, bad: false };
    this.#datagrams.set(key, datagram);
    return datagram;
  }

  #spoil(
    key: string,
    now: number,
    fault: FragmentFault,
    known: Datagram | undefined,
  ): FragmentResult {
    const datagram = known ?? this.#begin(key, now);
    const before = datagram.parts.map((part) => part[2]);
    datagram.parts.length = 0;
    datagram.bad = true;
    return { fault, whole: undefined, before };
  }
}

function faultOf(p: Packet, start: number, end: number): FragmentFault | undefined {
  if (end > LARGEST) return "fragment beyond the largest datagram";
  const tcp = p.protocol === PROTOCOL.TCP;
  if (start === 0 && tcp && end < TMIN) return "tiny fragment";
  // A second fragment that would put TCP flags over those of the first (RFC 3128).
  if (start > 0 && start < TMIN && (tcp || p.version === 6)) return "tiny fragment";
  // Only the last one may be shorter than 8 bytes, and none may be empty.
  if (end === start || (p.moreFragments && (end - start) % 8 !== 0)) return "tiny fragment";
  return undefined;
}
