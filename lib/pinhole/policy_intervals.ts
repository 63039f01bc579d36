/**
 * Intervals of integers with fast answers to "how many hold x?" and "which hold x?", and the map from
 * addresses to such integers.
 *
 * @module
 */
import { type IpAddress, type IpRange, ipValue } from "../net/ip.ts";
import type { PortRange } from "./policy_rule.ts";

/** So few neighbours are faster read than searched. */
const FEW = 16;

/** Closed intervals that belong to rules: a balanced tree in arrays, O(log n + hits) a question. */
export class IntervalSet {
  /** Number of intervals. */
  readonly size: number;
  readonly #first: Int32Array;
  readonly #last: Int32Array;
  readonly #ids: Int32Array;
  /** All ends in order, to count without a walk. */
  readonly #ends: Int32Array;
  /** Largest end in the subtree of the interval, the subtree being the halves around it. */
  readonly #reach: Int32Array;
  #out: Int32Array = new Int32Array(0);
  #hits = 0;
  #at = 0;

  /** Takes intervals as pairs (first, last, first, last...) with the rule that they belong to. */
  constructor(owners: readonly { readonly id: number; readonly pairs: Int32Array }[]) {
    const all: { id: number; first: number; last: number }[] = [];
    for (const { id, pairs } of owners) {
      for (let i = 0; i < pairs.length; i += 2) {
        all.push({ id, first: pairs[i] as number, last: pairs[i + 1] as number });
      }
    }
    all.sort((a, b) => a.first - b.first);
    this.size = all.length;
    this.#first = Int32Array.from(all, (x) => x.first);
    this.#last = Int32Array.from(all, (x) => x.last);
    this.#ids = Int32Array.from(all, (x) => x.id);
    this.#ends = this.#last.slice().sort();
    this.#reach = new Int32Array(all.length);
    this.#measure(0, all.length - 1);
  }

  /** How many intervals hold `x`: those that began, without those that ended. */
  count(x: number): number {
    return countBelow(this.#first, x + 1) - countBelow(this.#ends, x);
  }

  /** Writes the owners of the intervals that hold `x` into `out`; returns how many there are. */
  collect(x: number, out: Int32Array): number {
    this.#out = out;
    this.#at = x;
    this.#hits = 0;
    this.#walk(0, this.size - 1);
    return this.#hits;
  }

  #measure(left: number, right: number): number {
    if (left > right) return -1;
    const middle = (left + right) >> 1;
    const reach = Math.max(
      this.#last[middle] as number,
      this.#measure(left, middle - 1),
      this.#measure(middle + 1, right),
    );
    this.#reach[middle] = reach;
    return reach;
  }

  #walk(left: number, right: number): void {
    while (left <= right) {
      if (right - left < FEW) return this.#scan(left, right);
      const middle = (left + right) >> 1;
      if ((this.#reach[middle] as number) < this.#at) return;
      this.#walk(left, middle - 1);
      if ((this.#first[middle] as number) > this.#at) return;
      if ((this.#last[middle] as number) >= this.#at) {
        this.#out[this.#hits++] = this.#ids[middle] as number;
      }
      left = middle + 1;
    }
  }

  #scan(left: number, right: number): void {
    const x = this.#at;
    for (let i = left; i <= right && (this.#first[i] as number) <= x; i++) {
      if ((this.#last[i] as number) >= x) this.#out[this.#hits++] = this.#ids[i] as number;
    }
  }
}

/**
 * Turns addresses into small integers that keep their order as far as given ranges can tell: an
 * address lies in one of these ranges exactly when its rank lies between those of the range's ends.
 */
export class AddressRanks {
  /** Where IPv4 ranges begin, and the first addresses behind them. */
  readonly #four: Float64Array;
  /** The same for IPv6, four words each. */
  readonly #six: Uint32Array;

  /** Ranks for the given ranges. */
  constructor(ranges: readonly IpRange[]) {
    const four = new Set<number>();
    const six = new Set<bigint>();
    for (const { first, last } of ranges) {
      if (first.family === 4) four.add(number4(first.bytes)).add(number4(last.bytes) + 1);
      else six.add(ipValue(first)).add(ipValue(last) + 1n);
    }
    this.#four = Float64Array.from(four).sort();
    six.delete(1n << 128n);
    const ordered = [...six].sort((a, b) => a < b ? -1 : 1);
    this.#six = Uint32Array.from(
      ordered.flatMap((v) => [96n, 64n, 32n, 0n].map((s) => Number((v >> s) & 0xffffffffn))),
    );
  }

  /** The rank of an address; ranks of IPv4 are all below those of IPv6. */
  rank(address: IpAddress): number {
    if (address.family === 4) return countBelow(this.#four, number4(address.bytes) + 1);
    return this.#four.length + 1 + this.#rank6(address.bytes);
  }

  #rank6(b: Uint8Array): number {
    const w0 = word(b, 0);
    const w1 = word(b, 4);
    const w2 = word(b, 8);
    const w3 = word(b, 12);
    const six = this.#six;
    let low = 0;
    let high = six.length >> 2;
    while (low < high) {
      const middle = (low + high) >> 1;
      const at = middle << 2;
      const d = (six[at] as number) - w0 || (six[at + 1] as number) - w1 ||
        (six[at + 2] as number) - w2 || (six[at + 3] as number) - w3;
      if (d <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** True for no limit or a single interval. */
export function isOne(pairs: Int32Array | undefined): boolean {
  return pairs === undefined || pairs.length === 2;
}

/** True when one of the intervals (first, last, first, last...) holds the number. */
export function within(pairs: Int32Array, x: number): boolean {
  for (let i = 0; i < pairs.length; i += 2) {
    if (x >= (pairs[i] as number) && x <= (pairs[i + 1] as number)) return true;
  }
  return false;
}

/** Ports as intervals; `undefined` is any. */
export function portPairs(ports: readonly PortRange[] | "*"): Int32Array | undefined {
  return ports === "*" ? undefined : Int32Array.from(ports.flatMap((p) => [p.first, p.last]));
}

/** Addresses as intervals of ranks; `undefined` is any. */
export function rankPairs(
  ranges: readonly IpRange[] | "*",
  ranks: AddressRanks,
): Int32Array | undefined {
  if (ranges === "*") return undefined;
  return Int32Array.from(ranges.flatMap((r) => [ranks.rank(r.first), ranks.rank(r.last)]));
}

function word(b: Uint8Array, at: number): number {
  return (b[at] as number) * 0x1000000 +
    (((b[at + 1] as number) << 16) | ((b[at + 2] as number) << 8) | (b[at + 3] as number));
}

function number4(b: Uint8Array): number {
  return word(b, 0);
}

/** How many values of an ordered array are smaller than `x`. */
function countBelow(values: Int32Array | Float64Array, x: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] as number) < x) low = middle + 1;
    else high = middle;
  }
  return low;
}
