/**
 * What an administrator can set for the guard.
 *
 * @module
 */
import { type IpRange, parsePrefix } from "../../lib/net/ip.ts";
import {
  type Given,
  type Numbers,
  readNumbers,
  readPrefixes,
  readTexts,
  readWord,
  refuseUnknown,
} from "../sdk/options.ts";

const NUMBERS = {
  /** Packets to the host with a smaller time to live are abuse: nothing is behind the host. 0: none is too small. */
  min_ttl: ["minTtl", 0, 0, 255],
  /** How much smaller a packet's time to live may be than the largest of its connection, in hops. */
  ttl_spread: ["ttlSpread", 8, 1, 255],
  /** Seconds in which a datagram's fragments come. */
  fragment_timeout: ["fragmentTimeout", 30, 1, 300],
} as const;

/** What is done with what the guard finds. */
export type Action = "alert" | "cut";

/** The guard's settings. */
export interface GuardOptions extends Numbers<typeof NUMBERS> {
  /** Hardware addresses of the host, as numbers of 48 bits. Empty: the first that it uses. */
  readonly mac: readonly number[];
  /** Addresses that it may use beside those of its networks, such as 169.254.0.0/16. */
  readonly alsoFrom: readonly IpRange[];
  /** Addresses of its networks; none: sources are not judged. */
  readonly own: readonly IpRange[];
  readonly spoofing: Action;
  readonly sniffing: Action;
  readonly ttl: Action;
  readonly fragments: Action;
  /** Fragments wait for the rest of their datagram and then go in order. */
  readonly normalize: boolean;
}

/**
 * Reads the settings.
 *
 * @param networks of the host.
 * @throws {Error} that names what is wrong.
 */
export function readOptions(given: Given, networks: readonly string[]): GuardOptions {
  refuseUnknown(given, Object.keys(NUMBERS), OTHERS);
  const action = (name: string) => readWord(given, name, ["alert", "cut"], "cut");
  return {
    ...readNumbers(given, NUMBERS),
    mac: readTexts(given, "mac", "a list of hardware addresses").map(hardwareAddress),
    alsoFrom: readPrefixes(given, "also_from"),
    own: networks.map(parsePrefix).filter((range) => range !== undefined),
    spoofing: action("spoofing"),
    sniffing: action("sniffing"),
    ttl: readWord(given, "ttl", ["alert", "cut"], "alert"),
    fragments: action("fragments"),
    normalize: readWord(given, "normalize", ["no", "fragments"], "no") === "fragments",
  };
}

const OTHERS = ["mac", "also_from", "spoofing", "sniffing", "ttl", "fragments", "normalize"];

function hardwareAddress(text: string): number {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw new Error(`option mac: ${JSON.stringify(text)} is not a hardware address`);
  }
  return parseInt(text.replaceAll(":", ""), 16);
}
