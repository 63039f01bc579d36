/**
 * What an administrator can set for the Code-Red scanner, checked by hand: a scanner has no library but the SDK.
 *
 * @module
 */
import { type IpRange, parseIp, prefixRange } from "../../lib/net/ip.ts";

/** The scanner's settings. */
export interface CodeRedOptions {
  /** More different random destinations than this in a second are a problem. */
  readonly perSecond: number;
  /** And in a minute. */
  readonly perMinute: number;
  /** Seconds between two random connections that pass while there is one. */
  readonly passEvery: number;
  /** Seconds after which it is looked at again. */
  readonly review: number;
  /** Random SYNs kept waiting at most; more are cut. */
  readonly waiting: number;
  /** More random connections than this in a second are cut at once; 0: none. */
  readonly dropAbove: number;
  /** Frames of each random connection that go with an alert; 0: none. */
  readonly logFrames: number;
  /** Reverse look-ups in a minute that are told of. */
  readonly reverseLookups: number;
  /** Destinations that need no translation. */
  readonly allow: readonly IpRange[];
  /** Translated addresses kept at most, of each family. */
  readonly tableSize: number;
}

const NUMBERS = {
  per_second: ["perSecond", 2, 1, 1_000_000],
  per_minute: ["perMinute", 10, 1, 1_000_000],
  pass_every: ["passEvery", 6, 1, 3600],
  review: ["review", 60, 1, 86_400],
  waiting: ["waiting", 64, 1, 10_000],
  drop_above: ["dropAbove", 0, 0, 1_000_000],
  log_frames: ["logFrames", 0, 0, 1000],
  reverse_lookups: ["reverseLookups", 30, 1, 1_000_000],
  table_size: ["tableSize", 500_000, 256, 4_000_000],
} as const;

/**
 * Reads the settings.
 *
 * @throws {Error} that names what is wrong.
 */
export function readOptions(given: Readonly<Record<string, unknown>>): CodeRedOptions {
  const numbers = Object.fromEntries(
    Object.entries(NUMBERS).map(([name, [field, usual, least, most]]) => {
      const value = given[name] ?? usual;
      if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
        throw new Error(`option ${name}: expected a whole number from ${least} to ${most}`);
      }
      return [field, value];
    }),
  ) as unknown as Omit<CodeRedOptions, "allow">;
  const allow = given["allow"] ?? [];
  if (!Array.isArray(allow)) throw new Error("option allow: expected a list of prefixes");
  for (const name of Object.keys(given)) {
    if (!(name in NUMBERS) && name !== "allow") throw new Error(`option ${name} is not known`);
  }
  return { ...numbers, allow: allow.map(prefix) };
}

function prefix(value: unknown): IpRange {
  const [text = "", length] = typeof value === "string" ? value.split("/") : [];
  const address = parseIp(text);
  const bits = address === undefined ? 0 : address.bytes.length * 8;
  const wanted = length === undefined ? bits : /^\d{1,3}$/.test(length) ? Number(length) : -1;
  if (address === undefined || wanted < 0 || wanted > bits) {
    throw new Error(`option allow: ${JSON.stringify(value)} is not an address or prefix`);
  }
  return prefixRange(address, wanted);
}
