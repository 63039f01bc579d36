import assert from "node:assert/strict";
import { calibrate, type Calibration } from "../../drivers/calibration.ts";
import { createDebug } from "../../drivers/debug.ts";
import type { ChangeResult, Enforcer, EnforcerChange } from "../../drivers/enforcer.ts";

/** An enforcer with a known law of time, on a clock of its own: 10 ms a batch, and more from 200 on. */
function model(law: (batch: number, existing: number) => number, capacity = 100_000) {
  const inner = createDebug({ capacity });
  let time = 0;
  let open = 0;
  let most = 0;
  const enforcer: Enforcer = {
    name: "model",
    capabilities: inner.capabilities,
    connect: () => inner.connect(),
    apply: (batch: readonly EnforcerChange[]): Promise<ChangeResult[]> => {
      time += law(batch.length, open);
      for (const { action } of batch) open += action === "open" ? 1 : -1;
      most = Math.max(most, open);
      return inner.apply(batch);
    },
    counters: (tuples) => inner.counters(tuples),
    list: () => inner.list(),
    endConnections: (tuples) => inner.endConnections(tuples),
    plan: (batch) => inner.plan(batch),
    close: () => inner.close(),
    remove: () => inner.remove(),
  };
  return { enforcer, now: () => time, most: () => most };
}

async function measure(
  law: (batch: number, existing: number) => number,
  options: { most?: number; seconds?: number; capacity?: number } = {},
): Promise<{ result: Calibration; most: number; left: number }> {
  const { enforcer, now, most } = model(law, options.capacity);
  await enforcer.connect();
  const { seconds = 1e9, most: limit = 2000 } = options;
  const result = await calibrate(enforcer, { seconds, most: limit, rounds: 3, now });
  return { result, most: most(), left: (await enforcer.list()).length };
}

Deno.test("calibration: finds the batch after which nothing is gained", async () => {
  const knee = (n: number) => 10 + 0.1 * n + (n > 200 ? 0.5 * (n - 200) : 0);
  const { result, left } = await measure(knee);
  assert.equal(result.optimal_batch, 200);
  const at = (batch: number) => result.batched.find((p) => p.batch === batch && p.existing === 0);
  assert.deepEqual(at(200), { batch: 200, existing: 0, seconds: 0.03, updates_per_second: 6667 });
  assert.deepEqual(result.sequential.find((p) => p.count === 100), { count: 100, seconds: 1.01 });
  assert.equal(left, 0);
});

Deno.test("calibration: a smaller batch that is nearly as good is better", async () => {
  const { result } = await measure((n) => 1 + n);
  assert.equal(result.optimal_batch, 20);
});

Deno.test("calibration: finds where existing pinholes make it slow", async () => {
  const { result } = await measure((n, open) => (1 + n) * (open >= 900 ? 3 : 1));
  assert.equal(result.degrades_at, 1000);
  const flat = await measure((n) => 1 + n);
  assert.equal(flat.result.degrades_at, null);
  assert.deepEqual(
    flat.result.batched.filter((p) => p.existing > 0).map((p) => [p.batch, p.existing]),
    [[20, 10], [20, 100], [20, 1000]],
  );
});

Deno.test("calibration: neither capacity nor the wanted most is exceeded, and time is kept", async () => {
  const small = await measure((n) => 1 + n, { capacity: 50 });
  assert.equal(small.most, 50);
  assert.equal(small.result.capacity, 50);
  const limited = await measure((n) => 1 + n, { most: 100 });
  assert.equal(limited.most, 100);
  // A batch of one takes ten seconds: each series ends after the point that used up its time.
  const slow = await measure((n) => 10_000 + n, { seconds: 15 });
  assert.deepEqual(slow.result.sequential.map((p) => p.count), [1, 2]);
  assert.deepEqual(slow.result.batched.map((p) => [p.batch, p.existing]), [[1, 0], [1, 10]]);
});

Deno.test("calibration: an enforcer in use is not measured, one that refuses is an error", async () => {
  const { enforcer, now } = model((n) => n);
  await enforcer.connect();
  const options = { seconds: 1, most: 10, rounds: 1, now };
  const refusing: Enforcer = {
    ...enforcer,
    apply: (batch) =>
      Promise.resolve(
        batch.map(() => ({ ok: false, reason: "refused", message: "table on fire" })),
      ),
  };
  await assert.rejects(calibrate(refusing, options), /table on fire/);
  const used: Enforcer = {
    ...enforcer,
    list: () => Promise.resolve([{} as Awaited<ReturnType<Enforcer["list"]>>[0]]),
  };
  await assert.rejects(calibrate(used, options), /holds pinholes/);
});
