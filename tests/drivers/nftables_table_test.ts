import assert from "node:assert/strict";
import { kernelAtLeast } from "../../lib/sys/kernel.ts";
import { labPossible } from "../lab/lab.ts";
import { RemoteEnforcer } from "./remote.ts";
import { scene, SOON } from "./peers.ts";
import { close, open, tuple } from "./tuples.ts";

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `nftables: ${name} (needs root)`, ignore: !labPossible, fn });
}

const PORTS = [{ protocol: "tcp", port: 21 }] as const;

test("a restart keeps pinholes, their counters and living connections", async () => {
  await using s = await scene({ openPorts: PORTS });
  const { alice, server, driver } = s;
  await server.listen("listener", 5000);
  const hole = tuple("tcp", alice.host.address(4), 0, server.host.address(4), 5000);
  await driver.apply([open(hole, 600)]);
  const accepting = server.accept("listener", "one");
  await alice.connect("one", server.host.address(4), 5000);
  await accepting;
  const [before] = await driver.list();
  await driver.program.stop();
  await alice.send("one", "while nobody is in charge");
  assert.equal(await server.receive("one"), "while nobody is in charge");
  // The same, other control ports, and another capacity: the table must be built anew for that.
  for (const options of [{}, { openPorts: [] }, { capacity: 77 }]) {
    const next = await RemoteEnforcer.start(server.host, { openPorts: PORTS, ...options });
    await next.connect();
    assert.equal(await next.isIntact(), true);
    const [entry, ...others] = await next.list();
    assert.deepEqual(others, []);
    assert.deepEqual(entry?.tuple, hole);
    assert.ok(entry.expires !== undefined && entry.expires <= 600 && entry.expires > 500);
    assert.ok(
      options.capacity !== undefined || entry.packets >= (before?.packets ?? 0),
      "counters went down",
    );
    await alice.send("one", "and now");
    assert.equal(await server.receive("one"), "and now");
    const control = await alice.connect("control", server.host.address(4), 21, SOON);
    assert.equal(control, options.openPorts === undefined ? "refused" : "unanswered");
    await next.program.stop();
  }
});

test("nothing gets in while the perimeter is made again and again", async () => {
  await using s = await scene({});
  const { alice, server, driver } = s;
  await alice.bind("sprayer", 40000);
  await server.bind("target", 5000);
  const target = server.host.address(4);
  const others = await Promise.all(
    [1000, 2000].map((capacity) => RemoteEnforcer.start(server.host, { capacity })),
  );
  let done = false;
  let sent = 0;
  const spray = async () => {
    for (; !done; sent += 500) await alice.sendTo("sprayer", "in?", target, 5000, 500);
  };
  const rebuild = async () => {
    for (let i = 0; i < 15; i++) {
      for (const other of [...others, driver, driver]) await other.connect();
    }
    done = true;
  };
  await Promise.all([spray(), rebuild()]);
  assert.ok(sent >= 1000, `only ${sent} datagrams were sent meanwhile`);
  assert.equal(await server.receiveFrom("target", SOON), "nothing");
  await driver.apply([open(tuple("udp", alice.host.address(4), 0, target, 5000))]);
  await alice.sendTo("sprayer", "now", target, 5000);
  assert.equal(await server.receiveFrom("target"), "now");
});

/** What somebody else may have done to our table, as nft commands. */
const HOSTILE: Record<string, string> = {
  "a base chain that accepts": `add chain inet diaper evil { type filter hook input priority -10; }
    add rule inet diaper evil accept`,
  "rules before ours": "insert rule inet diaper input tcp dport 5000 accept",
  "rules in what is jumped to": "insert rule inet diaper pinholes tcp dport 5000 accept",
  "a chain that ours jumps to": `add chain inet diaper more
    add rule inet diaper more tcp dport 5000 accept
    insert rule inet diaper input jump more`,
  "the policy accept": `flush chain inet diaper input
    add chain inet diaper input { policy accept; }`,
  "a sleeping table": "add table inet diaper { flags dormant; }",
  "no rules": "flush chain inet diaper input",
  "a map of verdicts":
    `add map inet diaper m { type inet_service : verdict; elements = { 5000 : accept }; }
    insert rule inet diaper input tcp dport vmap @m`,
  "more control ports": "add element inet diaper ctl_tcp { 5000, 5001 }",
  "fewer control ports": "flush set inet diaper ctl_tcp",
  "a set that is not ours": "add set inet diaper other { type ipv4_addr; }",
  "a counter that is not ours": "add counter inet diaper other",
  "no table": "delete table inet diaper",
  "an empty table": "delete table inet diaper; add table inet diaper",
  "pinhole sets of another kind": `delete table inet diaper
    add table inet diaper
    add set inet diaper ph4 { type ipv4_addr . inet_service; size 9; flags interval; }
    add set inet diaper ctl_tcp { type ipv4_addr; }
    add element inet diaper ph4 { 192.0.2.0/24 . 1-65535 }
    add chain inet diaper pinholes { type filter hook input priority 0; }
    add chain inet diaper input`,
};

test("whatever somebody made of our table, connecting makes it right", async () => {
  await using s = await scene({ openPorts: PORTS });
  const { alice, server, driver } = s;
  await server.listen("listener", 5000);
  const address = server.host.address(4);
  const listing = async () =>
    (await server.host.must("nft", ["-s", "list", "ruleset"])).replace(
      /elements = \{ tcp[^}]*\}/,
      "",
    );
  const fresh = await listing();
  assert.ok(fresh.includes("policy drop"));
  for (const [name, commands] of Object.entries(HOSTILE)) {
    await server.host.must("nft", ["-f", "-"], { input: `${commands}\n` });
    assert.equal(await driver.isIntact(), false, `not seen: ${name}`);
    await driver.connect();
    assert.equal(await driver.isIntact(), true, name);
    assert.equal(await listing(), fresh, name);
  }
  assert.equal(await alice.connect("in", address, 5000, SOON), "unanswered");
  // Names that would be other commands in nft's language can only be made over netlink; what is not
  // ours is never named in a command, the whole table is replaced.
  const foreign =
    "add table inet diaper2; add chain inet diaper2 c { type filter hook input priority 5; }";
  await server.host.must("nft", [foreign]);
  await driver.connect();
  assert.ok((await server.host.must("nft", ["list", "tables"])).includes("diaper2"));
  await driver.remove();
  assert.equal((await server.host.must("nft", ["list", "tables"])).trim(), "table inet diaper2");
});

test("how many entries there are is told without a listing, whoever made them", async () => {
  await using s = await scene({});
  const { server, driver } = s;
  const destination = server.host.address(4);
  const holes = [5000, 5001].map((port) => tuple("tcp", "198.51.100.10", 0, destination, port));
  const sources = [tuple("udp", "198.51.100.10", 53, destination, 5000)];
  const six = [tuple("udp", "2001:db8::5", 0, "2001:db8::1", 5000)];
  await driver.apply([...holes, ...sources, ...six].map((t) => open(t, 60)));
  const held = await driver.countHeld();
  if (held === undefined) {
    assert.ok(!kernelAtLeast(6, 16), "Linux 6.16 counts a set's elements");
    return;
  }
  assert.equal(held, 4);
  await driver.apply(holes.map((t) => open(t, 60))); // renewed, not added
  assert.equal(await driver.countHeld(), 4);
  const foreign = `add element inet diaper ph4 { tcp . 203.0.113.9 . ${destination} . 4444 }`;
  await server.host.must("nft", [foreign]);
  assert.equal(await driver.countHeld(), 5);
  await driver.apply(holes.map((t) => close(t)));
  assert.equal(await driver.countHeld(), 3);
});

test("changes to a table that is gone are refused, and seen", async () => {
  await using s = await scene({});
  const { server, driver } = s;
  const hole = tuple("tcp", "198.51.100.10", 0, server.host.address(4), 5000);
  assert.equal(await driver.isIntact(), true);
  await server.host.must("nft", ["delete", "table", "inet", "diaper"]);
  assert.equal(await driver.isIntact(), false);
  const [result] = await driver.apply([open(hole)]);
  assert.ok(result !== undefined && !result.ok && result.reason === "refused");
  assert.match(result.message, /gone/);
  await driver.connect();
  assert.deepEqual(await driver.apply([open(hole)]), [{ ok: true }]);
});
