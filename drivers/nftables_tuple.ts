/**
 * How pinholes are kept in nftables: which set a five-tuple belongs in, and its key there.
 *
 * @module
 */
import { ipFromBytes } from "../lib/net/ip.ts";
import { type FiveTuple, tupleText } from "../lib/pinhole/pinhole.ts";
import type { ElementSet } from "../lib/sys/nftables_elements.ts";

/** A set of pinholes: one for each address family, with any source port and with a given one. */
export interface PinholeSet extends ElementSet {
  readonly family: 4 | 6;
  /** The source port is part of the key. */
  readonly sourcePort: boolean;
  /** The key's type in nft(8)'s language. */
  readonly type: string;
  /** The same as the kernel has it: 6 bits for each field. */
  readonly keyType: number;
}

/** libnftables' numbers of data types. */
const FIELD = { ipv4_addr: 7, ipv6_addr: 8, inet_proto: 12, inet_service: 13 } as const;

function pinholeSet(name: string, family: 4 | 6, sourcePort: boolean): PinholeSet {
  const address = family === 4 ? "ipv4_addr" as const : "ipv6_addr" as const;
  const fields: (keyof typeof FIELD)[] = [
    "inet_proto",
    address,
    ...(sourcePort ? ["inet_service" as const] : []),
    address,
    "inet_service",
  ];
  return {
    name,
    family,
    sourcePort,
    keyBytes: 8 + (family === 4 ? 8 : 32) + (sourcePort ? 4 : 0),
    type: fields.join(" . "),
    keyType: fields.reduce((type, field) => (type << 6) | FIELD[field], 0) >>> 0,
  };
}

const PH4 = pinholeSet("ph4", 4, false);
const PH6 = pinholeSet("ph6", 6, false);
const PH4S = pinholeSet("ph4s", 4, true);
const PH6S = pinholeSet("ph6s", 6, true);

/** All sets of pinholes. */
export const PINHOLE_SETS: readonly PinholeSet[] = [PH4, PH6, PH4S, PH6S];

const TCP = 6;
const UDP = 17;

/** The set that a pinhole belongs in. */
export function setOf(tuple: FiveTuple): PinholeSet {
  if (tuple.source.family === 4) return tuple.sourcePort === 0 ? PH4 : PH4S;
  return tuple.sourcePort === 0 ? PH6 : PH6S;
}

/** Why a tuple cannot be a pinhole, or undefined when it can. */
export function tupleProblem(t: FiveTuple): string | undefined {
  if (t.source.family !== t.destination.family) {
    return `${tupleText(t)} mixes IPv4 and IPv6`;
  }
  if (t.protocol !== "tcp" && t.protocol !== "udp") {
    return `${tupleText(t)} is neither TCP nor UDP`;
  }
  if (!isPort(t.destinationPort) || (t.sourcePort !== 0 && !isPort(t.sourcePort))) {
    return `${tupleText(t)} has an impossible port`;
  }
  return undefined;
}

function isPort(n: number): boolean {
  return n >= 1 && n <= 0xffff && Number.isInteger(n);
}

/** Writes a tuple's key to `words` from `at` on, in the layout of its set. */
export function writeKey(t: FiveTuple, words: Uint32Array, at: number): void {
  words[at++] = t.protocol === "tcp" ? TCP : UDP;
  at = writeAddress(t.source.bytes, words, at);
  if (t.sourcePort !== 0) words[at++] = portWord(t.sourcePort);
  at = writeAddress(t.destination.bytes, words, at);
  words[at] = portWord(t.destinationPort);
}

/** Reads a key of the set at `at` in `view`; undefined for one that is not a pinhole of ours. */
export function readKey(set: PinholeSet, view: DataView, at: number): FiveTuple | undefined {
  const number = view.getUint8(at);
  if (number !== TCP && number !== UDP) return undefined;
  const length = set.family === 4 ? 4 : 16;
  const address = (from: number) =>
    ipFromBytes(new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset + from, length));
  const destination = at + 4 + length + (set.sourcePort ? 4 : 0);
  return {
    protocol: number === TCP ? "tcp" : "udp",
    source: address(at + 4),
    sourcePort: set.sourcePort ? view.getUint16(at + 4 + length) : 0,
    destination: address(destination),
    destinationPort: view.getUint16(destination + length),
  };
}

/** Writes an address to `words` from `at` on; returns the place after it. */
export function writeAddress(b: Uint8Array, words: Uint32Array, at: number): number {
  for (let i = 0; i < b.length; i += 4) {
    words[at++] = (b[i] as number) | (b[i + 1] as number) << 8 | (b[i + 2] as number) << 16 |
      (b[i + 3] as number) << 24;
  }
  return at;
}

/** A port as a field of a key: network order, padded to a word. */
export function portWord(port: number): number {
  return (port >> 8) | (port & 0xff) << 8;
}
