/** A million frames that somebody made to break the parsers, from every capture there is. */
import assert from "node:assert/strict";
import { compileBpf } from "../../lib/net/bpf.ts";
import { CaptureError, CaptureParser, CaptureRecord } from "../../lib/net/capture.ts";
import { parseDns } from "../../lib/net/dns.ts";
import { Packet } from "../../lib/net/packet.ts";
import { FrameRef } from "../../lib/ni/frame.ts";
import { NiKernel } from "../../lib/ni/kernel.ts";
import { MESSAGE, MessageBuffer, PROTOCOL_VERSION, RIGHT } from "../../niapp/sdk/protocol.ts";
import { Session } from "../../niapp/sdk/session.ts";
import { CodeRed } from "../../niapp/codered/scanner.ts";
import { compileFilter, libpcapVersion } from "../../lib/sys/libpcap.ts";
import { frameMemory } from "../../lib/sys/packet_socket.ts";
import { filesBelow, sharedTest } from "../shared_data.ts";
import { rights } from "./support.ts";

// Loaded here, since a test that loads a library looks like one that leaks it.
libpcapVersion();

const FRAMES = 1_000_000;
/** Of so many frames one is read twice, with other bytes around it. */
const TWICE = 4;
/** Bytes of a frame that are looked at; larger ones are cut. */
const LONGEST = 1514;
const START = 64;

/** The same numbers each time: a frame that breaks something can be made again. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function framesOf(directory: string): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (const file of filesBelow(directory, [".pcap", ".pcapng"])) {
    const parser = new CaptureParser();
    const record = new CaptureRecord();
    try {
      parser.push(Deno.readFileSync(file));
      for (let i = 0; i < 200 && parser.read(record); i++) {
        if (record.linkType !== 1) continue;
        frames.push(record.data.slice(record.start, Math.min(record.end, record.start + LONGEST)));
      }
    } catch (error) {
      if (!(error instanceof CaptureError)) throw error; // a damaged file: see capture_test.ts
    }
  }
  return frames;
}

/** Changes a frame in place; returns its new length. */
function damage(
  data: Uint8Array,
  start: number,
  length: number,
  random: (below: number) => number,
): number {
  const changes = 1 + random(6);
  for (let i = 0; i < changes; i++) {
    // Headers are at the beginning; that is where lies are told.
    const at = start + random(random(4) === 0 ? length : Math.min(length, 80));
    const kind = random(4);
    if (kind === 0) data[at] = random(256);
    else if (kind === 1) data[at] = (data[at] as number) ^ (1 << random(8));
    else if (kind === 2) data[at] = 0xff;
    else data[at] = 0;
  }
  const kind = random(8);
  if (kind === 0) return random(length + 1);
  if (kind === 1 && length < LONGEST - 8) {
    // One more tag, or extension header, or whatever it is there.
    const at = start + 12 + random(Math.max(1, Math.min(60, length - 12)));
    data.copyWithin(at + 4, at, start + length);
    return length + 4;
  }
  return length;
}

/** All that a packet says, as one number, independent of where it is in memory. */
function digest(p: Packet, start: number): number {
  let sum = p.malformed.length * 31 + p.etherType + p.tags * 7 + p.version + p.protocol * 3;
  if (p.fragment) sum += p.fragmentOffset * 5 + p.fragmentId;
  if (p.version !== 0) sum += p.source().text.length + (p.networkEnd - start) * 11 + p.ttl;
  if (p.hasPorts) sum += p.sourcePort * 13 + p.destinationPort * 17 + (p.payload - start) * 19;
  if (p.isTcp) sum += p.sequence + p.acknowledgement + p.tcpFlags * 23 + p.window;
  return sum;
}

sharedTest(
  `hostile frames: ${FRAMES} damaged frames are read without a throw, and never beyond their ends`,
  "ni",
  (directory) => {
    const frames = framesOf(directory);
    assert.ok(frames.length > 8000, `${frames.length} frames`);
    const random = randomNumbers(20_021_944);
    const memory = frameMemory(4096);
    const { data } = memory;
    const again = new Uint8Array(4096);
    const packet = new Packet();
    const other = new Packet();
    const filters = ["tcp port 80", "udp port 53 and ip6", "ip[ip[0] & 15] > ip[tcp[12]]"]
      .map((text) => compileBpf(compileFilter(text, 1)));
    const { kernel, scan } = watchedKernel();
    const frame = new FrameRef();
    frame.data = data;
    frame.start = START;
    let read = 0;
    let messages = 0;
    for (let i = 0; i < FRAMES; i++) {
      const original = frames[random(frames.length)] as Uint8Array;
      data.set(original, START);
      const length = damage(data, START, original.length, random);
      const end = START + length;
      const tell = (error: unknown) =>
        new Error(`frame ${i}: ${data.subarray(START, end).toHex()}`, { cause: error });
      try {
        packet.decode(data, START, end);
        if (packet.version !== 0) {
          read++;
          assert.ok(packet.transport <= end && packet.networkEnd <= end);
          assert.ok(!packet.hasPorts || packet.payload <= packet.payloadEnd);
          assert.ok(!packet.hasPorts || packet.payloadEnd <= end);
        }
        // Whatever is there is taken for a DNS message too.
        const from = packet.hasPorts ? packet.payload : START + random(length + 1);
        if (parseDns(data, from, end) !== undefined) messages++;
        if (i % TWICE === 0) {
          again.fill(i & 0xff, 0, 4096);
          again.set(data.subarray(START, end), START + 3);
          other.decode(again, START + 3, end + 3);
          assert.equal(digest(other, START + 3), digest(packet, START));
          for (const filter of filters) {
            assert.equal(
              filter(again, START + 3, end + 3, length, -1),
              filter(data, START, end, length, -1),
            );
          }
          assert.deepEqual(
            parseDns(again, from + 3, end + 3)?.malformed,
            parseDns(data, from, end)?.malformed,
          );
        }
        frame.end = end;
        frame.wireLength = length;
        frame.direction = (i & 1) === 0 ? "from-host" : "to-host";
        frame.seconds = 1_700_000_000 + (i >> 10);
        kernel.frame(memory, frame);
        if (i % 64 === 63) scan();
      } catch (error) {
        throw tell(error);
      }
    }
    scan();
    kernel.expire();
    // Damage does not make everything unreadable: what is behind the first checks is reached too.
    assert.ok(read > FRAMES / 3, `${read} packets`);
    assert.ok(messages > FRAMES / 20, `${messages} messages`);
    const { received, forwarded, prevented, held } = kernel.counters;
    assert.equal(received, FRAMES);
    assert.ok(forwarded > FRAMES / 2 && prevented > 100, JSON.stringify(kernel.counters));
    assert.ok(held < 100, JSON.stringify(kernel.counters)); // random SYNs that the scanner keeps waiting
  },
);

/** A kernel with a rule and the Code-Red scanner, which is here and not in a process. */
function watchedKernel(): { kernel: NiKernel; scan: () => void } {
  const kernel = new NiKernel({
    linkType: 1,
    prevent: [{ name: "rule", filter: "tcp port 445 or udp port 137" }],
    scanners: new Map([[
      "codered",
      rights({ read: ["port 53"], contain: ["tcp", "ip6"], holdLimit: 1e9 }),
    ]]),
    hostNetworks: [],
  }, {
    forward: () => {},
    event: () => {},
    broken: (_, why) => assert.fail(why),
  });
  const scanner = new Session(new CodeRed());
  const session = kernel.connect(kernel.slot("codered"));
  const scan = () => {
    kernel.wake();
    // Twice: what the scanner says first makes the kernel say more.
    for (let i = 0; i < 2; i++) {
      for (let at = 0; at < session.out.length;) {
        const space = scanner.space();
        const n = Math.min(space.length, session.out.length - at);
        space.set(session.out.bytes.subarray(at, at + n));
        scanner.take(n);
        at += n;
      }
      session.out.length = 0;
      const said = scanner.output();
      for (let at = 0; at < said.length;) {
        const space = session.space();
        const n = Math.min(space.length, said.length - at);
        space.set(said.subarray(at, at + n));
        session.take(n, kernel.now);
        at += n;
      }
    }
    kernel.settle();
  };
  scan();
  return { kernel, scan };
}

Deno.test("hostile scanners: no bytes that one sends make the kernel throw", () => {
  const random = randomNumbers(7);
  for (let round = 0; round < 3000; round++) {
    let broken = 0;
    const kernel = new NiKernel({
      linkType: 1,
      prevent: [],
      scanners: new Map([["fuzz", rights({ contain: ["udp"] })]]),
      hostNetworks: [],
    }, { forward: () => {}, event: () => {}, broken: () => broken++ });
    const session = kernel.connect(kernel.slot("fuzz"));
    const out = new MessageBuffer();
    out.begin(MESSAGE.HELLO).u16(PROTOCOL_VERSION).u16(0).end();
    out.begin(MESSAGE.SUBSCRIBE).u32(0).u32(RIGHT.CONTAIN).raw(new TextEncoder().encode("udp"))
      .end();
    for (let i = 0; i < 4; i++) {
      out.begin(0x81 + random(16));
      for (let j = random(8); j > 0; j--) out.u32(random(3) === 0 ? random(0xffffffff) : random(4));
      out.end();
    }
    if (random(2) === 0) out.bytes[random(out.length)] = random(256);
    session.space().set(out.bytes.subarray(0, out.length));
    session.take(out.length, 1);
    assert.ok(broken <= 1);
  }
});
