import assert from "node:assert/strict";
import { TCP } from "../../lib/net/packet.ts";
import { CodeRed } from "../../niapp/codered/scanner.ts";
import type { Verdict } from "../../niapp/sdk/mod.ts";
import { FakeNi } from "./fake_ni.ts";
import { dnsAnswer, frame, type FrameSpec } from "./frames.ts";

const HOST = "192.0.2.10";
const RESOLVER = "192.0.2.53";

/** A kernel in front of the Code-Red scanner, with a host that connects and a resolver that answers. */
class CodeRedNi extends FakeNi {
  constructor(options: Readonly<Record<string, unknown>> = {}) {
    super(new CodeRed(), { options, hostNetworks: [`${HOST}/32`] });
  }

  syn(
    destination: string,
    more: Partial<FrameSpec> = {},
  ): { number: number; verdict: Verdict } {
    const source = destination.includes(":") ? "2001:db8::10" : HOST;
    const spec = { source, destination, destinationPort: 80, flags: TCP.SYN, ...more };
    return this.give(frame(spec), "from-host");
  }

  answer(name: string, ...addresses: [string, number][]): void {
    const payload = dnsAnswer(name, addresses);
    this.give(
      frame({
        source: RESOLVER,
        destination: HOST,
        sourcePort: 53,
        destinationPort: 5353,
        payload,
      }),
      "to-host",
    );
  }
}

Deno.test("codered: a browser that translates names first is left alone", () => {
  const ni = new CodeRedNi();
  for (let i = 1; i < 200; i++) {
    ni.answer(`host${i}.example`, [`198.51.100.${i}`, 300], [`2001:db8:1::${i}`, 300]);
    assert.equal(ni.syn(`198.51.100.${i}`).verdict, "pass");
    assert.equal(ni.syn(`2001:db8:1::${i}`).verdict, "pass");
  }
  assert.equal(ni.alerts.length, 0);
});

Deno.test("codered: three random destinations in a second are a problem, two are not", () => {
  const ni = new CodeRedNi();
  assert.equal(ni.syn("198.51.100.1").verdict, "pass");
  assert.equal(ni.syn("198.51.100.1", { sourcePort: 40001 }).verdict, "pass");
  assert.equal(ni.syn("198.51.100.2").verdict, "pass");
  assert.equal(ni.alerts.length, 0);
  assert.equal(ni.syn("198.51.100.3", { destinationPort: 8080 }).verdict, "later");
  assert.equal(ni.alerts.length, 1);
  assert.deepEqual(ni.alerts[0]?.detail, {
    random_connections_last_minute: 3,
    last_port: 8080,
    translations: 0,
  });
});

Deno.test("codered: eleven random destinations in a minute are a problem, also slowly", () => {
  const ni = new CodeRedNi();
  for (let i = 1; i <= 10; i++) {
    assert.equal(ni.syn(`198.51.100.${i}`).verdict, "pass");
    ni.advance(5);
  }
  assert.equal(ni.syn("198.51.100.11").verdict, "later");
  const slower = new CodeRedNi();
  for (let i = 1; i <= 30; i++) {
    assert.equal(slower.syn(`198.51.100.${i}`).verdict, "pass", `connection ${i}`);
    slower.advance(7);
  }
});

Deno.test("codered: while there is a problem one SYN passes every six seconds, the oldest first", () => {
  const ni = new CodeRedNi();
  const begin = ni.now;
  const held: number[] = [];
  for (let i = 1; i <= 30; i++) {
    const { number, verdict } = ni.syn(`198.51.100.${i}`, { sourcePort: 40000 + i });
    if (verdict === "later") held.push(number);
  }
  assert.equal(held.length, 28);
  ni.advance(30);
  const passed = held.filter((number) => ni.decisions.get(number) === "pass");
  assert.deepEqual(passed, held.slice(0, 5));
  assert.deepEqual(passed.map((n) => ((ni.decidedAt.get(n) as number) - begin) / 1000), [
    6,
    12,
    18,
    24,
    30,
  ]);
});

Deno.test("codered: after a minute it looks again: on with an alert, or everything may go", () => {
  const ni = new CodeRedNi();
  for (let i = 1; i <= 20; i++) ni.syn(`198.51.100.${i}`, { sourcePort: 40000 + i });
  assert.equal(ni.alerts.length, 1);
  ni.advance(30);
  for (let i = 1; i <= 12; i++) ni.syn(`203.0.113.${i}`, { sourcePort: 41000 + i });
  ni.advance(31);
  assert.equal(ni.alerts.length, 2, "still a problem");
  ni.advance(60);
  assert.equal(ni.alerts.length, 2);
  assert.equal(ni.syn("203.0.113.200").verdict, "pass", "and it is over");
  assert.equal([...ni.decisions.values()].length, 33, "nothing is forgotten");
});

Deno.test("codered: a SYN that is sent again takes the place of the first", () => {
  const ni = new CodeRedNi();
  for (let i = 1; i <= 3; i++) ni.syn(`198.51.100.${i}`);
  const first = ni.syn("198.51.100.9");
  const second = ni.syn("198.51.100.9");
  assert.equal(ni.decisions.get(first.number), "cut");
  assert.equal(second.verdict, "later");
});

Deno.test("codered: more than may wait is cut, and very many are cut at once where that is wished", () => {
  const ni = new CodeRedNi({ waiting: 4 });
  const verdicts = [];
  for (let i = 1; i <= 10; i++) {
    verdicts.push(ni.syn(`198.51.100.${i}`, { sourcePort: i }).verdict);
  }
  assert.deepEqual(verdicts.map((v) => v[0]).join(""), "ppllllcccc");
  const fast = new CodeRedNi({ drop_above: 3 });
  const all = Array.from(
    { length: 12 },
    (_, i) => fast.syn(`198.51.100.${i + 1}`, { sourcePort: i }).verdict,
  );
  assert.equal(all.filter((v) => v === "cut").length, 7);
});

Deno.test("codered: addresses on the allow list need no translation", () => {
  const ni = new CodeRedNi({ allow: ["198.51.100.0/25", "2001:db8:5::/48"] });
  for (let i = 1; i <= 50; i++) {
    assert.equal(ni.syn(`198.51.100.${i}`).verdict, "pass");
    assert.equal(ni.syn(`2001:db8:5::${i}`).verdict, "pass");
  }
  assert.equal(ni.alerts.length, 0);
  for (let i = 200; i <= 203; i++) ni.syn(`198.51.100.${i}`);
  assert.equal(ni.alerts.length, 1);
});

Deno.test("codered: answers that come from the host itself translate nothing", () => {
  const ni = new CodeRedNi();
  const payload = dnsAnswer("evil.example", [["198.51.100.1", 300]]);
  ni.give(
    frame({ source: HOST, destination: RESOLVER, sourcePort: 53, destinationPort: 53, payload }),
    "from-host",
  );
  for (let i = 1; i <= 3; i++) ni.syn(`198.51.100.${i}`);
  assert.equal(ni.alerts.length, 1);
});

Deno.test("codered: DNS over TCP counts, also in pieces and sent twice", () => {
  const ni = new CodeRedNi();
  const message = dnsAnswer("big.example", [["198.51.100.1", 300], ["198.51.100.2", 300]]);
  const stream = Uint8Array.from([message.length >> 8, message.length & 0xff, ...message]);
  const segment = (flags: number, sequence: number, payload: Uint8Array) =>
    ni.give(
      frame({
        source: RESOLVER,
        destination: HOST,
        sourcePort: 53,
        destinationPort: 40053,
        flags,
        sequence,
        payload,
      }),
      "to-host",
    );
  segment(TCP.SYN | TCP.ACK, 99, new Uint8Array(0));
  for (const from of [0, 0, 1, 1, 20]) {
    segment(TCP.ACK, 100 + from, stream.subarray(from, from === 20 ? stream.length : from + 30));
  }
  for (const last of [1, 2, 1, 2]) ni.syn(`198.51.100.${last}`);
  assert.deepEqual([ni.alerts, [...ni.decisions.values()].includes("cut")], [[], false]);
});

Deno.test("codered: reverse look-ups in quick succession and zone transfers are told of", () => {
  const ni = new CodeRedNi({ reverse_lookups: 5 });
  const ask = (name: string, type: number) => {
    const message = dnsAnswer(name, []);
    message[2] = 1; // a query
    message[message.length - 3] = type;
    ni.give(
      frame({ source: HOST, destination: RESOLVER, destinationPort: 53, payload: message }),
      "from-host",
    );
  };
  for (let i = 1; i <= 20; i++) ask(`${i}.100.51.198.in-addr.arpa`, 12);
  ask("example.com", 252);
  assert.deepEqual(ni.alerts.map((a) => a.signature), [
    "many reverse look-ups",
    "zone transfer asked for",
  ]);
});

Deno.test("codered: options that make no sense are refused with their name", () => {
  assert.throws(() => new CodeRedNi({ per_second: 0 }), /option per_second/);
  assert.throws(() => new CodeRedNi({ allow: ["198.51.100.0/33"] }), /198.51.100.0\/33/);
  assert.throws(() => new CodeRedNi({ alow: [] }), /option alow is not known/);
});
