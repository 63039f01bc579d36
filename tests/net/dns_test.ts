import assert from "node:assert/strict";
import fc from "fast-check";
import {
  dnsAddress,
  type DnsMessage,
  dnsRcodeName,
  dnsValues,
  parseDns,
} from "../../lib/net/dns.ts";

const HEADER = [0x12, 0x34, 0x81, 0x80];
/** `www.example.com`, at offset 12 when it is the first question. */
const WWW = [3, 0x77, 0x77, 0x77, 7, ...bytes("example"), 3, ...bytes("com"), 0];

function bytes(text: string): number[] {
  return [...new TextEncoder().encode(text)];
}

function parse(...parts: number[]): DnsMessage {
  const message = parseDns(Uint8Array.from(parts), 0, parts.length);
  assert.ok(message);
  return message;
}

Deno.test("parseDns() reads an answer with a compressed name", () => {
  const data = Uint8Array.from([
    ...[...HEADER, 0, 1, 0, 2, 0, 0, 0, 0],
    ...[...WWW, 0, 1, 0, 1],
    ...[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 5, 2, 0x6e, 0x73, 0xc0, 16],
    ...[0xc0, 45, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 1],
  ]);
  const message = parseDns(data, 0, data.length);
  assert.ok(message);
  assert.equal(message.malformed, undefined);
  assert.equal(message.questions[0]?.name, "www.example.com");
  const [cname, a] = message.answers;
  assert.ok(cname && a);
  assert.deepEqual(dnsValues(data, 0, cname), ["ns.example.com"]);
  assert.deepEqual([a.name, a.ttl, dnsAddress(data, a)], ["ns.example.com", 30, "192.0.2.1"]);
  assert.deepEqual([message.id, message.response, dnsRcodeName(message.rcode)], [
    0x1234,
    true,
    "NOERROR",
  ]);
});

Deno.test("parseDns() ends on names that go in circles, forward, or on for ever", () => {
  const question = [...HEADER, 0, 1, 0, 0, 0, 0, 0, 0];
  const cases: [number[], RegExp][] = [
    [[0xc0, 12], /goes in circles/],
    [[0xc0, 14, 0xc0, 12], /goes in circles/],
    [[1, 0x61, 0xc0, 12], /goes in circles/],
    [[0x80, 1], /label has a type/],
    [[3, 0x61], /cut off/],
    [[0xc0], /cut off/],
    [new Array(5).fill([63, ...bytes("a".repeat(63))]).flat(), /too long/],
    [[1, 0x61, 0, 0], /question is cut off/],
  ];
  for (const [name, problem] of cases) {
    assert.match(parse(...question, ...name).malformed ?? "none", problem);
  }
});

Deno.test("parseDns() keeps what comes before the damage", () => {
  const message = parse(
    ...[...HEADER, 0, 1, 0, 3, 0, 0, 0, 0, ...WWW, 0, 1, 0, 1],
    ...[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 1, 0xc0],
  );
  assert.equal(message.answers.length, 1);
  assert.match(message.malformed ?? "", /cut off/);
});

Deno.test("parseDns() escapes what is not printable, so that two names do not look the same", () => {
  const name = (label: number[]) =>
    parse(...HEADER, 0, 1, 0, 0, 0, 0, 0, 0, label.length, ...label, 0, 0, 1, 0, 1)
      .questions[0]?.name;
  assert.equal(name(bytes("a.b")), "a\\.b");
  assert.equal(name([0, 0xff]), "\\000\\255");
  assert.equal(name(bytes("a\\b")), "a\\\\b");
});

Deno.test("parseDns() reads any bytes in bounded time, and none beyond the message", () => {
  const pieces = fc.constantFrom(
    [0xc0, 12],
    [0xc0, 13],
    [1, 0x61],
    [0],
    [0, 1, 0, 1],
    [0, 0, 0, 9, 0, 4, 1, 2, 3, 4],
    WWW,
  );
  const near = fc.array(pieces, { maxLength: 30 }).map((parts) =>
    Uint8Array.from([...HEADER, 0, 2, 0, 9, 0, 9, 0, 9, ...parts.flat()])
  );
  fc.assert(
    fc.property(fc.oneof(near, fc.uint8Array({ maxLength: 200 })), (data) => {
      const alone = parseDns(data, 0, data.length);
      const memory = new Uint8Array(data.length + 40).fill(0x41);
      memory.set(data, 20);
      const inside = parseDns(memory, 20, 20 + data.length);
      const shift = (message: DnsMessage | undefined) =>
        JSON.stringify(message, (key, value) => key.startsWith("data") ? undefined : value);
      assert.equal(shift(inside), shift(alone));
      for (const record of alone?.answers ?? []) {
        assert.ok(record.dataEnd <= data.length);
        dnsValues(data, 0, record);
      }
    }),
    { numRuns: 5000 },
  );
});

Deno.test("parseDns() is not slowed down by a message made of pointers", () => {
  // 32,000 pointers, each to the one before: quadratic without a limit.
  const data = new Uint8Array(65_535);
  data.set([...HEADER, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
  for (let at = 14; at + 1 < data.length; at += 2) {
    const back = Math.min(at - 2, 0x3fff);
    data[at] = 0xc0 | (back >> 8);
    data[at + 1] = back & 0xff;
  }
  assert.match(parseDns(data, 0, data.length)?.malformed ?? "", /in circles/);
});
