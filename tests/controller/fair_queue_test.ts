import assert from "node:assert/strict";
import fc from "fast-check";
import { FairQueue } from "../../lib/controller/fair_queue.ts";

type Item = readonly [owner: string, n: number];
const owner = (item: Item) => item[0];

Deno.test("FairQueue gives each owner a turn, and what is left over to who has more", () => {
  const queue = new FairQueue<Item>(owner);
  for (let n = 0; n < 8; n++) queue.push(["a", n]);
  queue.push(["b", 0], ["b", 1], ["c", 0]);
  assert.deepEqual(queue.take(4), [["a", 0], ["a", 1], ["b", 0], ["c", 0]]);
  assert.deepEqual(queue.take(1), [["a", 2]]);
  assert.deepEqual(queue.take(1), [["b", 1]], "who had a turn comes last");
  queue.putBack([["a", 1], ["a", 2]]);
  queue.filter(([, n]) => n !== 4);
  assert.equal(queue.length, 6);
  assert.deepEqual(queue.take(100).map(([, n]) => n), [1, 2, 3, 5, 6, 7]);
  assert.deepEqual(queue.take(1), []);
});

Deno.test("FairQueue loses nothing, gives as much as is wanted, and keeps each owner's order", () => {
  const step = fc.oneof(
    fc.record({ push: fc.constantFrom("a", "b", "c", "d") }),
    fc.record({ take: fc.integer({ min: -1, max: 6 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = new FairQueue<Item>(owner);
      const waiting: Item[] = [];
      let n = 0;
      for (const s of steps) {
        if ("push" in s) {
          const item: Item = [s.push, n++];
          queue.push(item);
          waiting.push(item);
          continue;
        }
        const taken = queue.take(s.take);
        assert.equal(taken.length, Math.max(0, Math.min(s.take, waiting.length)));
        for (const item of taken) {
          const first = waiting.findIndex((w) => w[0] === item[0]);
          assert.deepEqual(waiting[first], item);
          waiting.splice(first, 1);
        }
        assert.equal(queue.length, waiting.length);
      }
    }),
    { seed: 4, numRuns: 200 },
  );
});
