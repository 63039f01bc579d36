/**
 * A device that falls silent: its driver says so while it still tries, since whoever has another way must not
 * wait for the end of all tries.
 */
import assert from "node:assert/strict";
import { DEVICE_NAMES } from "../../lib/devices/mod.ts";
import { deviceAndDriver } from "./devices.ts";
import { open, tuple } from "./tuples.ts";

for (const name of DEVICE_NAMES) {
  Deno.test(`${name}: the driver of a silent device says so before it gives up, and not any more after`, async () => {
    await using made = await deviceAndDriver(name, {}, { timeout: 1 });
    const { device, enforcer } = made;
    await enforcer.connect();
    assert.equal(enforcer.silence, undefined);
    device.faults.silent = true;
    let over = false;
    const given = enforcer.apply([open(tuple("tcp", "198.51.100.1", 0, "192.0.2.1", 30_000))])
      .finally(() => over = true);
    while (enforcer.silence === undefined) {
      assert.ok(!over, "it gave up before");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.match(enforcer.silence, /\S/);
    assert.ok(!over, "it still tries");
    await given;
    device.faults.silent = false;
    await enforcer.list();
    assert.equal(enforcer.silence, undefined);
  });
}
