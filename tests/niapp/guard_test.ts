import assert from "node:assert/strict";
import { TCP } from "../../lib/net/packet.ts";
import { Guard } from "../../niapp/guard/scanner.ts";
import { FakeNi } from "./fake_ni.ts";
import { fragmentsOf, frame, HOST_MAC, NET_MAC } from "./frames.ts";

const HOST = "192.0.2.10";
const PEER = "198.51.100.1";
const OTHER_MAC = [2, 0, 0, 0, 0, 9];

function guard(options: Readonly<Record<string, unknown>> = {}): FakeNi {
  const hostNetworks = [`${HOST}/32`, "2001:db8::10/128"];
  return new FakeNi(new Guard(), {
    options: { mac: ["02:00:00:00:00:02"], ...options },
    hostNetworks,
  });
}

const udp = { source: HOST, destination: PEER, destinationPort: 9 };
const arrived = {
  source: PEER,
  destination: HOST,
  sourceMac: NET_MAC,
  destinationMac: HOST_MAC,
  destinationPort: 9,
};

/** An ARP message of the host: who says that it has which address. */
function arp(sender: readonly number[], address: readonly number[]): Uint8Array {
  return Uint8Array.from([
    ...[255, 255, 255, 255, 255, 255, ...HOST_MAC, 8, 6],
    ...[0, 1, 8, 0, 6, 4, 0, 2, ...sender, ...address, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1],
  ]);
}

/** A neighbour advertisement of the host over IPv6, for 2001:db8::LAST with a hardware address. */
function advertisement(last: number, mac: readonly number[]): Uint8Array {
  const address = (end: number) => [0x20, 1, 0xd, 0xb8, ...Array<number>(11).fill(0), end];
  return Uint8Array.from([
    ...[...NET_MAC, ...HOST_MAC, 0x86, 0xdd],
    ...[0x60, 0, 0, 0, 0, 32, 58, 255, ...address(0x10), ...address(1)],
    ...[136, 0, 0, 0, 0x60, 0, 0, 0, ...address(last), 2, 1, ...mac],
  ]);
}

Deno.test("guard: what the host says of itself must be true", () => {
  const ni = guard({ also_from: ["169.254.0.0/16"] });
  const verdict = (bytes: Uint8Array) => ni.give(bytes, "from-host").verdict;
  assert.equal(verdict(frame(udp)), "pass");
  assert.equal(
    verdict(frame({ ...udp, source: "2001:db8::10", destination: "2001:db8::1" })),
    "pass",
  );
  assert.equal(verdict(frame({ ...udp, source: "fe80::1", destination: "ff02::1" })), "pass");
  assert.equal(verdict(frame({ ...udp, source: "0.0.0.0" })), "pass");
  assert.equal(verdict(frame({ ...udp, source: "169.254.3.4" })), "pass");
  assert.equal(verdict(arp(HOST_MAC, [192, 0, 2, 10])), "pass");
  assert.equal(verdict(arp(HOST_MAC, [0, 0, 0, 0])), "pass");
  assert.equal(verdict(advertisement(0x10, HOST_MAC)), "pass");
  assert.deepEqual(ni.signatures, []);
  assert.equal(verdict(frame({ ...udp, source: "192.0.2.11" })), "cut");
  assert.equal(verdict(frame({ ...udp, sourceMac: OTHER_MAC })), "cut");
  assert.equal(verdict(arp(HOST_MAC, [192, 0, 2, 1])), "cut");
  assert.equal(verdict(arp(OTHER_MAC, [192, 0, 2, 10])), "cut");
  assert.equal(verdict(advertisement(1, HOST_MAC)), "cut");
  assert.equal(verdict(advertisement(0x10, OTHER_MAC)), "cut");
  assert.deepEqual(ni.signatures, [
    "spoofed source address",
    "spoofed hardware address",
    "spoofed ARP",
    "spoofed neighbour advertisement",
    "spoofed neighbour discovery",
  ]);
});

Deno.test("guard: without a configured hardware address the first one counts", () => {
  const ni = new FakeNi(new Guard());
  assert.equal(ni.give(frame(udp), "from-host").verdict, "pass");
  assert.equal(ni.give(frame({ ...udp, sourceMac: OTHER_MAC }), "from-host").verdict, "cut");
});

Deno.test("guard: frames for others do not come to the host, group addresses do", () => {
  const ni = guard();
  assert.equal(ni.give(frame(arrived), "to-host").verdict, "pass");
  const broadcast = { ...arrived, destinationMac: [255, 255, 255, 255, 255, 255] };
  assert.equal(ni.give(frame(broadcast), "to-host").verdict, "pass");
  assert.equal(ni.give(frame({ ...arrived, destinationMac: OTHER_MAC }), "to-host").verdict, "cut");
  assert.deepEqual(ni.signatures, ["frame that is not for the host"]);
});

Deno.test("guard: times to live that are too small, or differ within a connection", () => {
  const ni = guard({ min_ttl: 3, ttl: "cut" });
  const tcp = { ...arrived, flags: TCP.ACK };
  assert.equal(ni.give(frame({ ...tcp, ttl: 57 }), "to-host").verdict, "pass");
  assert.equal(ni.give(frame({ ...tcp, ttl: 55 }), "to-host").verdict, "pass");
  assert.equal(ni.give(frame({ ...tcp, ttl: 40 }), "to-host").verdict, "cut");
  assert.equal(ni.give(frame({ ...tcp, ttl: 57 }), "to-host").verdict, "pass");
  assert.equal(ni.give(frame({ ...arrived, ttl: 2 }), "to-host").verdict, "cut");
  assert.deepEqual(ni.signatures, [
    "time to live differs within a connection",
    "time to live is too small",
  ]);
});

const DATAGRAM = frame({ ...arrived, payload: new Uint8Array(192) });

function give(ni: FakeNi, ...ranges: [number, number][]): string[] {
  return fragmentsOf(DATAGRAM, ranges).map((bytes) => ni.give(bytes, "to-host").verdict);
}

Deno.test("guard: fragments of a datagram pass, overlapping, tiny and odd ones do not", () => {
  assert.deepEqual(give(guard(), [0, 96], [96, 200]), ["pass", "pass"]);
  assert.deepEqual(give(guard(), [96, 200], [0, 96]), ["pass", "pass"]);
  assert.deepEqual(give(guard(), [0, 96], [88, 160], [160, 200]), ["pass", "cut", "cut"]);
  assert.deepEqual(give(guard(), [0, 96], [0, 96]), ["pass", "cut"], "the same again overlaps too");
  assert.deepEqual(give(guard(), [0, 100]), ["cut"], "only the last may have an odd length");
  const tcp = frame({ ...arrived, flags: TCP.SYN, payload: new Uint8Array(60) });
  const tiny = fragmentsOf(tcp, [[0, 8], [8, 80]]);
  assert.deepEqual(tiny.map((bytes) => guard().give(bytes, "to-host").verdict), ["cut", "cut"]);
});

Deno.test("guard: normalized fragments go in order once all are there, or not at all", () => {
  const ni = guard({ normalize: "fragments" });
  assert.deepEqual(give(ni, [96, 200], [0, 48], [48, 96]), ["later", "later", "later"]);
  assert.deepEqual([...ni.decisions], [[2, "pass"], [3, "pass"], [1, "pass"]]);
  const late = guard({ normalize: "fragments" });
  assert.deepEqual(give(late, [0, 48], [48, 96]), ["later", "later"]);
  late.advance(31);
  assert.deepEqual([...late.decisions], [[1, "cut"], [2, "cut"]]);
  assert.deepEqual(late.signatures, ["a datagram's fragments do not all come"]);
  const overlapping = guard({ normalize: "fragments" });
  assert.deepEqual(give(overlapping, [0, 96], [88, 160]), ["later", "cut"]);
  assert.equal(overlapping.decisions.get(1), "cut");
});

Deno.test("guard: where it may read only, it tells and decides nothing", () => {
  const ni = new FakeNi(new Guard(), { options: { normalize: "fragments" }, held: false });
  for (const bytes of fragmentsOf(DATAGRAM, [[0, 96], [96, 200]])) ni.give(bytes, "to-host");
  assert.equal(ni.decisions.size, 0);
});
