/**
 * Pinholes whose time is limited, by the second in which it is over.
 *
 * How long a pinhole lives is counted by a clock that nobody sets: one that is set back makes none live longer.
 * When the wall clock is set forward, what should have ended by it ends at once.
 *
 * @module
 */
import type { CloseReason, Pinhole } from "../pinhole/pinhole.ts";

/** Whoever closes pinholes. */
export interface Closer {
  /** Wants a pinhole closed. */
  close(pinhole: Pinhole, reason: CloseReason): void;
}

/** One moment by both clocks, in milliseconds. */
export interface Moment {
  /** Since the epoch; may be set by anybody who may. */
  readonly wall: number;
  /** Since the process began; only goes forward. */
  readonly steady: number;
}

/** This moment. */
export function thisMoment(): Moment {
  return { wall: Date.now(), steady: performance.now() };
}

/** The wall clock was set when it moved so much more, or less, than the other. */
const JUMP_MS = 2000;

/** Closes pinholes in time. */
export class Expiry {
  readonly #closer: Closer;
  /** By the second of the steady clock in which they end. */
  readonly #due = new Map<number, Pinhole[]>();
  #upTo: number;
  /** Of the wall clock to the steady one. */
  #offset: number;

  constructor(closer: Closer, now: Moment = thisMoment()) {
    this.#closer = closer;
    this.#upTo = Math.floor(now.steady / 1000);
    this.#offset = now.wall - now.steady;
  }

  /** Takes over a pinhole that was opened, or found in the ledger. */
  watch(p: Pinhole, at?: Moment): void {
    if (p.expiresAt === undefined) return;
    const now = at ?? thisMoment();
    const end = now.steady + p.expiresAt - now.wall;
    // A time that is over already, as in an old ledger, is over with the next second.
    const second = Math.max(Math.ceil(end / 1000), this.#upTo + 1);
    const list = this.#due.get(second);
    if (list === undefined) this.#due.set(second, [p]);
    else list.push(p);
  }

  /**
   * Closes pinholes whose time is over. To be called about once a second.
   *
   * @returns by how many milliseconds the wall clock was set since the last call; 0: it was not.
   */
  expire({ wall, steady }: Moment = thisMoment()): number {
    const upTo = Math.floor(steady / 1000);
    const due = upTo - this.#upTo > 3600
      ? [...this.#due.keys()].filter((second) => second <= upTo)
      : Array.from({ length: Math.max(0, upTo - this.#upTo) }, (_, i) => this.#upTo + 1 + i);
    this.#upTo = Math.max(this.#upTo, upTo);
    for (const second of due) {
      for (const p of this.#due.get(second) ?? []) this.#closer.close(p, "expired");
      this.#due.delete(second);
    }
    const moved = wall - steady - this.#offset;
    this.#offset += moved;
    if (Math.abs(moved) < JUMP_MS) return 0;
    if (moved > 0) this.#endBy(wall);
    return moved;
  }

  #endBy(wall: number): void {
    for (const [second, list] of this.#due) {
      const rest = list.filter((p) => (p.expiresAt ?? Infinity) > wall);
      if (rest.length === list.length) continue;
      for (const p of list) if (!rest.includes(p)) this.#closer.close(p, "expired");
      if (rest.length === 0) this.#due.delete(second);
      else this.#due.set(second, rest);
    }
  }
}
