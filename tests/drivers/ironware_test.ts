/**
 * What is peculiar to IronWare: IPv6 ACLs that need no rebind, and counters that the device collects once a minute.
 */
import assert from "node:assert/strict";
import type { IronwareDevice } from "../../lib/devices/ironware.ts";
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";
import { deviceAndDriver } from "./devices.ts";
import { close, open, tuple } from "./tuples.ts";

const IPV4 = tuple("tcp", "198.51.100.1", 0, "192.0.2.1", 5000);
const IPV6 = tuple("tcp", "2001:db8::1", 0, "2001:db8::2", 5000);

function send(device: IronwareDevice, t: FiveTuple, packets: number): boolean {
  return device.packet(
    t.source.family === 4 ? "DIAPER" : "DIAPER6",
    {
      proto: t.protocol,
      source: t.source,
      sourcePort: 40_000,
      destination: t.destination,
      destinationPort: t.destinationPort,
    },
    packets,
  );
}

for (const variant of ["netiron", "fastiron"] as const) {
  Deno.test(`ironware (${variant}): what is opened is let in and counted, over IPv4 and IPv6`, async () => {
    await using made = await deviceAndDriver<IronwareDevice>("ironware", { variant }, { variant });
    const { device, enforcer } = made;
    await enforcer.connect();
    for (const t of [IPV4, IPV6]) assert.equal(send(device, t, 1), false, "before it is opened");
    const opened = await enforcer.apply([open(IPV4), open(IPV6)]);
    assert.deepEqual(opened, [{ ok: true }, { ok: true }]);
    assert.deepEqual([send(device, IPV4, 3), send(device, IPV6, 4)], [true, true]);
    device.collect();
    const counted = await enforcer.counters([IPV4, IPV6]);
    assert.deepEqual(counted.map((c) => c?.packets), [3, 4]);
    // Another pinhole: a rebind clears what the device counted, and none of it is lost.
    const other = tuple("udp", "198.51.100.9", 0, "192.0.2.1", 5001);
    assert.deepEqual(await enforcer.apply([open(other)]), [{ ok: true }]);
    assert.deepEqual([send(device, IPV4, 2), send(device, IPV6, 5)], [true, true]);
    device.collect();
    const later = await enforcer.counters([IPV4, IPV6]);
    assert.deepEqual(later.map((c) => c?.packets), [5, 9]);
    assert.deepEqual(await enforcer.apply([close(IPV4), close(IPV6)]), [{ ok: true }, {
      ok: true,
    }]);
    for (const t of [IPV4, IPV6]) assert.equal(send(device, t, 1), false, "after it was closed");
  });
}
