/**
 * What an administrator can set for the Code-Red scanner.
 *
 * @module
 */
import type { IpRange } from "../../lib/net/ip.ts";
import { type Given, readNumbers, readPrefixes, refuseUnknown } from "../sdk/options.ts";

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
export function readOptions(given: Given): CodeRedOptions {
  refuseUnknown(given, Object.keys(NUMBERS), ["allow"]);
  return { ...readNumbers(given, NUMBERS), allow: readPrefixes(given, "allow") };
}
