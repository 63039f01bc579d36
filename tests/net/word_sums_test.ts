import assert from "node:assert/strict";
import fc from "fast-check";
import { addWords, finishChecksum } from "../../lib/net/checksum.ts";
import { summedMemory, wordSumOf } from "../../lib/net/word_sums.ts";

/** As RFC 1071 says it. */
function slowly(data: Uint8Array, start: number, end: number): number {
  let sum = 0;
  for (let i = start; i < end; i++) sum += (data[i] as number) << (((i - start) & 1) === 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum >>> 16) + (sum & 0xffff);
  return ~sum & 0xffff;
}

Deno.test("checksums are the same in any memory, at any place and of any length", () => {
  const fast = summedMemory(70_000);
  assert.notEqual(wordSumOf(fast.buffer), undefined);
  const usual = new Uint8Array(fast.length);
  assert.equal(wordSumOf(usual.buffer), undefined);
  const length = fc.oneof(fc.nat(200), fc.nat(3000), fc.nat(65_536));
  fc.assert(fc.property(fc.nat(100), length, fc.nat(255), fc.nat(), (start, length, fill, seed) => {
    // Random bytes, and the largest sums that there are.
    for (let i = 0; i < usual.length; i++) {
      usual[i] = fill > 200 ? 0xff : Math.imul(i + seed, 0x9e3779b1) >>> 24;
    }
    fast.set(usual);
    const expected = slowly(usual, start, start + length);
    for (const data of [fast, usual]) {
      assert.equal(finishChecksum(addWords(0, data, start, start + length)), expected);
    }
  }));
});
