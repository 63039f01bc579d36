/** What a scanner may ask of streams, and what ends it: the kernel's end of the protocol, with bytes in memory. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { MESSAGE, MessageBuffer, RIGHT } from "../../../niapp/sdk/protocol.ts";
import { Session } from "../../../niapp/sdk/session.ts";
import type { Scanner, Stream, StreamHandler } from "../../../niapp/sdk/mod.ts";
import { TCP } from "../../../lib/net/packet.ts";
import { FrameRef } from "../../../lib/ni/frame.ts";
import { NiKernel } from "../../../lib/ni/kernel.ts";
import type { ScannerRights } from "../../../lib/ni/rights.ts";
import type { ScannerSession } from "../../../lib/ni/scanner_session.ts";
import { frameMemory } from "../../../lib/sys/packet_socket.ts";
import { rights } from "../support.ts";
import { build, type Segment } from "./bench_table.ts";

const { SYN, ACK } = TCP;
const RIGHTS = rights({
  onFailure: "closed",
  streams: { read: ["tcp dst port 80"], contain: ["tcp dst port 25 and dst host 198.51.100.2"] },
  injections: [
    { name: "frame", frame: Uint8Array.of(1) },
    { name: "note", frame: new TextEncoder().encode("NOTE"), kind: "stream" },
  ],
});

/** A kernel with one scanner, whose bytes go from hand to hand. */
class Talk {
  readonly kernel: NiKernel;
  readonly broken: string[] = [];
  readonly events: Record<string, unknown>[] = [];
  /** Payloads that left to the network. */
  readonly left: string[] = [];
  resets = 0;
  session: ScannerSession;
  readonly #memory = frameMemory(4096);
  readonly #frame = new FrameRef();

  constructor(its: ScannerRights = RIGHTS) {
    this.kernel = new NiKernel({
      linkType: 1,
      prevent: [],
      scanners: new Map([["test", its]]),
      hostNetworks: [],
    }, {
      forward: (memory, start, end, direction) => {
        if (((memory.data[start + 47] as number) & TCP.RST) !== 0) this.resets++;
        const payload = start + 34 + ((memory.data[start + 46] as number) >> 4) * 4;
        if (direction === "from-host" && payload < end) {
          this.left.push(new TextDecoder().decode(memory.data.subarray(payload, end)));
        }
      },
      event: (event) => this.events.push(event),
      broken: (_name, why) => this.broken.push(why),
    });
    this.kernel.setTime(1_700_000_000, 0);
    this.session = this.kernel.connect("test");
  }

  /** Gives the kernel what a scanner says. */
  say(bytes: Uint8Array): void {
    this.session.space().set(bytes);
    this.session.take(bytes.length, this.kernel.now);
    this.kernel.settle();
  }

  /** Gives both what the other one has said, until nobody has anything to say. */
  exchange(scanner: Session): void {
    for (;;) {
      const answer = scanner.output().slice();
      if (answer.length > 0) this.say(answer);
      const { out } = this.session;
      if (out.length === 0) {
        if (answer.length === 0) return;
        continue;
      }
      scanner.space().set(out.bytes.subarray(0, out.length));
      const count = out.length;
      out.length = 0;
      scanner.take(count);
    }
  }

  /** A segment comes. */
  segment(direction: "from-host" | "to-host", segment: Segment): void {
    const bytes = build(direction, segment);
    this.#memory.data.fill(0, 0, 32);
    this.#memory.data.set(bytes, 32);
    const frame = this.#frame;
    frame.data = this.#memory.data;
    frame.start = 32;
    frame.end = 32 + bytes.length;
    frame.wireLength = bytes.length;
    frame.direction = direction;
    frame.seconds = 1_700_000_000;
    this.kernel.frame(this.#memory, frame);
    this.kernel.settle();
  }

  /** Shakes hands. */
  open(port = 25): void {
    const ports = [40_000, port] as const;
    this.segment("from-host", { at: -1, flags: SYN, ports });
    this.segment("to-host", { at: -1, flags: SYN | ACK, ports });
    this.segment("from-host", { ports });
  }
}

function scanner(
  ports: number[],
  right: "read" | "contain",
  stream: (stream: Stream) => StreamHandler | void,
  more: Partial<Scanner> = {},
): Session {
  return new Session({
    name: "test",
    start: (ni) => {
      ni.subscribeStreams(ports, right);
    },
    stream,
    ...more,
  });
}

Deno.test("streams of scanners: cut, injected and passed, with an alert that has the original", () => {
  const talk = new Talk();
  const client = scanner([25], "contain", (stream) => ({
    data({ direction, offset, bytes }) {
      assert.ok(stream.held && stream.opener === "host" && stream.server.port === 25);
      const original = { direction, offset, length: bytes.length };
      stream.alert({ signature: "seen", action: "blocked" }, original);
      stream.cut(direction, offset + 2, 4);
      stream.inject(direction, offset + 2, 1);
      stream.pass(direction, offset + bytes.length);
    },
  }));
  talk.exchange(client);
  talk.open();
  talk.exchange(client);
  talk.segment("from-host", { text: "good evening" });
  assert.deepEqual(talk.left, []);
  talk.exchange(client);
  assert.deepEqual(talk.left, ["goNOTEvening"]);
  assert.deepEqual(talk.broken, []);
  const [event] = talk.events;
  assert.equal(event?.["dest_port"], 25);
  assert.equal(atob(event?.["payload"] as string), "good evening");
});

Deno.test("streams of scanners: who may only read decides nothing, and gets no more than its rights", () => {
  const talk = new Talk();
  const granted: (string | undefined)[] = [];
  const seen: string[] = [];
  const client = scanner([80, 25, 443], "contain", (stream) => {
    seen.push(`${stream.server.port} ${stream.held}`);
    return {
      data: ({ direction, offset, bytes }) => stream.pass(direction, offset + bytes.length),
    };
  }, { subscribed: (_number, right) => granted.push(right) });
  talk.exchange(client);
  for (const port of [25, 80, 443]) talk.open(port);
  talk.exchange(client);
  assert.deepEqual(granted, ["contain"]);
  // What it may contain is asked of the filters for that; a right to read 80 gives no right to hold it.
  assert.deepEqual(seen, ["25 true"]);
  const reading = new Talk(rights({ streams: { read: ["tcp"], contain: [] } }));
  const reader = scanner([], "contain", (stream) => {
    seen.push(`${stream.server.port} ${stream.held}`);
    return { data: () => {} };
  });
  reading.exchange(reader);
  reading.open(443);
  reading.exchange(reader);
  assert.equal(seen.at(-1), "443 false");
  reading.segment("from-host", { text: "good evening", ports: [40_000, 443] });
  assert.deepEqual(reading.left, ["good evening"]);
});

/** Messages that a scanner is ended for. */
const WRONG: readonly [string, (out: MessageBuffer) => void, RegExp][] = [
  ["a connection that it was not given", (out) => {
    out.begin(MESSAGE.PASS).u32(99).u32(0).u64(1).u32(0).u32(0).end();
  }, /not given/],
  ["an injection of a frame", (out) => {
    out.begin(MESSAGE.STREAM_INJECT).u32(0).u32(0).u64(0).u32(0).u32(0).end();
  }, /not registered/],
  ["an injection that is not registered", (out) => {
    out.begin(MESSAGE.STREAM_INJECT).u32(0).u32(0).u64(0).u32(7).u32(0).end();
  }, /not registered/],
  ["a direction that is none", (out) => {
    out.begin(MESSAGE.MORE).u32(0).u32(2).u64(0).end();
  }, /direction/],
  ["a cut far away", (out) => {
    out.begin(MESSAGE.CUT).u32(0).u32(0).u64(2 ** 40).u64(1).end();
  }, /far beyond/],
  ["a message that is too short", (out) => {
    out.begin(MESSAGE.CUT).u32(0).u32(0).end();
  }, /too short/],
  ["ports in the wrong order", (out) => {
    out.begin(MESSAGE.SUBSCRIBE_STREAMS).u32(1).u32(RIGHT.READ).u32(3).u32(1).u16(9).u16(1).end();
  }, /ends before/],
];

for (const [name, write, why] of WRONG) {
  Deno.test(`streams of scanners: ended for ${name}, and its connections are killed`, () => {
    const talk = new Talk();
    const client = scanner([25], "contain", () => ({ data: () => {} }));
    talk.exchange(client);
    talk.open();
    talk.exchange(client);
    const out = new MessageBuffer();
    write(out);
    talk.say(out.bytes.subarray(0, out.length));
    assert.match(talk.broken.join(), why);
    assert.ok(talk.resets >= 2);
  });
}

Deno.test("streams of scanners: refused while the scanner is away and on_failure is closed", () => {
  const talk = new Talk();
  let answered = 0;
  talk.segment("from-host", { at: -1, flags: SYN });
  talk.open(80); // not its own
  answered = talk.kernel.streamCounters.connections;
  assert.equal(answered, 0);
  const open = new Talk({ ...RIGHTS, onFailure: "open" });
  open.open();
  open.segment("from-host", { text: "good evening" });
  assert.deepEqual(open.left, ["good evening"]);
});

Deno.test("streams of scanners: when it dies, open passes what waits, closed kills", () => {
  for (const onFailure of ["open", "closed"] as const) {
    const talk = new Talk({ ...RIGHTS, onFailure });
    const client = scanner([25], "contain", () => ({ data: () => {} }));
    talk.exchange(client);
    talk.open();
    talk.segment("from-host", { text: "good evening" });
    talk.exchange(client);
    assert.deepEqual(talk.left, []);
    talk.kernel.disconnect(talk.session);
    assert.deepEqual(talk.left, onFailure === "open" ? ["good evening"] : []);
    assert.equal(talk.resets > 0, onFailure === "closed");
  }
});

Deno.test("streams of scanners: any bytes end it or do nothing, and never anything else", () => {
  const types = Object.values(MESSAGE).filter((type) => type >= 0x80);
  const message = fc.tuple(
    fc.constantFrom(...types),
    fc.array(fc.oneof(fc.nat(5), fc.integer()), { maxLength: 12 }),
  );
  fc.assert(
    fc.property(fc.array(message, { maxLength: 30 }), (messages) => {
      const talk = new Talk();
      const client = scanner([25], "contain", () => ({ data: () => {} }));
      talk.exchange(client);
      talk.open();
      talk.exchange(client);
      talk.segment("from-host", { text: "good evening" });
      const out = new MessageBuffer();
      for (const [type, words] of messages) {
        out.begin(type);
        for (const word of words) out.u32(word >>> 0);
        out.end();
      }
      talk.say(out.bytes.subarray(0, out.length));
      talk.segment("from-host", { at: 12, text: "and more" });
      talk.segment("to-host", { ack: 4 });
    }),
    { numRuns: 200 },
  );
});
