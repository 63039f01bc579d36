/**
 * What a saved listing of an enforcer says, line by line, in one form for all enforcers: the output of
 * `diaper enforcer parse` (docs/protocols or design: one JSON object a line).
 *
 * @module
 */
import { parseIp, prefixRange } from "../lib/net/ip.ts";

/**
 * A port as a listing has it: a number; a text for what is more than one port (`1000-2000`, `>1023`,
 * `!=25`, `20,21`); null without any.
 */
export type ListedPort = number | string | null;

/** One entry of an access list, rule set or set. What the listing does not say is null. */
export interface ListingEntry {
  /** Name of the access list, filter, chain or set. */
  readonly acl: string | null;
  /** Its place: sequence number or number of the rule; null for sets, which have no order. */
  readonly seq: number | string | null;
  /** `permit` and `deny` for all enforcers; anything else in the enforcer's own words. */
  readonly action: string | null;
  /** `tcp`, `udp`, `icmp`, ... in small letters, `ip` or `ipv6` for all. */
  readonly proto: string | null;
  /** A prefix, e.g. `192.0.2.1/32`; `0.0.0.0/0` or `::/0` where the listing says "any". */
  readonly source: string | null;
  readonly source_port: ListedPort;
  readonly destination: string | null;
  readonly destination_port: ListedPort;
  /** Packets that matched, when the listing has a count. */
  readonly packets: number | null;
  /** True when it carries a mark of ours (name of the list, comment). */
  readonly ours: boolean;
}

/** Nothing known; listings fill in what they say. */
export const UNKNOWN_ENTRY: ListingEntry = {
  acl: null,
  seq: null,
  action: null,
  proto: null,
  source: null,
  source_port: null,
  destination: null,
  destination_port: null,
  packets: null,
  ours: false,
};

/**
 * Reads a saved listing. Never throws: what it does not understand it leaves out, since every line comes
 * from somewhere else.
 */
export type ListingParser = (text: string) => ListingEntry[];

/** An address or prefix as a prefix in canonical text; undefined when it is neither. */
export function prefixText(text: string): string | undefined {
  const slash = text.indexOf("/");
  const address = parseIp(slash === -1 ? text : text.slice(0, slash));
  if (address === undefined) return undefined;
  const bits = address.bytes.length * 8;
  if (slash === -1) return `${address.text}/${bits}`;
  const length = maskLength(text.slice(slash + 1), bits);
  return length === undefined ? undefined : `${prefixRange(address, length).first.text}/${length}`;
}

/** A mask (`24` or `255.255.255.0`) as its length. */
function maskLength(text: string, bits: number): number | undefined {
  if (/^[0-9]{1,3}$/.test(text)) return Number(text) <= bits ? Number(text) : undefined;
  const mask = parseIp(text);
  if (mask === undefined || mask.bytes.length * 8 !== bits) return undefined;
  const ones = [...mask.bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  return /^1*0*$/.test(ones) ? ones.lastIndexOf("1") + 1 : undefined;
}

/** A count as a number; undefined for what is none. */
export function countOf(text: string | undefined): number | undefined {
  return text !== undefined && /^[0-9]{1,20}$/.test(text) ? Number(text) : undefined;
}

/** A port number; undefined for what is none. */
export function portOf(text: string): number | undefined {
  return /^[0-9]{1,5}$/.test(text) && Number(text) <= 0xffff ? Number(text) : undefined;
}
