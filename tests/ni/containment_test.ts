import assert from "node:assert/strict";
import { type IpAddress, parseIp, prefixRange } from "../../lib/net/ip.ts";
import { Packet, TCP } from "../../lib/net/packet.ts";
import { ContainedHosts, type ContainmentKind, MOST_CONTAINED } from "../../lib/ni/containment.ts";
import type { Direction } from "../../lib/ni/frame.ts";
import { frame, type FrameSpec } from "../niapp/frames.ts";

const HOST = "192.0.2.10";
const PEER = "198.51.100.1";
const ADMIN = "203.0.113.9";
const NOW = 1_700_000_000_000;

function address(text: string): IpAddress {
  const parsed = parseIp(text);
  assert.ok(parsed !== undefined);
  return parsed;
}

function contained(kind: ContainmentKind, host = HOST): ContainedHosts {
  const hosts = new ContainedHosts([prefixRange(address(ADMIN), 32)]);
  const order = { host: address(host), kind, until: NOW + 60_000, reason: "test", owner: "root" };
  hosts.set(order, NOW);
  return hosts;
}

function allows(hosts: ContainedHosts, spec: FrameSpec, direction: Direction, now = NOW): boolean {
  const bytes = frame(spec);
  return hosts.allows(new Packet().decode(bytes, 0, bytes.length), direction, bytes.length, now);
}

const out = { source: HOST, destination: PEER, destinationPort: 80 };
const back = { source: PEER, destination: HOST, destinationPort: 4000 };

Deno.test("containment: a blocked host reaches the administrator alone, and others are as before", () => {
  const hosts = contained({ verb: "block" });
  assert.equal(allows(hosts, out, "from-host"), false);
  assert.equal(allows(hosts, back, "to-host"), false);
  assert.equal(allows(hosts, { ...out, destination: ADMIN }, "from-host"), true);
  assert.equal(allows(hosts, { ...back, source: ADMIN }, "to-host"), true);
  assert.equal(allows(hosts, { ...out, source: "192.0.2.11" }, "from-host"), true);
  // Another's packet to the host's address that comes from the host's side is not the host's.
  assert.equal(allows(hosts, { ...back }, "from-host"), true);
});

Deno.test("containment: a filtered host exchanges packets with the named destinations", () => {
  const hosts = contained({ verb: "filter", destinations: [prefixRange(address(PEER), 24)] });
  assert.equal(allows(hosts, out, "from-host"), true);
  assert.equal(allows(hosts, back, "to-host"), true);
  assert.equal(allows(hosts, { ...out, destination: "8.8.8.8" }, "from-host"), false);
});

Deno.test("containment: a slowed host begins so many connections a second, and goes on with them", () => {
  const hosts = contained({ verb: "slow", connections: 2, bytes: undefined });
  const syn = (port: number, now = NOW) =>
    allows(hosts, { ...out, sourcePort: port, flags: TCP.SYN }, "from-host", now);
  assert.deepEqual([syn(1), syn(2), syn(3)], [true, true, false]);
  assert.equal(allows(hosts, { ...out, sourcePort: 1, flags: TCP.ACK }, "from-host"), true);
  assert.equal(allows(hosts, { ...back, flags: TCP.SYN | TCP.ACK }, "to-host"), true);
  assert.deepEqual([syn(4, NOW + 600), syn(5, NOW + 600)], [true, false]);
  assert.deepEqual([syn(6, NOW - 50_000), syn(7, NOW - 50_000)], [false, false]);
});

Deno.test("containment: flows without connections count once each", () => {
  const hosts = contained({ verb: "slow", connections: 1, bytes: undefined });
  const udp = (port: number) => allows(hosts, { ...out, sourcePort: port }, "from-host");
  assert.deepEqual([udp(1), udp(1), udp(2), udp(1)], [true, true, false, true]);
});

Deno.test("containment: bytes a second, with frames that are larger than the rate", () => {
  const hosts = contained({ verb: "slow", connections: undefined, bytes: 1000 });
  const send = (size: number, now: number) =>
    allows(hosts, { ...out, payload: new Uint8Array(size) }, "from-host", now);
  assert.equal(send(5000, NOW), true);
  assert.equal(send(1, NOW + 1000), false, "it is on credit still");
  assert.equal(send(1, NOW + 6000), true);
  const none = contained({ verb: "slow", connections: undefined, bytes: 0 });
  assert.equal(allows(none, out, "from-host", NOW + 1000), false);
});

Deno.test("containment: orders end by themselves, are replaced, and taken back", () => {
  const hosts = contained({ verb: "block" });
  assert.equal(hosts.nextEnd(), NOW + 60_000);
  assert.equal(allows(hosts, out, "from-host", NOW + 60_000), true);
  assert.deepEqual(hosts.expire(NOW + 59_999), []);
  assert.deepEqual(hosts.expire(NOW + 60_000), [HOST]);
  assert.equal(hosts.size, 0);
  hosts.set({
    host: address("2001:db8::1"),
    kind: { verb: "block" },
    until: NOW + 1,
    reason: "worm",
    owner: "alice",
  }, NOW);
  assert.deepEqual(hosts.filters(), ["host 2001:db8::1"]);
  assert.deepEqual(hosts.status()[0]?.verb, "block");
  assert.equal(hosts.clear(address("2001:db8::1")), true);
  assert.equal(hosts.clear(address("2001:db8::1")), false);
});

Deno.test("containment: neighbour discovery passes, so that the link does not die with the order", () => {
  const hosts = contained({ verb: "block" }, "2001:db8::10");
  const bytes = frame({ source: "2001:db8::10", destination: "2001:db8::1", destinationPort: 1 });
  bytes[20] = 58;
  bytes[54] = 135;
  const p = new Packet().decode(bytes, 0, bytes.length);
  assert.equal(hosts.allows(p, "from-host", bytes.length, NOW), true);
  bytes[54] = 128;
  const echo = new Packet().decode(bytes, 0, bytes.length);
  assert.equal(hosts.allows(echo, "from-host", bytes.length, NOW), false);
});

Deno.test("containment: not more than an NI can look up", () => {
  const hosts = new ContainedHosts();
  const set = (i: number) =>
    hosts.set({
      host: address(`10.0.${i >> 8}.${i & 255}`),
      kind: { verb: "block" },
      until: NOW + 1000,
      reason: "r",
      owner: "o",
    }, NOW);
  for (let i = 0; i < MOST_CONTAINED; i++) set(i);
  set(0);
  assert.throws(() => set(MOST_CONTAINED), /more than 256 hosts/);
});
