/**
 * What a perimeter of a Linux host must do with real traffic, whatever driver makes it.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { EnforcerChange } from "../../drivers/enforcer.ts";
import type { NftablesOptions } from "../../drivers/nftables.ts";
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";
import { labPossible } from "../lab/lab.ts";
import { type Peer, type Scene, scene as makeScene, SOON } from "./peers.ts";
import { close, open, tuple } from "./tuples.ts";

/** The pinhole for a host's TCP connections to a port of the server. */
function pinhole(from: Peer, to: Peer, port: number, family: 4 | 6 = 4): FiveTuple {
  return tuple("tcp", from.host.address(family), 0, to.host.address(family), port);
}

async function apply({ driver }: Scene, ...batch: EnforcerChange[]): Promise<void> {
  for (const result of await driver.apply(batch)) assert.deepEqual(result, { ok: true });
}

/** Connects through a pinhole that is open; both ends are called `name`. */
async function connected(s: Scene, from: Peer, name: string, family: 4 | 6 = 4): Promise<void> {
  const accepting = s.server.accept("listener", name);
  const port = await from.connect(name, s.server.host.address(family), 5000);
  assert.equal(await accepting, port);
}

/** Which driver, and which of the tests. */
export interface TrafficOptions {
  readonly title: string;
  readonly driver: string;
  /** Options of the driver besides those of the tests. */
  readonly options?: object;
  /** Only tests whose name has one of these in it; all without it. */
  readonly only?: readonly string[];
}

/** Registers the tests for one driver. */
export function traffic({ title, driver: name, options: base = {}, only }: TrafficOptions): void {
  const test = (what: string, fn: () => Promise<void>) => {
    if (only !== undefined && !only.some((part) => what.includes(part))) return;
    Deno.test({ name: `${title}: ${what} (needs root)`, ignore: !labPossible, fn });
  };
  const scene = (options: NftablesOptions, where: "server" | "perimeter" = "server") =>
    makeScene({ ...base, ...options }, where, name);

  for (const family of [4, 6] as const) {
    test(`a TCP pinhole lets in one host, and every packet counts, IPv${family}`, async () => {
      await using s = await scene({});
      const { alice, mallory, server, driver } = s;
      const address = server.host.address(family);
      await server.listen("listener", 5000);
      assert.equal(await alice.connect("early", address, 5000, SOON), "unanswered");
      const hole = pinhole(alice, server, 5000, family);
      await apply(s, open(hole));
      await connected(s, alice, "one", family);
      assert.equal(await mallory.connect("stranger", address, 5000, SOON), "unanswered");
      assert.equal(await alice.connect("other port", address, 5001, SOON), "unanswered");
      const packets = async () => (await driver.counters([hole]))[0]?.packets ?? 0;
      let before = await packets();
      assert.ok(before >= 2, `SYN and ACK: ${before}`);
      for (let i = 0; i < 5; i++) {
        await alice.send("one", `message ${i}`);
        assert.equal(await server.receive("one"), `message ${i}`);
        const now = await packets();
        assert.ok(now > before, `${before} packets before, ${now} after a message`);
        before = now;
      }
      await server.send("one", "answer");
      assert.equal(await alice.receive("one"), "answer");
      const [entry] = await driver.list();
      assert.ok(entry !== undefined && entry.bytes > entry.packets * 40);
    });
  }

  test("a UDP pinhole with a source port lets in that port alone, both ways", async () => {
    await using s = await scene({});
    const { alice, server } = s;
    for (const [family, any] of [[4, "0.0.0.0"], [6, "::"]] as const) {
      const [from, to] = [alice.host.address(family), server.host.address(family)];
      const port = 5000 + family;
      await server.bind("service", port, any);
      await alice.bind("right", 40000 + family, any);
      await alice.bind("wrong", 50000 + family, any);
      await alice.sendTo("right", "too early", to, port);
      assert.equal(await server.receiveFrom("service", SOON), "nothing");
      const hole = tuple("udp", from, 40000 + family, to, port);
      await apply(s, open(hole));
      await alice.sendTo("wrong", "from the wrong port", to, port);
      await alice.sendTo("right", "hello", to, port);
      assert.equal(await server.receiveFrom("service"), "hello");
      await server.sendTo("service", "answer", from, 40000 + family);
      assert.equal(await alice.receiveFrom("right"), "answer");
      await apply(s, close(hole));
      await alice.sendTo("right", "too late", to, port);
      assert.equal(await server.receiveFrom("service", SOON), "nothing");
      for (const name of ["right", "wrong"]) await alice.close(name);
      await server.close("service");
    }
  });

  test("what the inside begins is answered; pings from outside only when allowed", async () => {
    await using s = await scene({});
    const { alice, server } = s;
    await alice.listen("listener", 5000);
    for (const family of [4, 6] as const) {
      const [outside, inside] = [alice.host.address(family), server.host.address(family)];
      const accepting = alice.accept("listener", "taken");
      assert.equal(typeof await server.connect("out", outside, 5000), "number");
      await accepting;
      await alice.send("taken", "welcome");
      assert.equal(await server.receive("out"), "welcome");
      // An ICMP error that belongs to what the inside began.
      assert.equal(await server.connect("closed", outside, 5999), "refused");
      assert.equal(await server.ping(outside), true);
      assert.equal(await alice.ping(inside, SOON), false);
      await server.close("out");
      await alice.close("taken");
    }
  });

  test("pings are answered, and control ports open to all, when configured", async () => {
    await using s = await scene({
      allowPing: true,
      openPorts: [{ protocol: "tcp", port: 21 }, { protocol: "udp", port: 53 }],
    });
    const { alice, mallory, server } = s;
    await server.listen("control", 21);
    await server.bind("names", 53);
    for (const family of [4, 6] as const) {
      const address = server.host.address(family);
      assert.equal(await alice.ping(address), true);
      for (const peer of [alice, mallory]) {
        const accepting = server.accept("control", "session");
        assert.equal(typeof await peer.connect(`in ${family}`, address, 21), "number");
        await accepting;
      }
      assert.equal(await alice.connect("udp's", address, 53, SOON), "unanswered");
    }
    await mallory.bind("client", 40000);
    await mallory.sendTo("client", "question", server.host.address(4), 53);
    assert.equal(await server.receiveFrom("names"), "question");
  });

  test("taking a control port away ends its connections", async () => {
    await using s = await scene({ openPorts: [{ protocol: "tcp", port: 5000 }] });
    const { alice, server, driver } = s;
    await server.listen("listener", 5000);
    await connected(s, alice, "one");
    await driver.setOpenPorts([{ protocol: "tcp", port: 22 }]);
    await alice.send("one", "still there?");
    assert.equal(await alice.receive("one"), "ConnectionReset");
    assert.equal(await server.receive("one", SOON), "nothing");
    assert.equal(await alice.connect("two", server.host.address(4), 5000, SOON), "unanswered");
    assert.equal(await alice.connect("three", server.host.address(4), 22), "refused");
    await driver.setOpenPorts([{ protocol: "tcp", port: 5000 }]);
    await connected(s, alice, "four");
  });

  test("closing a pinhole stops a living connection at its next packet", async () => {
    await using s = await scene({});
    const { alice, server, driver } = s;
    await server.listen("listener", 5000);
    const hole = pinhole(alice, server, 5000);
    await apply(s, open(hole));
    await connected(s, alice, "one");
    await apply(s, close(hole));
    await alice.send("one", "contraband");
    assert.equal(await alice.receive("one"), "ConnectionReset");
    assert.equal(await server.receive("one", SOON), "nothing");
    // The other end is gone by now: it answers with a reset, which is let in.
    await server.send("one", "hello?");
    assert.equal(await server.receive("one"), "ConnectionReset");
    assert.ok((await driver.readStatistics()).dropped.packets > 0);
  });

  for (const family of [4, 6] as const) {
    test(`ending connections resets both ends and nothing else, IPv${family}`, async () => {
      await using s = await scene({});
      const { alice, mallory, server, driver } = s;
      // Over IPv4 too the server's socket is an IPv6 one with mapped addresses.
      await server.listen("listener", 5000);
      const [hole, other] = [
        pinhole(alice, server, 5000, family),
        pinhole(mallory, server, 5000, family),
      ];
      await apply(s, open(hole), open(other));
      await connected(s, alice, "one", family);
      await connected(s, mallory, "two", family);
      await apply(s, close(hole));
      await driver.endConnections([hole]);
      assert.equal(await server.receive("one"), "ConnectionAborted");
      assert.equal(await alice.receive("one"), "ConnectionReset");
      const listing = ["-L", "-f", family === 4 ? "ipv4" : "ipv6", "-p", "tcp", "--dport", "5000"];
      const flows = await server.host.must("conntrack", listing);
      assert.ok(!flows.includes(alice.host.address(family)), flows);
      assert.ok(flows.includes(mallory.host.address(family)), flows);
      await mallory.send("two", "still here");
      assert.equal(await server.receive("two"), "still here");
    });
  }

  test("ending many connections at once ends each", async () => {
    await using s = await scene({});
    const { alice, server, driver } = s;
    await server.listen("listener", 5000);
    const hole = pinhole(alice, server, 5000);
    await apply(s, open(hole));
    for (let i = 0; i < 5; i++) await connected(s, alice, `c${i}`);
    await apply(s, close(hole));
    const others = Array.from({ length: 40 }, (_, i) => pinhole(alice, server, 6000 + i));
    await driver.endConnections([...others, hole]);
    for (let i = 0; i < 5; i++) assert.equal(await alice.receive(`c${i}`), "ConnectionReset");
    const listing = ["-L", "-p", "tcp", "--dport", "5000"];
    assert.equal(await server.host.must("conntrack", listing), "");
  });

  test("a connection whose socket is gone before the pinhole ends politely", async () => {
    await using s = await scene({});
    const { alice, server } = s;
    await server.listen("listener", 5000);
    const hole = pinhole(alice, server, 5000);
    await apply(s, open(hole));
    await connected(s, alice, "one");
    await server.close("one");
    assert.equal(await alice.receive("one"), "");
    await apply(s, close(hole));
    await alice.close("one");
    // Her last FIN must be acknowledged, or her socket would stay for minutes in LAST_ACK.
    const deadline = performance.now() + 5_000;
    while ((await alice.host.sockets("tcp")).some((socket) => socket.remotePort === 5000)) {
      assert.ok(performance.now() < deadline, "the FIN was not answered");
    }
  });

  test("pinholes end in the kernel when nobody renews them, and the perimeter stays", async () => {
    await using s = await scene({});
    const { alice, server, driver } = s;
    const address = server.host.address(4);
    // Nobody listens: "refused" shows that the packets get in.
    await apply(s, open(pinhole(alice, server, 5000), 2));
    await driver.program.stop();
    assert.equal(await alice.connect("in time", address, 5000), "refused");
    const deadline = performance.now() + 15_000;
    while (await alice.connect("again", address, 5000, SOON) === "refused") {
      assert.ok(performance.now() < deadline, "the pinhole is still open");
    }
    assert.equal(await alice.connect("later", address, 5000, SOON), "unanswered");
  });

  test("a router guards those behind it and ends their connections", async () => {
    await using s = await scene({
      hooks: ["forward"],
      outside: ["alice", "mallory"],
      openPorts: [{ protocol: "tcp", port: 21 }],
    }, "perimeter");
    const { alice, mallory, server, driver } = s;
    await server.listen("listener", 5000);
    await server.listen("control", 21);
    await alice.listen("listener", 5000);
    for (const family of [4, 6] as const) {
      const address = server.host.address(family);
      assert.equal(await alice.connect("early", address, 5000, SOON), "unanswered");
      assert.equal(typeof await mallory.connect("control", address, 21), "number");
      assert.equal(typeof await server.connect("out", alice.host.address(family), 5000), "number");
      // Between outside hosts it is no way through either.
      assert.equal(
        await mallory.connect("through", alice.host.address(family), 5000, SOON),
        "unanswered",
      );
      const hole = pinhole(alice, server, 5000, family);
      await apply(s, open(hole));
      await connected(s, alice, "one", family);
      assert.equal(await mallory.connect("stranger", address, 5000, SOON), "unanswered");
      await apply(s, close(hole));
      await driver.endConnections([hole]);
      await alice.send("one", "contraband");
      assert.equal(await server.receive("one", SOON), "nothing");
      // The flow is forgotten; the inside must not revive it as one of its own.
      await server.send("one", "come back");
      assert.equal(await server.receive("one"), "ConnectionReset");
      assert.equal(await alice.receive("one", SOON), "nothing");
      for (const name of ["control", "one"]) await mallory.close(name);
      for (const name of ["out", "one"]) await server.close(name);
      await alice.close("one");
    }
  });
}
