import assert from "node:assert/strict";
import fc from "fast-check";
import {
  align4,
  attributeEnd,
  eachAttribute,
  findAttribute,
  MessageWriter,
  NLMSG_HDRLEN,
  readString,
} from "../../lib/sys/netlink_message.ts";

Deno.test("netlink_message: a message has the bytes that netlink(7) wants", () => {
  const w = new MessageWriter(256);
  w.begin(0x0a0c, 0x405, 7);
  w.nfgen(1, 10);
  w.string(1, "abc");
  const nest = w.beginNest(3);
  w.u8(1, 6);
  w.u16Net(2, 0x1234);
  w.u32Net(3, 0x01020304);
  w.u32(4, 0x01020304);
  w.endNest(nest);
  const at = w.reserve(5, 6);
  w.words[at] = 0x04030201;
  w.words[at + 1] = 0x0605;
  w.end();
  // deno-fmt-ignore
  assert.deepEqual([...w.bytes.subarray(0, w.length)], [
    76, 0, 0, 0,  0x0c, 0x0a, 5, 4,  7, 0, 0, 0,  0, 0, 0, 0,
    1, 0, 0, 10,
    8, 0, 1, 0,  97, 98, 99, 0,
    36, 0, 3, 0x80,
    5, 0, 1, 0,  6, 0, 0, 0,
    6, 0, 2, 0,  0x12, 0x34, 0, 0,
    8, 0, 3, 0,  1, 2, 3, 4,
    8, 0, 4, 0,  4, 3, 2, 1,
    10, 0, 5, 0,  1, 2, 3, 4,  5, 6, 0, 0,
  ].slice(0, w.length));
  assert.equal(w.words[0], w.length);
});

Deno.test("netlink_message: what is written is found again", () => {
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.integer({ min: 1, max: 0x3fff }), fc.uint8Array({ maxLength: 40 })), {
      maxLength: 20,
    }),
    (attributes) => {
      const w = new MessageWriter(4096);
      w.begin(1, 0, 1);
      for (const [type, data] of attributes) w.attribute(type, data);
      w.end();
      const view = new DataView(w.bytes.buffer);
      const found: [number, Uint8Array][] = [];
      eachAttribute(view, NLMSG_HDRLEN, w.length, (type, start, end) => {
        found.push([type, w.bytes.slice(start, end)]);
      });
      assert.deepEqual(found, attributes.map(([type, data]) => [type, Uint8Array.from(data)]));
      for (const [type] of attributes) {
        const at = findAttribute(view, type, NLMSG_HDRLEN, w.length);
        const first = attributes.find((a) => a[0] === type)?.[1] ?? new Uint8Array();
        assert.deepEqual(w.bytes.slice(at + 4, attributeEnd(view, at)), Uint8Array.from(first));
      }
      assert.equal(findAttribute(view, 0, NLMSG_HDRLEN, w.length), -1);
    },
  ));
});

Deno.test("netlink_message: any bytes are read to their end and not beyond", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, start) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let last = start;
    eachAttribute(view, start, bytes.length, (_, from, to) => {
      assert.ok(from >= last + 4 && to >= from && to <= bytes.length);
      last = to;
    });
    for (const type of [0, 1, 2, 3]) {
      const at = findAttribute(view, type, start, bytes.length);
      assert.ok(at === -1 || (at >= start && attributeEnd(view, at) <= bytes.length));
    }
  }));
});

Deno.test("netlink_message: what does not fit is an error and not a broken message", () => {
  const w = new MessageWriter(64);
  w.begin(1, 0, 1);
  assert.throws(() => w.attribute(1, new Uint8Array(64)), /buffer is full/);
  const large = new MessageWriter(1 << 18);
  large.begin(1, 0, 1);
  const nest = large.beginNest(1);
  for (let i = 0; i < 3; i++) large.attribute(1, new Uint8Array(30_000));
  assert.throws(() => large.endNest(nest), /65535 is the most/);
});

Deno.test("netlink_message: strings end at a zero byte or at their attribute's end", () => {
  const bytes = new TextEncoder().encode("abc\0def");
  assert.equal(readString(bytes, 0, 7), "abc");
  assert.equal(readString(bytes, 4, 7), "def");
  assert.equal(readString(bytes, 3, 3), "");
  assert.deepEqual([0, 1, 4, 5].map(align4), [0, 4, 4, 8]);
});
