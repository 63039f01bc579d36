import assert from "node:assert/strict";
import fc from "fast-check";
import { inRange, type IpAddress, ipFromBytes, ipValue } from "../../lib/net/ip.ts";
import { AddressRanks, IntervalSet } from "../../lib/pinhole/policy_intervals.ts";

Deno.test("an interval set counts and finds what holds a number", () => {
  const interval = fc.tuple(fc.integer({ min: -1, max: 60 }), fc.nat(30));
  fc.assert(fc.property(
    fc.array(fc.array(interval, { maxLength: 3 }), { maxLength: 120 }),
    (owners) => {
      const set = new IntervalSet(
        owners.map((list, id) => ({
          id,
          pairs: Int32Array.from(list.flatMap(([first, size]) => [first, first + size])),
        })),
      );
      const out = new Int32Array(set.size);
      for (let x = -2; x < 95; x++) {
        const expected = owners.flatMap((list, id) =>
          list.filter(([first, size]) => first <= x && x <= first + size).map(() => id)
        );
        assert.equal(set.count(x), expected.length);
        assert.equal(set.collect(x, out), expected.length);
        const found = [...out.subarray(0, expected.length)].sort((a, b) => a - b);
        assert.deepEqual(found, expected);
      }
    },
  ));
});

Deno.test("ranks tell what addresses themselves tell", () => {
  const bytes = (length: number) =>
    fc.oneof(
      fc.uint8Array({ minLength: length, maxLength: length }),
      fc.constantFrom(0, 1, 254, 255).map((b) => new Uint8Array(length).fill(b)),
      // Neighbours: only the first and the last byte differ.
      fc.tuple(fc.nat(2), fc.nat(3)).map(([a, b]) => {
        const out = new Uint8Array(length);
        [out[0], out[length - 1]] = [a, b];
        return out;
      }),
    ).map(ipFromBytes);
  const pair = (a: IpAddress, b: IpAddress) =>
    ipValue(a) <= ipValue(b) ? { first: a, last: b } : { first: b, last: a };
  const ranges = fc.array(
    fc.oneof(fc.tuple(bytes(4), bytes(4)), fc.tuple(bytes(16), bytes(16))),
    { maxLength: 30 },
  ).map((list) => list.map(([a, b]) => pair(a, b)));
  const addresses = fc.array(fc.oneof(bytes(4), bytes(16)), { maxLength: 30 });
  fc.assert(fc.property(ranges, addresses, (ranges, others) => {
    const ranks = new AddressRanks(ranges);
    const all = [...others, ...ranges.flatMap((r) => [r.first, r.last])];
    for (const range of ranges) {
      const [first, last] = [ranks.rank(range.first), ranks.rank(range.last)];
      for (const address of all) {
        const rank = ranks.rank(address);
        assert.equal(first <= rank && rank <= last, inRange(address, range));
      }
    }
  }));
});
