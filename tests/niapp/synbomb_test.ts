import assert from "node:assert/strict";
import { TCP } from "../../lib/net/packet.ts";
import { SynBomb } from "../../niapp/synbomb/scanner.ts";
import { FakeNi } from "./fake_ni.ts";
import { frame } from "./frames.ts";

const HOST = "192.0.2.10";
const SERVER = "198.51.100.80";

class BombNi extends FakeNi {
  constructor(options: Readonly<Record<string, unknown>> = {}) {
    super(new SynBomb(), { options, hostNetworks: [`${HOST}/32`] });
  }

  syn(port: number, source = HOST): string {
    const spec = { source, destination: SERVER, sourcePort: port, destinationPort: 80 };
    return this.give(frame({ ...spec, flags: TCP.SYN }), "from-host").verdict;
  }

  synAck(port: number): number {
    const spec = { source: SERVER, destination: HOST, sourcePort: 80, destinationPort: port };
    return this.give(frame({ ...spec, flags: TCP.SYN | TCP.ACK }), "to-host").number;
  }

  ack(port: number): number {
    const spec = { source: HOST, destination: SERVER, sourcePort: port, destinationPort: 80 };
    return this.give(frame({ ...spec, flags: TCP.ACK }), "from-host").number;
  }
}

Deno.test("synbomb: finished handshakes are nobody's business, however many", () => {
  const ni = new BombNi();
  for (let port = 1000; port < 3000; port++) {
    assert.equal(ni.syn(port), "pass");
    ni.synAck(port);
    assert.equal(ni.finished.at(-1) === ni.ack(port), false);
    assert.equal(ni.finished.length, port - 999, "of the rest of the connection nothing is seen");
  }
  ni.advance(10);
  assert.deepEqual(ni.signatures, []);
});

Deno.test("synbomb: unanswered handshakes are told of, repaired, and held back for a time", () => {
  const ni = new BombNi();
  const synAcks: number[] = [];
  for (let port = 1000; port < 1030; port++) {
    assert.equal(ni.syn(port), "pass");
    synAcks.push(ni.synAck(port));
  }
  ni.advance(0.4);
  assert.deepEqual(ni.signatures, []);
  ni.advance(0.2);
  assert.equal(ni.signatures.length, 1);
  assert.deepEqual(ni.alerts[0]?.detail, {
    target: SERVER,
    port: 80,
    unanswered: 30,
    repaired: 30,
    held_back_before: 0,
    hold_back_seconds: 60,
  });
  assert.deepEqual(ni.resets, synAcks.map((number) => ({ frame: number, direction: "from-host" })));
  assert.equal(ni.syn(2000), "cut");
  const repeated = ni.synAck(1500);
  assert.equal(ni.resets.at(-1)?.frame, repeated, "a SYN+ACK of before is answered at once");
  ni.advance(61);
  assert.equal(ni.syn(2001), "pass");
});

Deno.test("synbomb: a host that refuses with resets, or is slow, is no bomber", () => {
  const ni = new BombNi({ unanswered: 20 });
  for (let port = 1000; port < 1020; port++) {
    ni.syn(port);
    ni.synAck(port);
  }
  ni.advance(1);
  for (let port = 1000; port < 1020; port++) ni.ack(port);
  for (let port = 1020; port < 1040; port++) {
    ni.syn(port);
    ni.synAck(port);
  }
  ni.advance(1);
  assert.deepEqual(ni.signatures, []);
});

Deno.test("synbomb: a forged source is dropped at once, and told of once a minute with its count", () => {
  const ni = new BombNi();
  for (let i = 1; i < 100; i++) assert.equal(ni.syn(1000, `203.0.113.${i}`), "cut");
  assert.deepEqual(ni.signatures, ["SYN with a forged source address"]);
  ni.advance(61);
  assert.equal(ni.syn(1000, "203.0.113.100"), "cut");
  assert.deepEqual(ni.alerts[1]?.detail, { source: "203.0.113.100", forged: 99 });
});

Deno.test("synbomb: options that are wrong or unknown are refused", () => {
  assert.throws(() => new BombNi({ unanswered: 0 }), /option unanswered: .* from 1/);
  assert.throws(() => new BombNi({ holdback: 3 }), /option holdback is not known/);
});
