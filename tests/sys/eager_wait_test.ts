import assert from "node:assert/strict";
import { EagerWait } from "../../lib/sys/eager_wait.ts";

/** A poll set that is ready after so many milliseconds each time, and what it was asked. */
class Requests {
  now = 0;
  readonly timeouts: number[] = [];
  #readyAt: number;
  readonly #every: () => number;

  constructor(every: () => number) {
    this.#every = every;
    this.#readyAt = every();
  }

  wait(timeout: number): number {
    this.timeouts.push(timeout);
    if (timeout === 0) this.now += 0.01;
    else this.now = Math.min(Math.max(this.now, this.#readyAt), this.now + timeout);
    if (this.now < this.#readyAt) return 0;
    this.#readyAt = this.now + this.#every();
    return 1;
  }

  /** How often it was looked in a hundred waits. */
  looks(waiting: EagerWait): number {
    this.timeouts.length = 0;
    for (let i = 0; i < 100; i++) waiting.wait(1000);
    return this.timeouts.filter((timeout) => timeout === 0).length;
  }

  /** How often it slept in those. */
  get sleeps(): number {
    return this.timeouts.filter((timeout) => timeout > 0).length;
  }
}

Deno.test("single requests are slept for", () => {
  const requests = new Requests(() => 20);
  assert.equal(requests.looks(new EagerWait(requests, () => requests.now)), 0);
});

Deno.test("one request after the other is not slept for, after the first few", () => {
  const requests = new Requests(() => 0.03);
  const waiting = new EagerWait(requests, () => requests.now);
  assert.ok(requests.looks(waiting) > 0);
  assert.equal(requests.sleeps, 4);
  requests.looks(waiting);
  assert.equal(requests.sleeps, 0);
});

Deno.test("who asks only while this thread sleeps is looked for ever more rarely", () => {
  // As where both share a processor: nothing comes while it is looked.
  const requests = new Requests(() => 0.15);
  const waiting = new EagerWait(requests, () => requests.now);
  const first = requests.looks(waiting);
  assert.equal(requests.sleeps, 100);
  requests.looks(waiting);
  const later = requests.looks(waiting);
  assert.ok(later < first / 2, `${first} looks, then ${later}`);
  assert.equal(requests.sleeps, 100);
});

Deno.test("the end of many requests costs one time of looking", () => {
  let every = 0.03;
  const requests = new Requests(() => every);
  const waiting = new EagerWait(requests, () => requests.now);
  requests.looks(waiting);
  every = 50;
  waiting.wait(1000); // the one that was on its way
  const looks = requests.looks(waiting);
  assert.ok(looks > 0 && looks <= 11, `${looks} looks of 0.01 ms`);
});

Deno.test("who must not wait does not look", () => {
  const requests = new Requests(() => 5);
  assert.equal(new EagerWait(requests, () => requests.now).wait(0), 0);
  assert.deepEqual(requests.timeouts, [0]);
});
