/**
 * Pinholes whose time is limited, by the second in which it is over.
 *
 * @module
 */
import type { CloseReason, Pinhole } from "../pinhole/pinhole.ts";

/** Whoever closes pinholes. */
export interface Closer {
  /** Wants a pinhole closed. */
  close(pinhole: Pinhole, reason: CloseReason): void;
}

/** Closes pinholes in time. */
export class Expiry {
  readonly #closer: Closer;
  readonly #due = new Map<number, Pinhole[]>();
  #upTo = Math.floor(Date.now() / 1000);

  constructor(closer: Closer) {
    this.#closer = closer;
  }

  /** Takes over a pinhole that was opened, or found in the ledger. */
  watch(p: Pinhole): void {
    if (p.expiresAt === undefined) return;
    // A time that is over already, as in an old ledger, is over with the next second.
    const second = Math.max(Math.ceil(p.expiresAt / 1000), this.#upTo + 1);
    const list = this.#due.get(second);
    if (list === undefined) this.#due.set(second, [p]);
    else list.push(p);
  }

  /**
   * Closes pinholes whose time is over. To be called about once a second.
   *
   * @param now milliseconds since the epoch.
   */
  expire(now: number): void {
    const upTo = Math.floor(now / 1000);
    const due = upTo - this.#upTo > 3600
      ? [...this.#due.keys()].filter((second) => second <= upTo)
      : Array.from({ length: Math.max(0, upTo - this.#upTo) }, (_, i) => this.#upTo + 1 + i);
    this.#upTo = Math.max(this.#upTo, upTo);
    for (const second of due) {
      for (const p of this.#due.get(second) ?? []) this.#closer.close(p, "expired");
      this.#due.delete(second);
    }
  }
}
