import assert from "node:assert/strict";
import { EnforcerError } from "../../drivers/enforcer.ts";
import { createIpset } from "../../drivers/ipset.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { conformance } from "./conformance.ts";
import { RemoteEnforcer } from "./remote.ts";
import { close, open, tuple } from "./tuples.ts";

const SPEC = { outside: [], inside: [{ name: "box", addresses: ["192.0.2.10"] }] };

conformance({
  title: "ipset (needs root)",
  ignore: !labPossible,
  can: { sourcePorts: false },
  make: async ({ capacity }) => {
    const lab = await Lab.create(SPEC);
    try {
      return {
        enforcer: await RemoteEnforcer.startDriver(lab.host("box"), "ipset", { capacity }),
        [Symbol.asyncDispose]: () => lab.close(),
      };
    } catch (error) {
      await lab.close();
      throw error;
    }
  },
});

const PORTS = Array.from(
  { length: 12 },
  (_, i) => tuple("tcp", "198.51.100.1", 0, "192.0.2.10", 5000 + i),
);

function box(name: string, run: (lab: Lab) => Promise<void>): void {
  Deno.test({
    name: `ipset: ${name} (needs root)`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await Lab.create(SPEC);
      await run(lab);
    },
  });
}

box("a renewal keeps the counters, another size keeps everything", async (lab) => {
  const host = lab.host("box");
  const driver = await RemoteEnforcer.startDriver(host, "ipset", { capacity: 10 });
  await driver.connect();
  const [first, second] = PORTS as [typeof PORTS[0], typeof PORTS[0]];
  await driver.apply([open(first, 100), open(second)]);
  const element = "198.51.100.1,tcp:5000,192.0.2.10";
  const preset = ["-exist", "add", "diaper-ph4", element, "timeout", "90", "packets", "7", "bytes"];
  await host.must("ipset", [...preset, "99"]);
  await driver.apply([open(first, 500)]);
  assert.deepEqual(await driver.counters([first]), [{ packets: 7, bytes: 99 }]);
  await driver.program.stop();
  const next = await RemoteEnforcer.startDriver(host, "ipset", { capacity: 5 });
  await next.connect();
  assert.deepEqual(await next.counters([first, second]), [
    { packets: 7, bytes: 99 },
    { packets: 0, bytes: 0 },
  ]);
  const [renewed] = await next.list();
  assert.ok(renewed?.expires === undefined || renewed.expires > 400);
  const results = await next.apply(PORTS.map((t) => open(t)));
  assert.equal(results.filter((result) => result.ok).length, 5);
  assert.equal((await next.list()).length, 5);
});

box("in a full set there is no process for each pinhole without room", async (lab) => {
  const host = lab.host("box");
  const driver = await RemoteEnforcer.startDriver(host, "ipset", { capacity: 3 });
  await driver.connect();
  const six = tuple("tcp", "2001:db8::1", 0, "2001:db8::2", 5000);
  const [a, b, c, d, e, f] = PORTS as [
    typeof six,
    typeof six,
    typeof six,
    typeof six,
    typeof six,
    typeof six,
  ];
  const batch = [
    open(a),
    open(b),
    open(c),
    open(d),
    open(e),
    open(a, 9),
    open(six),
    close(b),
    open(f),
    open(d),
  ];
  const results = await driver.apply(batch);
  assert.deepEqual(
    results.map((result) => result.ok || result.reason),
    [true, true, true, "full", "full", true, true, true, true, "full"],
  );
});

box("a set of another kind is not touched, and the error says so", async (lab) => {
  const host = lab.host("box");
  await host.must("ipset", ["create", "diaper-ph4", "hash:ip"]);
  const driver = await RemoteEnforcer.startDriver(host, "ipset");
  await assert.rejects(driver.connect(), /diaper-ph4 already, of another kind/);
  assert.match(await host.must("ipset", ["list", "-t", "diaper-ph4"]), /Type: hash:ip\n/);
});

box("the perimeter is mended and removed wholly, with both back ends", async (lab) => {
  const host = lab.host("box");
  for (const backend of ["nft", "legacy"]) {
    const driver = await RemoteEnforcer.startDriver(host, "ipset", { backend });
    await driver.connect();
    assert.equal(await driver.isIntact(), true);
    await host.must(`iptables-${backend}`, ["-F", "DIAPER-IN"]);
    assert.equal(await driver.isIntact(), false);
    await driver.connect();
    assert.equal(await driver.isIntact(), true);
    await driver.remove();
    assert.equal(await host.must("ipset", ["list", "-n"]), "");
    const saved = await host.must(`iptables-${backend}-save`, ["-t", "filter"]);
    assert.ok(!saved.includes("DIAPER"), saved);
    await driver.program.stop();
  }
});

Deno.test("ipset: options that cannot be a perimeter are errors that say why", () => {
  for (
    const [options, message] of [
      [{ set: "a b" }, /"a b"/],
      [{ set: "" }, /""/],
      [{ capacity: -1 }, /-1 pinholes/],
    ] as const
  ) {
    assert.throws(
      () => createIpset(options),
      (error: unknown) => error instanceof EnforcerError && message.test(error.message),
    );
  }
});

Deno.test("ipset: a plan is what ipset would be fed", () => {
  const [first, second] = PORTS as [typeof PORTS[0], typeof PORTS[0]];
  const ported = tuple("tcp", "198.51.100.1", 7, "192.0.2.10", 5000);
  assert.equal(
    createIpset().plan([open(first, 59.5), close(second), open(ported)]),
    `# ipset -exist restore
add diaper-ph4 198.51.100.1,tcp:5000,192.0.2.10 timeout 60 comment "diaper:ph-1"
del diaper-ph4 198.51.100.1,tcp:5001,192.0.2.10
# refused: tcp 198.51.100.1:7 > 192.0.2.10:5000 has a source port, for which a set of ipset has no place
`,
  );
});
