/**
 * kill -9 of console and NI in a stream of alerts: none lost, none shown twice.
 */
import assert from "node:assert/strict";
import { killDuringStream } from "./kill.ts";

Deno.test("console: kill -9 of console and NI in a stream of alerts loses none and doubles none", async () => {
  const result = await killDuringStream(6000, 4);
  assert.deepEqual(result, { alerts: 6000, kills: { console: 2, ni: 2 }, eveLines: 6000 });
});
