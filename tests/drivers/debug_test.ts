import assert from "node:assert/strict";
import { createDebug } from "../../drivers/debug.ts";
import { EnforcerError } from "../../drivers/enforcer.ts";
import { conformance } from "./conformance.ts";
import { open, tuple } from "./tuples.ts";

conformance({
  title: "debug",
  ignore: false,
  make: ({ capacity }) =>
    Promise.resolve({
      enforcer: createDebug({ capacity }),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }),
});

Deno.test("debug: traffic is counted while the pinhole is open, by the clock that is given", async () => {
  let now = 0;
  const debug = createDebug({ now: () => now });
  await debug.connect();
  const t = tuple("tcp", "198.51.100.1", 0, "192.0.2.1", 5000);
  assert.equal(debug.pass(t, 1, 60), false);
  await debug.apply([open(t, 10)]);
  assert.equal(debug.pass(t, 2, 120), true);
  assert.equal(debug.pass(t, 1, 60), true);
  assert.deepEqual(await debug.counters([t]), [{ packets: 3, bytes: 180 }]);
  now = 9_999;
  assert.equal((await debug.list())[0]?.expires, 0.001);
  now = 10_000;
  assert.equal(debug.pass(t, 1, 60), false);
  await debug.endConnections([t]);
  assert.deepEqual(debug.ended, [t]);
});

Deno.test("debug: an impossible capacity is an error", () => {
  for (const capacity of [0, -1, 1.5, NaN]) {
    assert.throws(() => createDebug({ capacity }), EnforcerError);
  }
});
