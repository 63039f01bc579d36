/**
 * The Internet checksum (RFC 1071), its updating (RFC 1624), and the pseudo-headers of TCP, UDP and ICMPv6.
 *
 * Sums are kept unfolded as numbers: a frame of 64 KiB adds at most 2^46, far from where doubles lose digits.
 *
 * @module
 */

/** From so many bytes on, a view is worth its price. */
const WIDE = 64;
let lastView: DataView = new DataView(new ArrayBuffer(0));

/** A view of an array's memory: mostly the same again and again. */
function viewOf({ buffer }: Uint8Array): DataView {
  if (lastView.buffer !== buffer) lastView = new DataView(buffer);
  return lastView;
}

/**
 * Adds 16-bit words in network order to a sum. An odd last byte counts as if a zero followed.
 *
 * @param start first byte, `end` is the one after the last.
 */
export function addWords(sum: number, data: Uint8Array, start: number, end: number): number {
  let i = start;
  if (end - start >= WIDE) {
    // Four bytes count as two words when the sum is folded, and four sums do not wait for each other.
    const view = viewOf(data);
    const offset = data.byteOffset;
    const stop = offset + end - 15;
    let [a, b, c, d] = [0, 0, 0, 0];
    let at = offset + start;
    for (; at < stop; at += 16) {
      a += view.getUint32(at);
      b += view.getUint32(at + 4);
      c += view.getUint32(at + 8);
      d += view.getUint32(at + 12);
    }
    sum += a + b + c + d;
    i = at - offset;
  }
  for (; i + 1 < end; i += 2) {
    sum += ((data[i] as number) << 8) | (data[i + 1] as number);
  }
  if (i < end) sum += (data[i] as number) << 8;
  return sum;
}

/** Folds a sum to 16 bits and complements it: the value that goes into a header. */
export function finishChecksum(sum: number): number {
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
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
