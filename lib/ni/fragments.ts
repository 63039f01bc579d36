/**
 * Datagrams in fragments: only the first has ports, so that what was decided about it holds for the later ones too. Those that
 * come before it wait for it a moment.
 *
 * @module
 */
import type { Packet } from "../net/packet.ts";
import type { Direction } from "./frame.ts";

/** Datagrams that are remembered, and later fragments that wait. */
const MOST_DATAGRAMS = 4096;
const MOST_WAITING = 256;
/** Milliseconds for which either is. */
const REMEMBERED_MS = 30_000;
const WAITING_MS = 1000;

/** A later fragment that came before the first one. */
export interface EarlyFragment {
  readonly key: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where the frame begins in {@link bytes}; what is before it belongs to it. */
  readonly start: number;
  readonly wireLength: number;
  readonly direction: Direction;
  /** Milliseconds since the epoch. */
  readonly time: number;
  /** It is a copy of one that went on already. */
  readonly copy: boolean;
}

/** What was decided about datagrams, of any kind. */
export class Fragments<Decision> {
  readonly #decided = new Map<string, { readonly decision: Decision; readonly time: number }>();
  #waiting: EarlyFragment[] = [];

  /** Which datagram a fragment is of. */
  static key(p: Packet): string {
    return `${p.source().text} ${p.destination().text} ${p.fragmentId} ${
      p.version === 4 ? p.protocol : 6
    }`;
  }

  /** Notes what was decided about the first fragment, and gives those that waited for it, in order. */
  decide(key: string, decision: Decision, now: number): EarlyFragment[] {
    this.#decided.delete(key);
    this.#decided.set(key, { decision, time: now });
    if (this.#decided.size > MOST_DATAGRAMS) {
      for (const oldest of this.#decided.keys()) {
        this.#decided.delete(oldest);
        break;
      }
    }
    if (this.#waiting.length === 0) return [];
    const ready = this.#waiting.filter((early) => early.key === key);
    this.#waiting = this.#waiting.filter((early) => early.key !== key);
    return ready;
  }

  /** What was decided about a datagram; undefined when its first fragment has not come. */
  decision(key: string, now: number): Decision | undefined {
    const known = this.#decided.get(key);
    return known !== undefined && now - known.time <= REMEMBERED_MS ? known.decision : undefined;
  }

  /** Keeps a later fragment until the first comes. @returns false when there is no room. */
  wait(early: EarlyFragment): boolean {
    if (this.#waiting.length >= MOST_WAITING) return false;
    this.#waiting.push(early);
    return true;
  }

  /** Gives up on those that waited too long: without the first one they are of no use to anybody. @returns how many. */
  expire(now: number): number {
    if (this.#waiting.length === 0) return 0;
    const before = this.#waiting.length;
    this.#waiting = this.#waiting.filter(({ time }) => now - time <= WAITING_MS);
    return before - this.#waiting.length;
  }
}
