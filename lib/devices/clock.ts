/**
 * How long a simulated device takes: the model behind the paper's figures 6 to 9 (Dynamic Perimeter Enforcement,
 * section 5.1). Starting an update costs a fixed time, each entry of a batch a little, and a larger batch
 * more and more, so that there is a batch size at which most updates a second are reached.
 *
 * @module
 */

import { setImmediate } from "node:timers";

/** What the paper says of a device, and how long a single update takes there (read from figure 6). */
export interface DeviceSpeed {
  /** Most updates a second, reached at {@link DeviceSpeed.batch}. */
  readonly rate: number;
  readonly batch: number;
  /** Fixed time of an update, in milliseconds. */
  readonly start: number;
  /** From so many existing entries on, an update takes longer in proportion. */
  readonly degradesFrom: number;
}

/**
 * The time that a batch of `n` updates takes in milliseconds: `start + n * each + n² * more`, with `each` and
 * `more` such that the rate is highest at the device's batch size and is its rate there.
 */
export function batchTime(speed: DeviceSpeed, n: number, existing: number): number {
  if (n === 0) return 0;
  const { batch, start, degradesFrom } = speed;
  const more = start / (batch * batch);
  const slower = Math.max(1, existing / degradesFrom);
  return (start + n * lineTime(speed) + n * n * more) * slower;
}

/** The part of it that each update takes when its line is read, in milliseconds. */
export function lineTime({ rate, batch, start }: DeviceSpeed): number {
  return 1000 / rate - 2 * start / batch;
}

/** How late a timer may be, in milliseconds. */
const TIMER = 1.5;

/** The one processor of a device, which does its work one after the other. */
export class DeviceClock {
  /** How many times faster than the real device; Infinity: no waiting at all. */
  readonly #factor: number;
  #free = 0;
  readonly #sleeping = new Map<ReturnType<typeof setTimeout>, () => void>();

  constructor(factor: number) {
    this.#factor = factor;
  }

  /** Adds work of so many milliseconds. */
  spend(milliseconds: number): void {
    if (this.#factor === Infinity) return;
    this.#free += milliseconds / this.#factor;
  }

  /** Work begins now: the device has waited for it, and had nothing to do. */
  begin(): void {
    this.#free = Math.max(this.#free, performance.now());
  }

  /** True when the work to do has come to so many milliseconds that what comes next must wait. */
  get busy(): boolean {
    return this.#factor !== Infinity && this.#free - performance.now() > 5;
  }

  /**
   * Waits until all work is done. Timers are late by a millisecond or more, which would make the device slower than
   * it is: the last of the time is waited for without one.
   */
  async settle(): Promise<void> {
    if (this.#factor === Infinity) return;
    for (;;) {
      const left = this.#free - performance.now();
      if (left <= 0) return;
      if (left > TIMER) await this.sleep(left - TIMER);
      else await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Waits, until the device is switched off at the latest. */
  sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#sleeping.delete(timer);
        resolve();
      }, milliseconds);
      this.#sleeping.set(timer, resolve);
    });
  }

  /** Ends all waiting: the device is switched off. */
  stop(): void {
    for (const [timer, resolve] of this.#sleeping) {
      clearTimeout(timer);
      resolve();
    }
    this.#sleeping.clear();
  }
}
