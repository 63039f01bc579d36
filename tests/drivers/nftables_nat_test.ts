/** Pinholes for inside hosts that the outside knows by another address. */
import assert from "node:assert/strict";
import { createNftables } from "../../drivers/nftables.ts";
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";
import { labPossible } from "../lab/lab.ts";
import { type Scene, scene, SOON } from "./peers.ts";
import { RemoteEnforcer } from "./remote.ts";
import { close, open, tuple } from "./tuples.ts";

const OUTSIDE = "203.0.113.1";
const INSIDE = "192.0.2.10";
const OPTIONS = {
  hooks: ["forward" as const],
  outside: ["alice", "mallory"],
  nat: { [INSIDE]: OUTSIDE, "192.0.2.11": OUTSIDE },
};

/** A perimeter that translates; from outside the inside addresses cannot be reached. */
async function translated(): Promise<Scene> {
  const s = await scene(OPTIONS, "perimeter");
  await s.lab.perimeter.must("nft", [
    "add table ip site; " +
    "add chain ip site raw { type filter hook prerouting priority raw; }; " +
    `add rule ip site raw iifname { "alice", "mallory" } ip daddr ${INSIDE} drop`,
  ]);
  await s.lab.perimeter.must("ip", ["address", "add", `${OUTSIDE}/32`, "dev", "lo"]);
  return s;
}

function hole(s: Scene, port: number, protocol: "tcp" | "udp" = "tcp", sourcePort = 0): FiveTuple {
  return tuple(protocol, s.alice.host.address(4), sourcePort, INSIDE, port);
}

async function mapped(s: Scene): Promise<string[]> {
  const text = await s.lab.perimeter.must("nft", ["list", "table", "inet", "diaper"]);
  const element = /((?:tcp|udp)(?: \. [^\s,]+)+)(?: timeout \S+)?(?: expires \S+)? : ([\d.]+)/g;
  return [...text.matchAll(element)].map((m) => `${m[1]} : ${m[2]}`);
}

Deno.test({
  name:
    "nftables nat: the pinhole's host reaches the inside host by the outside address, while it " +
    "is open (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using s = await translated();
    const { alice, mallory, server, driver } = s;
    await server.listen("listener", 5000);
    assert.notEqual(typeof await alice.connect("early", OUTSIDE, 5000, SOON), "number");
    const pinhole = hole(s, 5000);
    assert.deepEqual(await driver.apply([open(pinhole)]), [{ ok: true }]);
    assert.deepEqual(await mapped(s), [
      `tcp . ${alice.host.address(4)} . ${OUTSIDE} . 5000 : ${INSIDE}`,
    ]);
    const accepting = server.accept("listener", "one");
    const port = await alice.connect("one", OUTSIDE, 5000);
    assert.equal(await accepting, port);
    await alice.send("one", "question");
    assert.equal(await server.receive("one"), "question");
    await server.send("one", "answer");
    assert.equal(await alice.receive("one"), "answer");
    assert.notEqual(typeof await mallory.connect("no", OUTSIDE, 5000, SOON), "number");
    assert.notEqual(typeof await alice.connect("other", OUTSIDE, 5001, SOON), "number");
    const [entry] = await driver.list();
    assert.ok((entry?.packets ?? 0) >= 3, "counted with the inside address");
    assert.deepEqual(entry?.tuple.destination.text, INSIDE);

    // What is open is renewed; both of the two are there, and go together.
    assert.deepEqual(await driver.apply([open(pinhole)]), [{ ok: true }]);
    assert.equal((await mapped(s)).length, 1);
    assert.deepEqual(await driver.apply([close(pinhole)]), [{ ok: true }]);
    assert.deepEqual(await mapped(s), []);
    assert.deepEqual(await driver.list(), []);
    assert.notEqual(typeof await alice.connect("late", OUTSIDE, 5000, SOON), "number");
    await driver.endConnections([pinhole]);
    await alice.send("one", "after the end");
    assert.equal(await server.receive("one", SOON), "nothing");
    assert.deepEqual(await driver.apply([close(pinhole)]), [{ ok: true }], "closing again");
  },
});

Deno.test({
  name: "nftables nat: UDP, source ports, and two inside hosts behind one address (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using s = await translated();
    const { alice, server, driver } = s;
    const from = alice.host.address(4);
    await server.bind("service", 5000);
    await alice.bind("right", 40000);
    const [plain, exact] = [hole(s, 5001, "udp"), hole(s, 5000, "udp", 40000)];
    assert.deepEqual(await driver.apply([open(plain), open(exact)]), [{ ok: true }, { ok: true }]);
    await alice.sendTo("right", "hello", OUTSIDE, 5000);
    assert.equal(await server.receiveFrom("service"), "hello");
    await server.sendTo("service", "answer", from, 40000);
    assert.equal(await alice.receiveFrom("right"), "answer");
    // The same port of the outside address cannot lead one host to two others.
    const rival = tuple("udp", from, 0, "192.0.2.11", 5001);
    const elsewhere = tuple("udp", from, 0, "192.0.2.11", 5002);
    const [refused, other] = await driver.apply([open(rival), open(elsewhere)]);
    assert.deepEqual(other, { ok: true });
    assert.ok(refused?.ok === false && refused.reason === "refused");
    assert.match(refused.message, /another inside host already/);
    assert.equal((await driver.list()).length, 3, "the refused one has no half left");
    assert.deepEqual(
      (await mapped(s)).sort(),
      [
        `udp . ${from} . 40000 . ${OUTSIDE} . 5000 : ${INSIDE}`,
        `udp . ${from} . ${OUTSIDE} . 5001 : ${INSIDE}`,
        `udp . ${from} . ${OUTSIDE} . 5002 : 192.0.2.11`,
      ].sort(),
    );
    await driver.apply([close(plain)]);
    assert.deepEqual(await driver.apply([open(rival)]), [{ ok: true }]);
  },
});

Deno.test({
  name:
    "nftables nat: entries outlive the driver, follow its configuration, and work without what " +
    "new kernels have (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using s = await translated();
    const pinhole = hole(s, 5000);
    await s.driver.apply([open(pinhole, 600)]);
    await s.driver.close();
    const start = (options: object, features?: object) =>
      RemoteEnforcer.start(s.lab.perimeter, options as never, features as never);
    const moved = await start({ ...OPTIONS, nat: { [INSIDE]: "203.0.113.2" } });
    await moved.connect();
    assert.deepEqual((await moved.list()).map((e) => e.tuple.destinationPort), [5000]);
    const from = s.alice.host.address(4);
    assert.deepEqual(await mapped(s), [`tcp . ${from} . 203.0.113.2 . 5000 : ${INSIDE}`]);
    assert.equal(await moved.isIntact(), true);
    await s.lab.perimeter.must("nft", ["flush", "chain", "inet", "diaper", "nat"]);
    assert.equal(await moved.isIntact(), false);
    await moved.connect();
    assert.equal(await moved.isIntact(), true);
    await moved.close();

    const old = await start(OPTIONS, { renews: false, destroys: false });
    await old.connect();
    assert.deepEqual(await mapped(s), [`tcp . ${from} . ${OUTSIDE} . 5000 : ${INSIDE}`]);
    const batch = [open(pinhole), open(hole(s, 5001)), close(pinhole), close(hole(s, 7))];
    assert.deepEqual(await old.apply(batch), batch.map(() => ({ ok: true })));
    assert.deepEqual(await mapped(s), [`tcp . ${from} . ${OUTSIDE} . 5001 : ${INSIDE}`]);
    assert.deepEqual((await old.list()).map((e) => e.tuple.destinationPort), [5001]);
    await old.close();

    const without = await start({ hooks: ["forward"], outside: ["alice", "mallory"] });
    await without.connect();
    assert.equal((await without.list()).length, 1);
    assert.deepEqual(await mapped(s), []);
  },
});

Deno.test("nftables nat: options that cannot be are refused, plans show both elements", () => {
  const make = (nat: Record<string, string>, hooks: ("input" | "forward")[] = ["forward"]) =>
    createNftables({ hooks, ...(hooks.includes("forward") ? { outside: ["eth0"] } : {}), nat });
  assert.throws(() => make({ [INSIDE]: OUTSIDE }, ["input"]), /Only what is forwarded/);
  for (const wrong of ["2001:db8::1", "224.0.0.1", "0.0.0.0", "host", ""]) {
    assert.throws(() => make({ [INSIDE]: wrong }), /Cannot translate/);
    assert.throws(() => make({ [wrong]: OUTSIDE }), /Cannot translate/);
  }
  const driver = make({ [INSIDE]: OUTSIDE });
  assert.equal(driver.capabilities.nat, true);
  const pinhole = tuple("tcp", "198.51.100.10", 0, INSIDE, 5000);
  assert.equal(
    driver.plan([{ action: "open", tuple: pinhole, id: 1, lease: 60 }]),
    `add element inet diaper ph4 { tcp . 198.51.100.10 . ${INSIDE} . 5000 timeout 60000ms }\n` +
      `add element inet diaper nat4 { tcp . 198.51.100.10 . ${OUTSIDE} . 5000 timeout 60000ms : ${INSIDE} }\n`,
  );
});
