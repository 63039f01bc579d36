/** Local authentication by the setuid wrapper: the way that works, and the attacks on it. */
import assert from "node:assert/strict";
import { runInside } from "./namespace.ts";

Deno.test({
  name: "wrap: attacks on local authentication are refused and reported (needs root)",
  ignore: Deno.uid() !== 0,
  async fn(t) {
    const results = Object.entries(await runInside("attacks.ts"));
    assert.ok(results.length > 15);
    for (const [name, result] of results) {
      await t.step(name, () => assert.equal(result, "ok"));
    }
  },
});
