import assert from "node:assert/strict";
import fc from "fast-check";
import {
  compareIp,
  inRange,
  type IpAddress,
  ipFromBytes,
  ipKind,
  type IpRange,
  ipValue,
  mergeRanges,
  parseIp,
  prefixLength,
  prefixRange,
  rangeText,
  unmapIp,
} from "../../lib/net/ip.ts";

function ip(text: string): IpAddress {
  const address = parseIp(text);
  assert.ok(address, text);
  return address;
}

const anyIp = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  // Few set bytes, so that runs of zeros, mapped addresses and neighbours come up.
  fc.uint8Array({ minLength: 16, maxLength: 16, max: 1 }),
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map((b) => [...new Uint8Array(10), 255, 255, ...b])
    .map((b) => Uint8Array.from(b)),
).map(ipFromBytes);

Deno.test("addresses print in canonical form", () => {
  const cases = [
    ["0.0.0.0", "0.0.0.0"],
    ["255.255.255.255", "255.255.255.255"],
    ["::", "::"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"], // RFC 5952 4.2.3: the first of equal runs
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"], // RFC 5952 4.2.2: one group stays
    ["2001:0db8::0001", "2001:db8::1"],
    ["1:2:3:4:5:6::", "1:2:3:4:5:6::"],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.1"],
    ["::ffff:c000:201", "::ffff:192.0.2.1"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
  ] as const;
  for (const [text, canonical] of cases) assert.equal(ip(text).text, canonical);
});

Deno.test("text that is not exactly an address is refused", () => {
  const bad = [
    "",
    " ",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4 ",
    " 1.2.3.4",
    "1.2.3.-4",
    "0x1.2.3.4",
    "1.2.3.4/8",
    "1..2.3",
    "１.2.3.4",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7::8",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "[::1]",
    "::1.2.3",
    "::1.2.3.4:5",
    "1.2.3.4::",
    ":1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:",
  ];
  for (const text of bad) assert.equal(parseIp(text), undefined, JSON.stringify(text));
});

Deno.test("an address reads back from its text", () => {
  fc.assert(fc.property(anyIp, (address) => {
    assert.deepEqual(parseIp(address.text), address);
  }));
});

Deno.test("reading an address never throws, and takes only canonical bytes", () => {
  const near = fc.string({
    unit: fc.constantFrom(..."0123456789abcdefFG:.%/ []x-"),
    maxLength: 45,
  });
  fc.assert(fc.property(fc.oneof(fc.string({ unit: "binary" }), near), (text) => {
    const address = parseIp(text);
    if (address !== undefined) assert.deepEqual(parseIp(address.text), address);
  }));
});

Deno.test("bytes are copied, and other lengths refused", () => {
  const bytes = Uint8Array.of(192, 0, 2, 1);
  const address = ipFromBytes(bytes);
  bytes[0] = 10;
  assert.equal(address.bytes[0], 192);
  assert.throws(() => ipFromBytes(new Uint8Array(5)), /5 bytes: 4 or 16/);
});

Deno.test("order is that of the values, IPv4 first", () => {
  fc.assert(fc.property(anyIp, anyIp, (a, b) => {
    const by = a.family !== b.family ? a.family - b.family : ipValue(a) < ipValue(b) ? -1 : 1;
    const expected = a.text === b.text ? 0 : Math.sign(by);
    assert.equal(Math.sign(compareIp(a, b)), expected);
  }));
});

Deno.test("a mapped address is unmapped, any other stays", () => {
  assert.equal(unmapIp(ip("::ffff:10.1.2.3")).text, "10.1.2.3");
  for (const text of ["10.1.2.3", "::fffe:a01:203", "1::ffff:a01:203", "::a01:203"]) {
    const address = ip(text);
    assert.equal(unmapIp(address), address);
  }
});

Deno.test("a prefix is its range", () => {
  assert.equal(rangeText(prefixRange(ip("192.0.2.77"), 24)), "192.0.2.0/24");
  const p29 = prefixRange(ip("192.0.2.77"), 29);
  assert.deepEqual([p29.first.text, p29.last.text], ["192.0.2.72", "192.0.2.79"]);
  assert.equal(rangeText(prefixRange(ip("2001:db8::1"), 32)), "2001:db8::/32");
  assert.equal(rangeText(prefixRange(ip("10.0.0.1"), 32)), "10.0.0.1");
  assert.equal(rangeText(prefixRange(ip("10.0.0.1"), 0)), "0.0.0.0/0");
  for (const length of [-1, 33, 1.5, NaN]) {
    assert.throws(() => prefixRange(ip("10.0.0.1"), length), RangeError);
  }
  fc.assert(fc.property(anyIp, fc.nat(128), (address, n) => {
    const length = n % (address.bytes.length * 8 + 1);
    const range = prefixRange(address, length);
    assert.ok(inRange(address, range));
    assert.equal(prefixLength(range), length);
    assert.equal(
      ipValue(range.last) - ipValue(range.first) + 1n,
      1n << BigInt(address.bytes.length * 8 - length),
    );
  }));
});

Deno.test("a range that is no prefix is written with both ends", () => {
  const range = { first: ip("10.0.0.1"), last: ip("10.0.0.2") };
  assert.equal(prefixLength(range), undefined);
  assert.equal(rangeText(range), "10.0.0.1-10.0.0.2");
  assert.equal(prefixLength({ first: ip("10.0.0.1"), last: ip("10.0.0.4") }), undefined);
});

Deno.test("the other family is in no range", () => {
  assert.ok(!inRange(ip("::"), prefixRange(ip("0.0.0.0"), 0)));
  assert.ok(!inRange(ip("1.2.3.4"), prefixRange(ip("::"), 0)));
});

Deno.test("merged ranges hold the same addresses, and are ordered and apart", () => {
  const small = fc.tuple(fc.constantFrom<4 | 6>(4, 6), fc.nat(40), fc.nat(10)).map(
    ([family, first, size]): IpRange => ({
      first: lowAddress(family, first),
      last: lowAddress(family, first + size),
    }),
  );
  fc.assert(fc.property(fc.array(small, { maxLength: 8 }), (ranges) => {
    const merged = mergeRanges(ranges);
    for (const family of [4, 6] as const) {
      for (let i = 0; i <= 55; i++) {
        const address = lowAddress(family, i);
        const before = ranges.some((r) => inRange(address, r));
        assert.equal(merged.filter((r) => inRange(address, r)).length, before ? 1 : 0);
      }
    }
    for (let i = 1; i < merged.length; i++) {
      const [a, b] = [merged[i - 1] as IpRange, merged[i] as IpRange];
      assert.ok(compareIp(a.last, b.first) < 0);
      assert.ok(a.last.family !== b.first.family || ipValue(a.last) + 1n < ipValue(b.first));
    }
  }));
});

function lowAddress(family: 4 | 6, value: number): IpAddress {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  bytes[bytes.length - 1] = value;
  return ipFromBytes(bytes);
}

Deno.test("kinds of addresses", () => {
  const kinds = {
    "0.0.0.0": "unspecified",
    "127.0.1.1": "loopback",
    "169.254.1.1": "link-local",
    "224.0.0.1": "multicast",
    "255.255.255.255": "broadcast",
    "198.51.100.1": "host",
    "::": "unspecified",
    "::1": "loopback",
    "::2": "host",
    "fe80::1": "link-local",
    "febf::1": "link-local",
    "fec0::1": "host",
    "ff02::1": "multicast",
    "2001:db8::1": "host",
  };
  for (const [text, kind] of Object.entries(kinds)) assert.equal(ipKind(ip(text)), kind, text);
});
