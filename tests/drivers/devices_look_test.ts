/**
 * Small changes among many entries: a driver looks at what it touched only, where the device can show that alone,
 * and is not misled by what others did meanwhile.
 */
import assert from "node:assert/strict";
import type { Enforcer } from "../../drivers/enforcer.ts";
import type { SimulatedDevice } from "../../lib/devices/device.ts";
import type { DeviceName } from "../../lib/devices/mod.ts";
import { type FiveTuple, tupleKey } from "../../lib/pinhole/pinhole.ts";
import { deviceAndDriver } from "./devices.ts";
import { close, ip, open, tuple } from "./tuples.ts";

const MANY = Array.from({ length: 400 }, (_, i) => at(30_000 + i));
const LOOKING = ["ios", "nxos", "eos"] as const;

function at(port: number): FiveTuple {
  return tuple("tcp", "198.51.100.1", 0, "192.0.2.1", port);
}

interface Filled {
  readonly device: SimulatedDevice;
  readonly enforcer: Enforcer;
  /** What was sent and received since the last call. */
  readonly talk: () => string;
}

/** A device with many pinholes. */
async function filled(name: DeviceName, run: (filled: Filled) => Promise<void>): Promise<void> {
  const transcripts = await Deno.makeTempDir();
  try {
    await using made = await deviceAndDriver(name, {}, { transcripts });
    const { device, enforcer } = made;
    await enforcer.connect();
    await applied(enforcer, MANY.map((t) => open(t)));
    let read = 0;
    const talk = () => {
      const [file] = [...Deno.readDirSync(transcripts)];
      const text = Deno.readTextFileSync(`${transcripts}/${file?.name}`);
      const since = text.slice(read);
      read = text.length;
      return since;
    };
    talk();
    await run({ device, enforcer, talk });
  } finally {
    await Deno.remove(transcripts, { recursive: true });
  }
}

async function applied(enforcer: Enforcer, batch: Parameters<Enforcer["apply"]>[0]): Promise<void> {
  for (const result of await enforcer.apply(batch)) {
    if (!result.ok) assert.fail(result.message);
  }
}

async function holds(enforcer: Enforcer, tuples: readonly FiveTuple[]): Promise<void> {
  const listed = (await enforcer.list()).map((entry) => tupleKey(entry.tuple)).sort();
  assert.deepEqual(listed, tuples.map(tupleKey).sort());
}

for (const name of LOOKING) {
  Deno.test(`${name}: a small change among many does not list them all`, () =>
    filled(name, async ({ enforcer, talk }) => {
      await applied(enforcer, [open(at(40_000)), close(at(30_005)), open(at(40_001))]);
      const text = talk();
      assert.match(text, /\| include \S/);
      assert.ok(!text.includes("30017"), "an entry that was not touched is not listed");
      const left = MANY.filter((t) => t.destinationPort !== 30_005);
      await holds(enforcer, [...left, at(40_000), at(40_001)]);
    }));

  Deno.test(`${name}: opening what is open and closing what is gone is looked up, among many`, () =>
    filled(name, async ({ device, enforcer, talk }) => {
      const by = (port: number) =>
        device.acls.get(4, "DIAPER")?.entries.find((e) => e.destinationPorts?.first === port);
      device.acls.get(4, "DIAPER")?.removeNumber(by(30_010)?.seq ?? 0); // by hand
      await applied(enforcer, [open(at(30_010)), open(at(30_011)), close(at(50_000))]);
      assert.ok(!talk().includes("30017"), "an entry that was not touched is not listed");
      assert.ok(by(30_010) !== undefined, "what was removed by hand is there again");
      await holds(enforcer, MANY);
    }));

  Deno.test(`${name}: counts go on over looks`, () =>
    filled(name, async ({ device, enforcer }) => {
      const packet = (port: number) => ({
        proto: "tcp",
        source: ip("198.51.100.1"),
        sourcePort: 1234,
        destination: ip("192.0.2.1"),
        destinationPort: port,
      });
      device.packet("DIAPER", packet(30_001), 7);
      assert.equal((await enforcer.counters([at(30_001)]))[0]?.packets, 7);
      await applied(enforcer, [open(at(30_001)), open(at(40_000))]);
      device.packet("DIAPER", packet(30_001), 2);
      device.packet("DIAPER", packet(40_000), 3);
      const counters = await enforcer.counters([at(30_001), at(40_000), at(30_002)]);
      assert.deepEqual(counters.map((c) => c?.packets), [9, 3, 0]);
    }));
}

Deno.test("ios: a number that somebody took meanwhile is no failure, among many", () =>
  filled("ios", async ({ device, enforcer }) => {
    const acl = device.acls.get(4, "DIAPER");
    const last = acl?.entries.at(-1);
    assert.ok(acl !== undefined && last !== undefined);
    const taken = { ...last, destinationPorts: { first: 9, last: 9 } };
    assert.equal(acl.add(taken, last.seq + 1, 10, 2 ** 31), "added"); // by hand
    await applied(enforcer, [open(at(40_000))]);
    await holds(enforcer, [...MANY, at(40_000), at(9)]);
  }));

Deno.test("ios: the ACL's own entry is put back when somebody removed it, among many", () =>
  filled("ios", async ({ device, enforcer }) => {
    const acl = device.acls.get(4, "DIAPER");
    assert.equal(acl?.removeNumber(999), true);
    await applied(enforcer, [open(at(40_000))]);
    await applied(enforcer, [open(at(40_001))]);
    assert.equal(acl?.entries[0]?.action, "deny");
    await holds(enforcer, [...MANY, at(40_000), at(40_001)]);
  }));

Deno.test("ftos: a device without a filter is listed as a whole", () =>
  filled("ftos", async ({ enforcer, talk }) => {
    await applied(enforcer, [open(at(40_000))]);
    assert.match(talk(), /30017/);
    await holds(enforcer, [...MANY, at(40_000)]);
  }));
