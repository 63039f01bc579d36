/**
 * A data plane: one thread, one poll set, and the parts that are served by it in turn.
 *
 * A part's work may wait for something far away (a router that takes seconds for a batch). Meanwhile the
 * poll set is served on, so that requests are taken in, and only what needs that part waits.
 *
 * @module
 */
import { EagerWait } from "../sys/eager_wait.ts";
import type { Poller } from "../sys/epoll.ts";
import { tolerateLateTimers } from "../sys/clock.ts";

/** Something that a data plane serves. */
export interface Part {
  /** Milliseconds from `now` (clock of `performance.now`) until it wants a turn; 0 at once. */
  due(now: number): number;
  /**
   * Its turn, after each look at the poll set. One part after the other, never two at the same time.
   *
   * @param idle nothing was ready: what is not urgent can be done now.
   */
  round(now: number, idle: boolean): Promise<void> | void;
}

/** Turns of the microtask queue after which a promise counts as waiting for something far away. */
const NEAR = 500;
/** What is due in a moment may be so much later: see {@link tolerateLateTimers}. */
const SLACK_MS = 4;
/** How often the poll set is looked at while a part waits for something far away. */
const FAR_MS = 1;

/** Serves its parts until it is stopped. */
export class DataPlane {
  readonly #poller: Poller;
  readonly #requests: EagerWait;
  readonly #parts: readonly Part[];
  readonly #meanwhile: () => void;
  #stopping = false;

  /**
   * @param meanwhile called again and again while a part waits for something far away; when it throws, that is
   * waited for no longer, and the plane ends.
   */
  constructor(poller: Poller, parts: readonly Part[], meanwhile: () => void = () => {}) {
    this.#poller = poller;
    this.#requests = new EagerWait(poller);
    this.#parts = parts;
    this.#meanwhile = meanwhile;
  }

  /** Serves until {@link stop}; what a part has begun is ended. */
  async run(): Promise<void> {
    tolerateLateTimers(SLACK_MS);
    while (!this.#stopping) {
      const ready = this.#requests.wait(this.#timeout());
      const rest = this.#round(0, ready === 0);
      // What somebody else has begun goes on between rounds.
      if (rest === undefined) {
        await undefined;
        continue;
      }
      const work = new Work(rest);
      if (await work.near()) continue;
      await this.#far(work);
    }
  }

  /** Waits for something far away, and takes in requests meanwhile. */
  async #far(work: Work): Promise<void> {
    // The runtime's own events, such as a router's answers, come only while this thread waits for them.
    tolerateLateTimers(0);
    try {
      while (!await work.within(FAR_MS)) {
        this.#poller.wait(0);
        this.#meanwhile();
      }
    } finally {
      tolerateLateTimers(SLACK_MS);
    }
  }

  /** Has {@link run} return after the present round. */
  stop(): void {
    this.#stopping = true;
  }

  /** Gives each part its turn, from one on; a promise only when one of them has to be waited for. */
  #round(from: number, idle: boolean): Promise<void> | undefined {
    const now = performance.now();
    for (let i = from; i < this.#parts.length; i++) {
      const work = this.#parts[i]?.round(now, idle);
      if (work instanceof Promise) return work.then(() => this.#round(i + 1, idle));
    }
    return undefined;
  }

  #timeout(): number {
    const now = performance.now();
    let wait = Infinity;
    for (const part of this.#parts) wait = Math.min(wait, part.due(now));
    return Math.max(0, Math.ceil(Math.min(wait, 1000)));
  }
}

/** A promise of which one can ask whether it is settled. */
class Work {
  readonly #promise: Promise<void>;
  #settled = false;

  constructor(promise: Promise<void>) {
    this.#promise = promise.finally(() => {
      this.#settled = true;
    });
    // Whoever waits for it is told; one that is waited for no more has failed with what it was part of.
    this.#promise.catch(() => {});
  }

  /** True when it settles without anything from outside. */
  async near(): Promise<boolean> {
    for (let i = 0; i < NEAR && !this.#settled; i++) await undefined;
    if (this.#settled) await this.#promise;
    return this.#settled;
  }

  /** True when it settles in so many milliseconds. */
  async within(ms: number): Promise<boolean> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([this.#promise, late]);
    clearTimeout(timer);
    return this.#settled;
  }
}
