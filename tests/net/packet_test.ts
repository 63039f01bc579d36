import assert from "node:assert/strict";
import fc from "fast-check";
import { CaptureError, CaptureParser, CaptureRecord } from "../../lib/net/capture.ts";
import { addWords, finishChecksum, updateChecksum } from "../../lib/net/checksum.ts";
import { Packet, PROTOCOL, TCP } from "../../lib/net/packet.ts";
import { filesBelow, sharedTest } from "../shared_data.ts";

/** A frame from words such as `4500`, spaces ignored. */
function hex(text: string): Uint8Array {
  return Uint8Array.from(
    text.replace(/\s/g, "").match(/../g) ?? [],
    (byte) => parseInt(byte, 16),
  );
}

const MACS = "020000000001 020000000002";
const IP4 = "4500 0028 0001 4000 40 06 0000 c6336407 cb007105";
const SYN = "d431 0015 00000001 00000000 50 02 ffff 0000 0000";

function decode(frame: Uint8Array, linkType = 1): Packet {
  return new Packet().decode(frame, 0, frame.length, linkType);
}

Deno.test("Packet.decode() reads TCP over IPv4", () => {
  const p = decode(hex(`${MACS} 0800 ${IP4} ${SYN}`));
  assert.equal(p.malformed, "none");
  assert.equal(p.version, 4);
  assert.equal(p.source().text, "198.51.100.7");
  assert.equal(p.destination().text, "203.0.113.5");
  assert.equal(p.source4, 0xc6336407);
  assert.equal(p.protocol, PROTOCOL.TCP);
  assert.ok(p.isTcp && p.dontFragment && !p.fragment);
  assert.deepEqual([p.sourcePort, p.destinationPort], [54321, 21]);
  assert.deepEqual([p.sequence, p.acknowledgement, p.tcpFlags, p.window], [1, 0, TCP.SYN, 65535]);
  assert.deepEqual([p.payload, p.payloadEnd], [54, 54]);
});

Deno.test("Packet.decode() leaves padding behind a short packet out", () => {
  const p = decode(hex(`${MACS} 0800 ${IP4} ${SYN} 000000000000`));
  assert.equal(p.payloadEnd - p.payload, 0);
});

Deno.test("Packet.decode() looks through tags, labels and PPPoE", () => {
  const inner = `${IP4} ${SYN}`;
  for (
    const [around, tags, vlan] of [
      ["8100 2064 0800", 1, 0x2064],
      ["88a8 0064 8100 00c8 0800", 2, 0x0064],
      ["8847 000120ff 000101ff", 0, 0],
      ["8864 1100 0001 002a 0021", 0, 0],
    ] as const
  ) {
    const p = decode(hex(`${MACS} ${around} ${inner}`));
    assert.equal(p.version, 4, around);
    assert.equal(p.destinationPort, 21, around);
    assert.deepEqual([p.tags, p.tags === 0 ? 0 : p.vlan], [tags, vlan], around);
  }
  const deep = decode(hex(`${MACS} ${"8100 0001".repeat(9)} 0800 ${inner}`));
  assert.equal(deep.malformed, "too many tags");
});

Deno.test("Packet.decode() walks IPv6 extension headers", () => {
  const addresses = "20010db8000000000000000000000001 20010db8000000000000000000000002";
  const p = decode(hex(
    `${MACS} 86dd 60000000 002c 00 40 ${addresses} 3c00 0104 00000000 0600 0104 00000000 ${SYN} 00000000 00000000`,
  ));
  assert.equal(p.malformed, "none");
  assert.equal(p.protocol, PROTOCOL.TCP);
  assert.equal(p.destination().text, "2001:db8::2");
  assert.equal(p.destinationPort, 21);
  // An atomic fragment is no fragment (RFC 6946).
  const atomic = decode(hex(
    `${MACS} 86dd 60000000 001c 2c 40 ${addresses} 0600 0000 00000007 ${SYN}`,
  ));
  assert.ok(atomic.isTcp && !atomic.fragment);
  const later = decode(hex(
    `${MACS} 86dd 60000000 001c 2c 40 ${addresses} 0600 0008 00000007 ${SYN}`,
  ));
  assert.ok(later.fragment && !later.isTcp && !later.moreFragments);
  assert.deepEqual([later.fragmentOffset, later.fragmentId], [8, 7]);
  const chain = decode(hex(
    `${MACS} 86dd 60000000 0090 3c 40 ${addresses} ${"3c00 0104 00000000".repeat(18)}`,
  ));
  assert.equal(chain.malformed, "too many extension headers");
});

Deno.test("Packet.decode() says what is wrong and keeps what came before", () => {
  const cases = [
    [`${MACS}`, "link header is cut off"],
    [`${MACS} 8100 00`, "link header is cut off"],
    [`${MACS} 0800 4500`, "network header is cut off"],
    [`${MACS} 0800 ${IP4.replace("4500", "6500")} ${SYN}`, "wrong IP version"],
    [`${MACS} 0800 ${IP4.replace("4500", "4400")} ${SYN}`, "header length is too short"],
    [`${MACS} 0800 ${IP4.replace("0028", "0013")} ${SYN}`, "packet is shorter than its header"],
    [`${MACS} 0800 ${IP4.replace("0028", "0029")} ${SYN}`, "packet is longer than the frame"],
    [`${MACS} 0800 ${IP4} ${SYN.slice(0, 20)}`, "packet is longer than the frame"],
    [`${MACS} 0800 ${IP4} ${SYN.replace("50 02", "40 02")}`, "header length is too short"],
    [`${MACS} 0800 ${IP4} ${SYN.replace("50 02", "60 02")}`, "transport header is cut off"],
    [
      `${MACS} 0800 ${IP4.replace("40 06", "40 11")} d431 0035 0007 0000 ${"00".repeat(12)}`,
      "UDP length is wrong",
    ],
  ] as const;
  for (const [frame, problem] of cases) assert.equal(decode(hex(frame)).malformed, problem, frame);
});

/** What a decoded packet says, without the object's own offsets into memory. */
function facts(p: Packet): unknown[] {
  return [
    p.malformed,
    p.tags,
    p.etherType,
    p.version,
    p.protocol,
    p.fragment,
    p.hasPorts && [p.sourcePort, p.destinationPort],
    p.isTcp && [p.sequence, p.acknowledgement, p.tcpFlags, p.window, p.payload - p.start],
    p.version !== 0 && [p.source().text, p.networkEnd - p.start, p.ttl],
    p.version !== 0 && [p.networkChecksumHolds(), p.transportChecksumHolds()],
  ];
}

const seeds = [
  hex(`${MACS} 0800 ${IP4} ${SYN}`),
  hex(`${MACS} 8100 0001 86dd 60000000 0014 06 40 ${"00".repeat(32)} ${SYN}`),
  hex(`${MACS} 86dd 60000000 0040 00 40 ${"00".repeat(32)} 2b00 0000 00000000 3a00 0000 00000000`),
];

Deno.test("Packet.decode() never throws, reads nothing beyond the frame and keeps nothing of the last", () => {
  const reused = new Packet();
  fc.assert(
    fc.property(
      fc.constantFrom(...seeds),
      fc.array(fc.tuple(fc.nat(90), fc.nat(255)), { maxLength: 8 }),
      fc.nat(120),
      fc.nat(20),
      fc.constantFrom(0, 1, 101, 113, 276, 147),
      (seed, changes, length, start, linkType) => {
        const frame = new Uint8Array(120);
        frame.set(seed);
        for (const [at, value] of changes) frame[at] = value;
        const alone = new Packet().decode(frame.slice(0, length), 0, length, linkType);
        // The same frame in the middle of other memory, decoded into an object that held another one.
        const memory = new Uint8Array(200).fill(0xa5);
        memory.set(frame.subarray(0, length), start);
        reused.decode(memory, start, start + length, linkType);
        assert.deepEqual(facts(reused), facts(alone));
        assert.ok(reused.version === 0 || reused.transport <= start + length);
        assert.ok(!reused.hasPorts || reused.payloadEnd <= start + length);
        assert.ok(!reused.hasPorts || reused.payload <= reused.payloadEnd);
      },
    ),
    { numRuns: 20_000 },
  );
});

Deno.test("checksums: updating gives what computing anew gives", () => {
  fc.assert(fc.property(
    fc.uint8Array({ minLength: 2, maxLength: 60 }),
    fc.uint8Array({ minLength: 6, maxLength: 6 }),
    fc.uint8Array({ minLength: 6, maxLength: 6 }),
    (rest, before, after) => {
      const all = (part: Uint8Array) => Uint8Array.from([...part, ...rest]);
      const old = finishChecksum(addWords(0, all(before), 0, 6 + rest.length));
      const fresh = finishChecksum(addWords(0, all(after), 0, 6 + rest.length));
      const updated = updateChecksum(old, addWords(0, before, 0, 6), addWords(0, after, 0, 6));
      // 0 and 0xffff are the same number in one's complement.
      assert.equal(updated % 0xffff, fresh % 0xffff);
    },
  ));
});

sharedTest(
  "checksums: those of captures made right and wrong are told apart",
  "ni/zeek/traces/chksums",
  (directory) => {
    for (const file of filesBelow(directory, [".pcap"])) {
      const parser = new CaptureParser();
      const record = new CaptureRecord();
      parser.push(Deno.readFileSync(file));
      while (parser.read(record)) {
        const p = new Packet().decode(record.data, record.start, record.end, record.linkType);
        const holds = p.networkChecksumHolds() && p.transportChecksumHolds();
        assert.equal(holds, !file.includes("-bad-"), file);
      }
    }
  },
);

sharedTest(
  "Packet.decode() counts what tcpdump's filters count, in every capture",
  "ni",
  async (directory) => {
    const differences: string[] = [];
    for (const file of filesBelow(directory, [".pcap", ".pcapng"])) {
      const parser = new CaptureParser();
      const record = new CaptureRecord();
      const packet = new Packet();
      const ours = { "ip": 0, "ip6": 0, "ip and tcp": 0, "ip and udp": 0, "arp": 0 };
      let linkType = 1;
      try {
        parser.push(Deno.readFileSync(file));
        while (parser.read(record)) {
          linkType = record.linkType;
          const p = packet.decode(record.data, record.start, record.end, record.linkType);
          // The filters do not look through tags, labels and tunnels, nor at a version that lies.
          if (p.tags > 0) continue;
          if (p.etherType === 0x0800 && p.version !== 6) ours.ip++;
          if (p.etherType === 0x86dd) ours.ip6++;
          if (p.etherType === 0x0806) ours.arp++;
          if (p.etherType !== 0x0800 || p.version !== 4) continue;
          if (p.protocol === PROTOCOL.TCP) ours["ip and tcp"]++;
          if (p.protocol === PROTOCOL.UDP) ours["ip and udp"]++;
        }
      } catch (error) {
        if (error instanceof CaptureError) continue; // a damaged file: see capture_test.ts
        throw error;
      }
      // A header of which only a part was captured is none here, and one for a filter.
      if (linkType !== 1 || file.includes("/trunc/")) continue;
      for (const [filter, count] of Object.entries(ours)) {
        const { stdout, success } = await new Deno.Command("tcpdump", {
          args: ["-nn", "--count", "-r", file, filter],
        }).output();
        const theirs = Number(/^(\d+)/m.exec(new TextDecoder().decode(stdout))?.[1] ?? Number.NaN);
        if (success && theirs !== count) {
          differences.push(`${file}: ${filter}: ${count}, tcpdump ${theirs}`);
        }
      }
    }
    assert.deepEqual(differences, []);
  },
);
