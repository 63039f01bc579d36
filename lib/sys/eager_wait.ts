/**
 * Waiting for a poll set that may be ready again at once.
 *
 * To put a thread to sleep and to wake it up takes longer than to answer a request, where its processor has
 * nothing else to do and goes to sleep as well: on virtual machines 30 microseconds. Whoever binds many ports one
 * after the other asks again before that. It is looked for then, for a few microseconds, before this thread
 * sleeps; but where whoever asks shares a processor with this thread, looking is in vain and keeps them from
 * asking, so that after each time in vain it takes twice as many quick requests until it is tried again.
 *
 * @module
 */
import type { Poller } from "./epoll.ts";

/** Longest time for which it is looked. Milliseconds. */
const LOOK_MS = 0.1;
/** Sleeps that were so short would better not have been. Milliseconds. */
const SHORT_MS = 0.2;
/** Short sleeps after which it is looked: at first, and at most. */
const FEW = 4;
const MOST = 128;

/** Waits for a poll set, and learns when not to sleep. */
export class EagerWait {
  readonly #poller: Pick<Poller, "wait">;
  readonly #clock: () => number;
  #short = 0;
  #needed = FEW;

  /** @param clock in milliseconds. */
  constructor(poller: Pick<Poller, "wait">, clock: () => number = () => performance.now()) {
    this.#poller = poller;
    this.#clock = clock;
  }

  /** As {@link Poller.wait}. */
  wait(timeout: number): number {
    if (timeout === 0) return this.#poller.wait(0);
    if (this.#short >= this.#needed) {
      const ready = this.#look();
      if (ready > 0) return ready;
    }
    const start = this.#clock();
    const ready = this.#poller.wait(timeout);
    if (ready > 0 && this.#clock() - start < SHORT_MS) this.#short++;
    return ready;
  }

  #look(): number {
    const end = this.#clock() + LOOK_MS;
    do {
      const ready = this.#poller.wait(0);
      if (ready > 0) {
        this.#needed = FEW;
        return ready;
      }
    } while (this.#clock() < end);
    this.#needed = Math.min(this.#needed * 2, MOST);
    this.#short = 0;
    return 0;
  }
}
