import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeVerdict, parseAgentMessage } from "../../lib/broker/wire.ts";

/** A message as docs/protocols/agent-broker.md describes it, made without the code under test. */
function message(type: number, length: number, fill: (v: DataView) => void = () => {}): Uint8Array<
  ArrayBuffer
> {
  const view = new DataView(new ArrayBuffer(length));
  view.setUint32(0, 0x31525044, true);
  view.setUint16(4, type, true);
  view.setUint16(6, length, true);
  view.setUint32(8, 77, true);
  fill(view);
  return new Uint8Array(view.buffer);
}

const hello = (name: string) =>
  message(1, 96, (v) => {
    v.setUint32(16, 1, true);
    new Uint8Array(v.buffer).set(new TextEncoder().encode(name), 24);
  });

const open = (change: (v: DataView) => void = () => {}) =>
  message(3, 88, (v) => {
    v.setUint8(16, 4);
    v.setUint8(17, 6);
    v.setUint16(18, 20, true);
    new Uint8Array(v.buffer).set([198, 51, 100, 7], 20);
    new Uint8Array(v.buffer).set([0x20, 0x01, 0x0d, 0xb8], 36);
    v.setUint16(52, 21, true);
    v.setBigUint64(56, 1_700_000_000_123_456_789n, true);
    change(v);
  });

Deno.test("parseAgentMessage() reads HELLO", () => {
  assert.deepEqual(parseAgentMessage(hello("ftpd")), {
    type: "hello",
    sequence: 77,
    delegate: "ftpd",
  });
  assert.deepEqual(parseAgentMessage(hello("")), { type: "hello", sequence: 77, delegate: "" });
});

Deno.test("parseAgentMessage() reads OPEN", () => {
  const m = parseAgentMessage(open());
  assert.ok(typeof m === "object" && m.type === "open");
  assert.equal(m.source?.text, "198.51.100.7");
  assert.equal(m.otherSource, undefined);
  assert.equal(m.sourcePort, 20);
  assert.equal(m.controlAddress?.text, "2001:db8::");
  assert.equal(m.controlPort, 21);
  assert.equal(m.boundAt, 1_700_000_000_123);
});

Deno.test("parseAgentMessage() reads an OPEN whose peer is disputed, or not clear", () => {
  const disputed = parseAgentMessage(open((v) => {
    v.setUint16(54, 1, true);
    v.setUint8(80, 4);
    new Uint8Array(v.buffer).set([203, 0, 113, 9], 64);
  }));
  assert.ok(typeof disputed === "object" && disputed.type === "open");
  assert.equal(disputed.source?.text, "198.51.100.7");
  assert.equal(disputed.otherSource?.text, "203.0.113.9");
  const unclear = parseAgentMessage(open((v) => {
    v.setUint16(54, 2, true);
    v.setUint8(16, 0);
    new Uint8Array(v.buffer).fill(0, 20, 36);
  }));
  assert.ok(typeof unclear === "object" && unclear.type === "open");
  assert.equal(unclear.source, undefined);
});

Deno.test("parseAgentMessage() reads CHANNEL as the OPEN that it is, and CLOSE", () => {
  const first = parseAgentMessage(open((v) => v.setUint16(4, 2, true)));
  assert.deepEqual(first, { ...parseAgentMessage(open()) as object, type: "channel" });
  const close = message(4, 24, (v) => v.setUint32(16, 5, true));
  assert.deepEqual(parseAgentMessage(close), { type: "close", sequence: 77, id: 5 });
});

for (
  const [what, bytes, why] of [
    ["an empty message", new Uint8Array(0), /shorter than a header/],
    ["a wrong magic number", message(2, 16, (v) => v.setUint8(0, 0)), /magic/],
    ["a CHANNEL that asks for nothing", message(2, 16), /channel of 16/],
    ["a length that lies", message(2, 16, (v) => v.setUint16(6, 17, true)), /length/],
    ["a reserved field in use", message(2, 16, (v) => v.setUint32(12, 1, true)), /reserved/],
    ["an unknown type", message(9, 16), /type 9/],
    ["a HELLO of another version", message(1, 96), /version 0/],
    ["a HELLO that is too short", message(1, 95), /hello of 95/],
    ["a delegate with a slash", hello("../x"), /not a name/],
    ["a delegate without end", hello("x".repeat(64)), /not terminated/],
    ["a delegate with bytes behind its end", hello("a\0b"), /not terminated/],
    ["an unknown family", open((v) => v.setUint8(16, 5)), /family 5/],
    ["an IPv4 source with more bytes", open((v) => v.setUint8(24, 1)), /padding/],
    ["OPEN with unknown flags", open((v) => v.setUint8(54, 4)), /flags/],
    ["OPEN without a source", open((v) => v.setUint8(16, 0)), /source: family 0/],
    [
      "OPEN with a source that is not clear",
      open((v) => v.setUint8(54, 2)),
      /source: is not to be/,
    ],
    ["OPEN disputed by nobody", open((v) => v.setUint8(54, 1)), /other source: family 0/],
    ["OPEN with another source undisputed", open((v) => v.setUint8(80, 4)), /other source: is not/],
    ["OPEN with bytes at the end", open((v) => v.setUint8(87, 1)), /reserved/],
  ] as const
) {
  Deno.test(`parseAgentMessage() refuses ${what}`, () => {
    const result = parseAgentMessage(bytes as Uint8Array<ArrayBuffer>);
    assert.ok(typeof result === "string", JSON.stringify(result));
    assert.match(result, why);
  });
}

Deno.test("parseAgentMessage() never throws, whatever the bytes", () => {
  const start = fc.constantFrom(hello("ftpd"), open(), message(2, 16), message(4, 24));
  const mutated = fc.tuple(start, fc.array(fc.tuple(fc.nat(95), fc.nat(255)), { maxLength: 6 }))
    .map(([bytes, changes]) => {
      const copy = bytes.slice();
      for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
      return copy;
    });
  const random = fc.uint8Array({ maxLength: 256 }).map((b) => new Uint8Array(b));
  fc.assert(
    fc.property(fc.oneof(mutated, random), (bytes) => {
      const result = parseAgentMessage(bytes as Uint8Array<ArrayBuffer>);
      assert.ok(typeof result === "string" || typeof result.type === "string");
    }),
    { numRuns: 20_000 },
  );
});

Deno.test("encodeVerdict() has the documented layout and cuts a long reason", () => {
  const bytes = encodeVerdict(9, { kind: "open", id: 4242, why: "site.policy:7" }, false);
  const view = new DataView(bytes.buffer);
  assert.equal(bytes.length, 192);
  assert.equal(view.getUint32(0, true), 0x31525044);
  assert.equal(view.getUint16(4, true), 0x8001);
  assert.equal(view.getUint16(6, true), 192);
  assert.equal(view.getUint32(8, true), 9);
  assert.equal(view.getUint32(16, true), 0);
  assert.equal(view.getUint32(24, true), 4242);
  assert.equal(new TextDecoder().decode(bytes.subarray(32, 45)), "site.policy:7");
  const refused = encodeVerdict(9, { kind: "refused", why: "é".repeat(200) }, true);
  assert.equal(new DataView(refused.buffer).getUint32(16, true), 1);
  assert.equal(new DataView(refused.buffer).getUint32(20, true), 1);
  assert.equal(refused[191], 0, "the reason stays terminated");
});
