import assert from "node:assert/strict";
import { type EnforcerChange, EnforcerError } from "../../drivers/enforcer.ts";
import { createIptables } from "../../drivers/iptables.ts";
import type { IptablesBackend } from "../../drivers/iptables_tools.ts";
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";
import type { Host } from "../lab/host.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { conformance } from "./conformance.ts";
import { RemoteEnforcer } from "./remote.ts";
import { close, open, tuple } from "./tuples.ts";

const SPEC = { outside: [], inside: [{ name: "box", addresses: ["192.0.2.10"] }] };

function suite(title: string, backend: IptablesBackend): void {
  conformance({
    title,
    ignore: !labPossible,
    can: { leases: false },
    make: async ({ capacity }) => {
      const lab = await Lab.create(SPEC);
      try {
        const options = { capacity, backend };
        return {
          enforcer: await RemoteEnforcer.startDriver(lab.host("box"), "iptables", options),
          [Symbol.asyncDispose]: () => lab.close(),
        };
      } catch (error) {
        await lab.close();
        throw error;
      }
    },
  });
}

suite("iptables over nf_tables (needs root)", "nft");
suite("iptables legacy (needs root)", "legacy");

function box(name: string, run: (host: Host, start: Start) => Promise<void>): void {
  for (const backend of ["nft", "legacy"] as const) {
    Deno.test({
      name: `iptables ${backend}: ${name} (needs root)`,
      ignore: !labPossible,
      fn: async () => {
        await using lab = await Lab.create(SPEC);
        const host = lab.host("box");
        await run(host, {
          tool: (program, ...args) => host.must(`${program}-${backend}`, args),
          save: () => host.must(`iptables-${backend}-save`, ["-c", "-t", "filter"]),
          driver: (options = {}) =>
            RemoteEnforcer.startDriver(host, "iptables", { backend, ...options }),
        });
      },
    });
  }
}

interface Start {
  tool(program: "iptables" | "ip6tables", ...args: string[]): Promise<string>;
  save(): Promise<string>;
  driver(options?: object): Promise<RemoteEnforcer>;
}

const PORTS = Array.from(
  { length: 40 },
  (_, i) => tuple("tcp", "198.51.100.1", 0, "192.0.2.10", 5000 + i),
);

async function applied(driver: RemoteEnforcer, batch: EnforcerChange[]): Promise<void> {
  assert.deepEqual(await driver.apply(batch), batch.map(() => ({ ok: true })));
}

async function ports(driver: RemoteEnforcer): Promise<number[]> {
  return (await driver.list()).map((entry) => entry.tuple.destinationPort).sort((a, b) => a - b);
}

box("rules that somebody took away do not fail a batch", async (_, { tool, driver: start }) => {
  const driver = await start();
  await driver.connect();
  await applied(driver, PORTS.map((t) => open(t)));
  const leaf = "DIAPER-T13";
  await tool("iptables", "-D", leaf, "3");
  await tool("iptables", "-D", leaf, "7");
  await applied(driver, PORTS.slice(0, 10).map(close));
  assert.deepEqual(await ports(driver), PORTS.slice(10).map((t) => t.destinationPort));
  await tool("iptables", "-F", leaf);
  const more = tuple("tcp", "198.51.100.1", 0, "192.0.2.10", 6000);
  await applied(driver, [...PORTS.slice(10, 20).map(close), open(more)]);
  assert.deepEqual(await ports(driver), [6000]);
});

box(
  "a large batch of which the tool has read the beginning fails and comes about",
  async (_, s) => {
    const driver = await s.driver();
    await driver.connect();
    // The last of the batch belong in a leaf that somebody takes away.
    const last = tuple("tcp", "198.51.100.1", 0, "192.0.2.10", 60_000);
    await applied(driver, [open(last)]);
    await s.tool("iptables", "-F", "DIAPER-TE");
    await s.tool("iptables", "-F", "DIAPER-TEA");
    await s.tool("iptables", "-X", "DIAPER-TEA");
    const many = Array.from(
      { length: 700 },
      (_, i) =>
        tuple("tcp", "198.51.100.1", 0, "192.0.2.10", i < 650 ? 5000 + i : 60_001 + i - 650),
    );
    await applied(driver, many.map((t) => open(t)));
    assert.deepEqual(await ports(driver), many.map((t) => t.destinationPort));
  },
);

box("what others have in the table stays as it is", async (_, { tool, save, driver: start }) => {
  await tool("iptables", "-N", "THEIRS");
  await tool(
    "iptables",
    "-A",
    "THEIRS",
    "-m",
    "comment",
    "--comment",
    'a "quoted" one',
    "-j",
    "DROP",
  );
  await tool("iptables", "-A", "INPUT", "-s", "203.0.113.1", "-j", "THEIRS");
  await tool("iptables", "-A", "OUTPUT", "-p", "udp", "--dport", "9", "-j", "ACCEPT");
  const rules = (text: string) => text.split("\n").filter((line) => !line.startsWith("#"));
  const before = rules(await save());
  const driver = await start({ openPorts: ["tcp/21"], allowPing: true });
  await driver.connect();
  assert.equal(await driver.isIntact(), true);
  await applied(driver, PORTS.map((t) => open(t)));
  const during = rules(await save());
  assert.deepEqual(before.filter((line) => !during.includes(line)), []);
  assert.ok(
    during.findIndex((l) => l.endsWith("-A INPUT -j DIAPER-INPUT")) <
      during.findIndex((l) => l.includes("-A INPUT -s 203.0.113.1")),
  );
  await driver.remove();
  assert.deepEqual(rules(await save()), before);
});

box(
  "a perimeter that somebody changed is seen and mended",
  async (_, { tool, save, driver: start }) => {
    const driver = await start();
    await driver.connect();
    await applied(driver, PORTS.map((t) => open(t)));
    const whole = await save();
    const damage: string[][] = [
      ["-F", "DIAPER-IN"],
      ["-D", "INPUT", "1"],
      ["-I", "INPUT", "1", "-j", "ACCEPT"],
      ["-A", "DIAPER-INPUT", "-j", "ACCEPT"],
      ["-F"],
    ];
    for (const args of damage) {
      await tool("iptables", ...args);
      assert.equal(await driver.isIntact(), false, args.join(" "));
      await driver.connect();
      assert.equal(await driver.isIntact(), true, args.join(" "));
    }
    assert.deepEqual(await ports(driver), []);
    await applied(driver, PORTS.map((t) => open(t)));
    const lines = (text: string) =>
      text.split("\n").filter((l) => l.includes("DIAPER")).map((l) => l.replace(/^\[.*?\] /, ""));
    assert.deepEqual(lines(await save()).sort(), lines(whole).sort());
  },
);

box("a hole that somebody made among the pinholes is closed, counters stay", async (host, s) => {
  const driver = await s.driver();
  await driver.connect();
  await applied(driver, PORTS.slice(0, 2).map((t) => open(t)));
  const [first] = PORTS as [FiveTuple];
  // Packets that look like the pinhole's: lo would be let in before, so they come from the host's address.
  await host.must("ip", ["address", "add", "198.51.100.1/32", "dev", "lo"]);
  await s.tool("iptables", "-D", "DIAPER-INPUT", "-i", "lo", "-j", "ACCEPT");
  for (let i = 0; i < 2; i++) {
    const knock = 'exec 3<>"/dev/tcp/192.0.2.10/5000"';
    await host.run("bash", [
      "-c",
      `ip route replace local 192.0.2.10 dev lo src 198.51.100.1; ${knock}`,
    ]);
  }
  const counted = (await driver.counters([first]))[0]?.packets ?? 0;
  await s.tool("iptables", "-A", "DIAPER-T13", "-j", "ACCEPT");
  await s.tool("iptables", "-I", "DIAPER-T", "-s", "203.0.113.9", "-j", "ACCEPT");
  await driver.connect();
  const saved = await s.save();
  assert.ok(!saved.includes("203.0.113.9") && !/DIAPER-T13 -j ACCEPT/.test(saved), saved);
  assert.deepEqual(await ports(driver), [5000, 5001]);
  assert.equal((await driver.counters([first]))[0]?.packets, counted);
  assert.ok(counted > 0, "no packet was counted at all");
});

Deno.test("iptables: options that cannot be a perimeter are errors that say why", () => {
  const wrong: [Parameters<typeof createIptables>[0], RegExp][] = [
    [{ prefix: "A B" }, /"A B"/],
    [{ prefix: "" }, /""/],
    [{ prefix: "-j" }, /"-j"/],
    [{ capacity: 0 }, /0 pinholes/],
    [{ hooks: [] }, /hook/],
    [{ hooks: ["forward"] }, /outside from inside/],
    [{ hooks: ["forward"], outside: ["eth0 -j ACCEPT"] }, /eth0/],
    [{ openPorts: [{ protocol: "tcp", port: 0 }] }, /tcp 0/],
  ];
  for (const [options, message] of wrong) {
    assert.throws(
      () => createIptables(options),
      (error: unknown) =>
        error instanceof EnforcerError && message.test(error.message) && error.next !== "",
      String(message),
    );
  }
});

Deno.test("iptables: a plan is what iptables-restore would be fed, without a connection", () => {
  const driver = createIptables({ backend: "nft" });
  const text = driver.plan([
    open(tuple("udp", "2001:db8::1", 7, "2001:db8::2", 53)),
    open(tuple("tcp", "198.51.100.1", 0, "2001:db8::2", 53)),
  ]);
  assert.equal(
    text,
    `# ip6tables-nft-restore --noflush
*filter
-N DIAPER-U
-A DIAPER -p udp -j DIAPER-U
-N DIAPER-U0
-A DIAPER-U -p udp -m udp --dport 0:4095 -j DIAPER-U0
-N DIAPER-U00
-A DIAPER-U0 -p udp -m udp --dport 0:255 -j DIAPER-U00
-A DIAPER-U00 -s 2001:db8::1/128 -d 2001:db8::2/128 -p udp -m udp --sport 7 --dport 53 -m comment --comment "diaper:ph-1" -j ACCEPT
COMMIT
# refused: tcp 198.51.100.1 > [2001:db8::2]:53 mixes IPv4 and IPv6
`,
  );
});
