/**
 * The Internet checksum (RFC 1071), its updating (RFC 1624), and the pseudo-headers of TCP, UDP and ICMPv6.
 *
 * Sums are kept unfolded as numbers: a frame of 64 KiB adds at most 2^31, far from where doubles lose digits.
 *
 * @module
 */

import { BLOCK, wordSumOf } from "./word_sums.ts";

/** From so many bytes on, words of 32 bits are worth their price. */
const WIDE = 64;
let lastWords: Int32Array = new Int32Array(0);

/** The 32-bit words of an array's memory, as this machine has them: mostly the same memory again and again. */
function wordsOf(buffer: ArrayBufferLike): Int32Array {
  if (lastWords.buffer !== buffer) lastWords = new Int32Array(buffer, 0, buffer.byteLength >> 2);
  return lastWords;
}

/**
 * Adds 16-bit words in network order to a sum. An odd last byte counts as if a zero followed.
 *
 * @param start first byte, `end` is the one after the last.
 */
export function addWords(sum: number, data: Uint8Array, start: number, end: number): number {
  let i = start;
  const vectors = end - start >= WIDE ? wordSumOf(data.buffer) : undefined;
  if (vectors !== undefined) {
    i += (end - start) & -BLOCK;
    sum += swapped(vectors(data.byteOffset + start, data.byteOffset + i) >>> 0);
  } else if (end - start >= WIDE && ((data.byteOffset + start) & 1) === 0) {
    if (((data.byteOffset + start) & 2) !== 0) {
      sum += ((data[i] as number) << 8) | (data[i + 1] as number);
      i += 2;
    }
    const words = wordsOf(data.buffer);
    const first = (data.byteOffset + i) >> 2;
    const last = first + ((end - i) >> 2);
    let low = 0;
    let high = 0;
    for (let at = first; at < last; at++) {
      const word = words[at] as number;
      low += word & 0xffff;
      high += word >>> 16;
    }
    sum += swapped(low + high);
    i += (last - first) * 4;
  }
  for (; i + 1 < end; i += 2) {
    sum += ((data[i] as number) << 8) | (data[i + 1] as number);
  }
  if (i < end) sum += (data[i] as number) << 8;
  return sum;
}

/** The sum of words in network order, from that of the same as this machine has them (RFC 1071, 2B). */
function swapped(sum: number): number {
  const folded = fold(sum);
  const once = (folded >>> 16) + (folded & 0xffff);
  const word = (once >>> 16) + (once & 0xffff);
  return ((word & 0xff) << 8) | (word >>> 8);
}

/** Folds a sum to 16 bits and complements it: the value that goes into a header. */
export function finishChecksum(sum: number): number {
  const words = fold(sum);
  const folded = (words >>> 16) + (words & 0xffff);
  return ~((folded >>> 16) + folded) & 0xffff;
}

/** Makes a small integer of a sum below 2^48, with the same checksum: without divisions, for every frame. */
function fold(sum: number): number {
  const high = Math.floor(sum / 0x100000000);
  const low = sum - high * 0x100000000;
  return (low >>> 16) + (low & 0xffff) + high;
}

/** The sum of the pseudo-header of a transport over IPv4 or IPv6 (RFC 9293 3.1, RFC 8200 8.1). */
export function pseudoHeader(
  data: Uint8Array,
  addresses: number,
  addressLength: 4 | 16,
  protocol: number,
  length: number,
): number {
  const sum = addWords(protocol, data, addresses, addresses + 2 * addressLength);
  return sum + (length >>> 16) + (length & 0xffff);
}

/**
 * A checksum after 16-bit words below it have changed (RFC 1624, equation 3).
 *
 * @param removed sum of the words before, `added` of those after.
 */
export function updateChecksum(checksum: number, removed: number, added: number): number {
  // ~HC' = ~HC + ~m + m'; ~m folded is the one's complement of the folded sum.
  return finishChecksum((~checksum & 0xffff) + finishChecksum(removed) + added);
}
