/**
 * IP addresses as values: parsed once, compared as bytes, printed in canonical form.
 *
 * @module
 */

/**
 * An IPv4 or IPv6 address. `bytes` is in network order (4 or 16 of them) and must not be changed;
 * `text` is the canonical form (RFC 5952 for IPv6).
 */
export interface IpAddress {
  /** IPv4 or IPv6. */
  readonly family: 4 | 6;
  /** 4 or 16 bytes in network order; not to be changed. */
  readonly bytes: Uint8Array;
  /** Canonical text. */
  readonly text: string;
}

/** A closed range of addresses of one family, `first` <= `last`. */
export interface IpRange {
  /** Lowest address. */
  readonly first: IpAddress;
  /** Highest address, of the same family. */
  readonly last: IpAddress;
}

/**
 * Reads an address in its usual text form. Zone suffixes (`%eth0`), leading zeros in IPv4 octets
 * (read as octal by some programs, as decimal by others) and surrounding space are not accepted.
 *
 * @returns the address, or `undefined` when the text is not one.
 */
export function parseIp(text: string): IpAddress | undefined {
  const bytes = text.includes(":") ? parse6(text) : parse4(text);
  return bytes === undefined ? undefined : ipFromBytes(bytes);
}

/**
 * Makes an address of 4 or 16 bytes in network order. The bytes are copied.
 *
 * @throws {RangeError} when there are not 4 or 16 bytes.
 */
export function ipFromBytes(source: Uint8Array): IpAddress {
  if (source.length !== 4 && source.length !== 16) {
    throw new RangeError(`Cannot make an address of ${source.length} bytes: 4 or 16 are needed`);
  }
  const bytes = source.slice();
  return bytes.length === 4
    ? { family: 4, bytes, text: `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}` }
    : { family: 6, bytes, text: format6(bytes) };
}

/** The IPv4 address inside an IPv4-mapped IPv6 one (`::ffff:a.b.c.d`); any other address as it is. */
export function unmapIp(address: IpAddress): IpAddress {
  if (address.family === 4) return address;
  const b = address.bytes;
  for (let i = 0; i < 10; i++) if (b[i] !== 0) return address;
  return b[10] === 0xff && b[11] === 0xff ? ipFromBytes(b.subarray(12)) : address;
}

/** Orders two addresses: IPv4 before IPv6, then by value. Negative, zero or positive. */
export function compareIp(a: IpAddress, b: IpAddress): number {
  if (a.family !== b.family) return a.family - b.family;
  for (let i = 0; i < a.bytes.length; i++) {
    const d = (a.bytes[i] as number) - (b.bytes[i] as number);
    if (d !== 0) return d;
  }
  return 0;
}

/** True when the address lies in the range (both ends included). */
export function inRange(address: IpAddress, range: IpRange): boolean {
  return address.family === range.first.family && compareIp(address, range.first) >= 0 &&
    compareIp(address, range.last) <= 0;
}

/**
 * The range of a prefix. Host bits of `address` may be set; they are cleared for `first`.
 *
 * @throws {RangeError} when the length is not between 0 and the family's number of bits.
 */
export function prefixRange(address: IpAddress, length: number): IpRange {
  const bits = address.bytes.length * 8;
  if (!Number.isInteger(length) || length < 0 || length > bits) {
    throw new RangeError(`Cannot use prefix length ${length}: 0 to ${bits} are possible`);
  }
  const first = address.bytes.slice();
  const last = address.bytes.slice();
  for (let i = 0; i < first.length; i++) {
    const kept = Math.max(0, Math.min(8, length - i * 8));
    const mask = (0xff << (8 - kept)) & 0xff;
    first[i] = (first[i] as number) & mask;
    last[i] = (last[i] as number) | (~mask & 0xff);
  }
  return { first: ipFromBytes(first), last: ipFromBytes(last) };
}

/** Reads an address, or a prefix (`192.0.2.0/24`), as the range of its addresses; undefined when it is neither. */
export function parsePrefix(text: string): IpRange | undefined {
  const [head = "", length, ...rest] = text.split("/");
  const address = parseIp(head);
  if (address === undefined || rest.length > 0) return undefined;
  const bits = address.bytes.length * 8;
  const wanted = length === undefined ? bits : /^\d{1,3}$/.test(length) ? Number(length) : -1;
  return wanted < 0 || wanted > bits ? undefined : prefixRange(address, wanted);
}

/** The length of the prefix that is exactly this range, or `undefined` when it is not a prefix. */
export function prefixLength(range: IpRange): number | undefined {
  const { bytes: first } = range.first;
  const { bytes: last } = range.last;
  let length = 0;
  while (length < first.length * 8 && bitOf(first, length) === bitOf(last, length)) length++;
  for (let i = length; i < first.length * 8; i++) {
    if (bitOf(first, i) !== 0 || bitOf(last, i) !== 1) return undefined;
  }
  return length;
}

/** The shortest text of a range: an address, a prefix (`192.0.2.0/24`) or `first-last`. */
export function rangeText(range: IpRange): string {
  const length = prefixLength(range);
  if (length === undefined) return `${range.first.text}-${range.last.text}`;
  return length === range.first.bytes.length * 8
    ? range.first.text
    : `${range.first.text}/${length}`;
}

/** The address as a number: 0 to 2^32-1 or 2^128-1. */
export function ipValue(address: IpAddress): bigint {
  let value = 0n;
  for (const byte of address.bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/**
 * Orders ranges and joins those that overlap or touch, so that no address is in two of them and a
 * range lies in the whole exactly when it lies in one of the parts. IPv4 comes before IPv6.
 */
export function mergeRanges(ranges: readonly IpRange[]): IpRange[] {
  const out: IpRange[] = [];
  for (const next of [...ranges].sort((a, b) => compareIp(a.first, b.first))) {
    const previous = out.at(-1);
    const joins = previous !== undefined && previous.last.family === next.first.family &&
      ipValue(previous.last) + 1n >= ipValue(next.first);
    if (!joins) out.push({ first: next.first, last: next.last });
    else if (compareIp(next.last, previous.last) > 0) {
      out[out.length - 1] = { first: previous.first, last: next.last };
    }
  }
  return out;
}

/** What kind of address it is, as far as a perimeter cares. */
export type IpKind = "unspecified" | "loopback" | "link-local" | "multicast" | "broadcast" | "host";

/** Tells whether an address can stand for one host (`host`), and if not, what it is. */
export function ipKind(address: IpAddress): IpKind {
  const b = address.bytes;
  if (address.family === 4) {
    if (b[0] === 0) return "unspecified";
    if (b[0] === 127) return "loopback";
    if (b[0] === 169 && b[1] === 254) return "link-local";
    if (b.every((x) => x === 255)) return "broadcast";
    return ((b[0] as number) & 0xf0) === 0xe0 ? "multicast" : "host";
  }
  const zeros = b.findIndex((x) => x !== 0);
  if (zeros === -1) return "unspecified";
  if (zeros === 15 && b[15] === 1) return "loopback";
  if (b[0] === 0xff) return "multicast";
  return b[0] === 0xfe && ((b[1] as number) & 0xc0) === 0x80 ? "link-local" : "host";
}

function bitOf(bytes: Uint8Array, index: number): number {
  return ((bytes[index >> 3] as number) >> (7 - (index & 7))) & 1;
}

function parse4(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const part = parts[i] as string;
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bytes[i] = Number(part);
  }
  return bytes;
}

function parse6(text: string): Uint8Array | undefined {
  let rest = text;
  let tail: Uint8Array | undefined;
  const lastColon = rest.lastIndexOf(":");
  if (rest.indexOf(".", lastColon) !== -1) {
    tail = parse4(rest.slice(lastColon + 1));
    if (tail === undefined) return undefined;
    rest = rest.slice(0, lastColon + 1) + "0:0";
  }
  const halves = rest.split("::");
  if (halves.length > 2) return undefined;
  const groups = (half: string): number[] | undefined => {
    if (half === "") return [];
    const out: number[] = [];
    for (const group of half.split(":")) {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
      out.push(parseInt(group, 16));
    }
    return out;
  };
  const head = groups(halves[0] as string);
  const end = halves.length === 2 ? groups(halves[1] as string) : [];
  if (head === undefined || end === undefined) return undefined;
  const missing = 8 - head.length - end.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...head, ...new Array<number>(missing).fill(0), ...end];
  const bytes = new Uint8Array(16);
  all.forEach((g, i) => {
    bytes[i * 2] = g >> 8;
    bytes[i * 2 + 1] = g & 0xff;
  });
  if (tail !== undefined) bytes.set(tail, 12);
  return bytes;
}

function format6(b: Uint8Array): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((b[i] as number) << 8) | (b[i + 1] as number));
  const mapped = groups.slice(0, 5).every((g) => g === 0) && groups[5] === 0xffff;
  if (mapped) return `::ffff:${b[12]}.${b[13]}.${b[14]}.${b[15]}`;
  let best = -1;
  let bestLength = 1; // RFC 5952 4.2.2: one group of zeros is not shortened
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === 0) n++;
    if (n > bestLength) [best, bestLength] = [i, n];
    i += n;
  }
  const hex = (part: number[]) => part.map((g) => g.toString(16)).join(":");
  return best === -1
    ? hex(groups)
    : `${hex(groups.slice(0, best))}::${hex(groups.slice(best + bestLength))}`;
}
