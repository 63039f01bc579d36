import assert from "node:assert/strict";
import fc from "fast-check";
import {
  CaptureError,
  captureFrame,
  captureHeader,
  CaptureParser,
  CaptureRecord,
} from "../../lib/net/capture.ts";
import { filesBelow, sharedTest } from "../shared_data.ts";

interface Frame {
  readonly bytes: Uint8Array;
  readonly wireLength: number;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly linkType: number;
}

function readAll(pieces: Iterable<Uint8Array>): Frame[] {
  const parser = new CaptureParser();
  const record = new CaptureRecord();
  const frames: Frame[] = [];
  for (const piece of pieces) {
    parser.push(piece);
    while (parser.read(record)) {
      frames.push({
        bytes: record.data.slice(record.start, record.end),
        wireLength: record.wireLength,
        seconds: record.seconds,
        nanoseconds: record.nanoseconds,
        linkType: record.linkType,
      });
    }
  }
  parser.finish();
  return frames;
}

function* cut(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] as number;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const formats = fc.record({
  format: fc.constantFrom("pcap" as const, "pcapng" as const),
  precision: fc.constantFrom("us" as const, "ns" as const),
  linkType: fc.constantFrom(1, 101, 113),
});

Deno.test("CaptureParser reads what was written, whatever pieces it comes in", () => {
  const frames = fc.array(
    fc.record({
      bytes: fc.uint8Array({ maxLength: 80 }),
      more: fc.nat(2000),
      seconds: fc.nat(0xffffffff),
      nanoseconds: fc.nat(999_999_999),
    }),
    { maxLength: 20 },
  );
  fc.assert(fc.property(
    formats,
    frames,
    fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1 }),
    (format, written, sizes) => {
      const file = join([
        captureHeader(format),
        ...written.map((f) =>
          captureFrame(format, f.bytes, f.seconds, f.nanoseconds, f.bytes.length + f.more)
        ),
      ]);
      const step = format.precision === "ns" ? 1 : 1000;
      assert.deepEqual(
        readAll(cut(file, sizes)),
        written.map((f) => ({
          bytes: f.bytes,
          wireLength: f.bytes.length + f.more,
          seconds: f.seconds,
          nanoseconds: Math.floor(f.nanoseconds / step) * step,
          linkType: format.linkType,
        })),
      );
    },
  ));
});

Deno.test("CaptureParser reads damaged captures without another error than its own", () => {
  fc.assert(
    fc.property(
      formats,
      fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 6 }),
      fc.nat(400),
      (format, changes, length) => {
        const file = join([
          captureHeader(format),
          captureFrame(format, new Uint8Array(60).fill(7), 1, 2),
          captureFrame(format, new Uint8Array(61).fill(8), 3, 4),
        ]);
        for (const [at, value] of changes) if (at < file.length) file[at] = value;
        try {
          for (const frame of readAll([file.subarray(0, length)])) {
            assert.ok(frame.bytes.length <= file.length);
          }
        } catch (error) {
          if (!(error instanceof CaptureError)) throw error;
        }
      },
    ),
    { numRuns: 3000 },
  );
});

Deno.test("CaptureParser says what is wrong, and where", () => {
  assert.throws(() => readAll([new Uint8Array(64)]), /neither pcap nor pcapng \(byte 0\)/);
  const format = { format: "pcap", precision: "us", linkType: 1 } as const;
  const whole = join([captureHeader(format), captureFrame(format, new Uint8Array(60), 1, 2)]);
  assert.throws(() => readAll([whole.subarray(0, 90)]), /ends inside a record \(byte 24\)/);
  new DataView(whole.buffer).setUint32(32, 0x7fffffff, true);
  assert.throws(() => readAll([whole]), /2147483647 bytes is not believed \(byte 24\)/);
});

Deno.test("CaptureParser reads the other byte order", () => {
  const view = new DataView(new ArrayBuffer(24 + 16 + 2));
  view.setUint32(0, 0xa1b2c3d4);
  view.setUint16(4, 2);
  view.setUint32(20, 101);
  view.setUint32(24, 5);
  view.setUint32(28, 6);
  view.setUint32(32, 2);
  view.setUint32(36, 9);
  view.setUint16(40, 0xabcd);
  assert.deepEqual(readAll([new Uint8Array(view.buffer)]), [{
    bytes: new Uint8Array([0xab, 0xcd]),
    wireLength: 9,
    seconds: 5,
    nanoseconds: 6000,
    linkType: 101,
  }]);
});

sharedTest(
  "CaptureParser finds the frames that tcpdump finds, in every capture",
  "ni",
  async (directory) => {
    const files = filesBelow(directory, [".pcap", ".pcapng", ".cap"]);
    assert.ok(files.length > 250, `only ${files.length} captures`);
    const differences: string[] = [];
    for (const file of files) {
      let frames: Frame[];
      try {
        frames = readAll([Deno.readFileSync(file)]);
      } catch (error) {
        if (!(error instanceof CaptureError)) throw error;
        frames = [];
        const { stderr } = await new Deno.Command("tcpdump", { args: ["-r", file, "--count"] })
          .output();
        // What tcpdump cannot read to its end either is damaged.
        const theirs = new TextDecoder().decode(stderr);
        if (!/truncated|bogus|unknown file format|invalid|not supported/.test(theirs)) {
          differences.push(`${file}: ${error.message}, but tcpdump says ${theirs}`);
        }
        continue;
      }
      const { stdout, stderr } = await new Deno.Command("tcpdump", {
        args: ["-nn", "-tt", "--nano", "-w", "-", "-r", file],
      }).output();
      // libpcap refuses captures that mix link types.
      if (/interface.*(different|link)/.test(new TextDecoder().decode(stderr))) continue;
      const copy = readAll([stdout]);
      if (copy.length !== frames.length) {
        differences.push(`${file}: ${frames.length} frames, tcpdump ${copy.length}`);
        continue;
      }
      for (const [i, frame] of frames.entries()) {
        const theirs = copy[i] as Frame;
        if (
          frame.bytes.length !== theirs.bytes.length ||
          frame.bytes.some((byte, at) => byte !== theirs.bytes[at]) ||
          frame.seconds !== theirs.seconds ||
          frame.nanoseconds !== theirs.nanoseconds || frame.wireLength !== theirs.wireLength
        ) {
          differences.push(`${file}: frame ${i} differs`);
          break;
        }
      }
    }
    assert.deepEqual(differences, []);
  },
);
