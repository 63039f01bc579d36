/**
 * Reads what devices print when asked for their ACLs, with counters or from the configuration. What is not
 * understood is passed over: other lists, remarks, headings, another vendor's output. Never throws.
 *
 * @module
 */
import { type AceContext, parseAce } from "./ace.ts";
import type { AclEntry } from "./entry.ts";
import type { Vendor } from "./port_names.ts";

/** The ways of listing. */
export type Listing = "ios" | "nxos" | "eos" | "ftos" | "ironware";

interface Heading {
  readonly pattern: RegExp;
  readonly family: 4 | 6;
  readonly standard?: boolean;
  /** From a configuration, where nothing is counted. */
  readonly configured?: boolean;
  /** It does not say of which family; the entries do. */
  readonly either?: boolean;
}

/** Lines that begin an ACL; the first group is its name. The same for all: they do not contradict. */
const HEADINGS: readonly Heading[] = [
  // IOS
  { pattern: /^Standard IP access list (\S+)/, family: 4, standard: true },
  { pattern: /^(?:Extended )?IP access list (\S+?):?(?: |$)/i, family: 4 },
  { pattern: /^IPv6 access list (\S+)/i, family: 6 },
  // FTOS
  { pattern: /^Standard Ingress IP access list (\S+)/i, family: 4, standard: true },
  { pattern: /^Extended (?:Ingress|Egress) IP access list (\S+)/i, family: 4 },
  { pattern: /^(?:Ingress|Egress) IPv6 access list (\S+)/i, family: 6 },
  // configurations
  { pattern: /^ip access-list standard (\S+)/, family: 4, standard: true, configured: true },
  { pattern: /^ip access-list (?:extended )?(\S+)$/, family: 4, configured: true },
  { pattern: /^ipv6 access-list (?:extended )?(\S+)$/, family: 6, configured: true },
  // IronWare
  {
    pattern: /^Standard IP access[ -]list:? (\S+?):?(?: \d+ entr\w+)?$/i,
    family: 4,
    standard: true,
  },
  { pattern: /^Extended IP access[ -]list:? (\S+?):?(?: ?:? ?\d+ entr\w+)?$/i, family: 4 },
  { pattern: /^(?:ACL|access-list) (\S+?):? \d+ entr\w+$/i, family: 4 },
  { pattern: /^ipv6 access-list (\S+?): \d+ entr\w+$/i, family: 6 },
  { pattern: /^(?:Inbound|Outbound):(?: IPv6)? ACL (\S+)$/i, family: 4, either: true },
];
/** An ACL that is none of IP: its entries are not read. */
const OTHER = /^(?:(?:Extended )?MAC access list|mac access-list|Policy|Route-map)\b/i;

const VENDORS: Readonly<Record<Listing, Vendor>> = {
  ios: "cisco",
  nxos: "cisco",
  eos: "arista",
  ftos: "force10",
  ironware: "foundry",
};

/** Whose names for ports a listing has. */
export function vendorOf(listing: Listing): Vendor {
  return VENDORS[listing];
}

/** Reads a listing; entries in the order they come. */
export function parseListing(text: string, listing: Listing): AclEntry[] {
  const vendor = VENDORS[listing];
  // IOS leaves out a count of 0; the others that count print it, or do not count.
  const uncounted = listing === "ios" ? 0 as const : undefined;
  const entries: AclEntry[] = [];
  let context: AceContext | undefined;
  let either = false;
  for (const raw of text.split(/\r?\n/)) {
    if (raw.length > 1000) continue; // no line of an ACL is that long
    const line = raw.trim();
    if (either && context !== undefined) context = { ...context, family: IPV6.test(line) ? 6 : 4 };
    // Most lines are entries; they are not held against all headings.
    const plain = context !== undefined && PLAIN.test(line) ? parseAce(line, context) : undefined;
    if (plain !== undefined) {
      entries.push(plain);
      continue;
    }
    const heading = HEADINGS.find(({ pattern }) => pattern.test(line));
    if (heading !== undefined) {
      const acl = heading.pattern.exec(line)?.[1] as string;
      const { family, standard = false } = heading;
      either = heading.either === true;
      const silent = heading.configured === true ? undefined : uncounted;
      context = { acl, family, vendor, standard, uncounted: silent };
      continue;
    }
    // IronWare counts in lines below the entry.
    const accumulated = /\(accum\)\s+(\d+)/.exec(line)?.[1];
    const last = entries.at(-1);
    if (accumulated !== undefined && last !== undefined) {
      entries[entries.length - 1] = { ...last, packets: Number(accumulated) };
      continue;
    }
    if (OTHER.test(line)) {
      context = undefined;
      continue;
    }
    const entry = parseNumbered(line, vendor) ??
      (context === undefined ? undefined : parseAce(line, context));
    if (entry !== undefined) entries.push(entry);
    else if (context !== undefined && COUNTED.test(line)) {
      // From here on the device counts, and says so by its own suffix.
      context = { ...context, uncounted: listing === "eos" ? 0 : undefined };
    }
  }
  return entries;
}

const PLAIN = /^(?:\d+:? +)?(?:seq(?:uence)? \d+:? +)?(?:permit|deny) /;
const IPV6 = /\s(?:host )?[0-9a-f]{0,4}:[0-9a-f]{0,4}:|\sipv6\s/i;
const COUNTED = /^(?:statistics|counters) per-entry$/;

/** `access-list 101 permit …`, also with the entry's number before or after the name. */
function parseNumbered(line: string, vendor: Vendor): AclEntry | undefined {
  const match = /^(?:(\d+): )?access-list (\S+) (?:(?:sequence|seq) (\d+) )?((?:permit|deny) .*)$/
    .exec(line);
  if (match === null) return undefined;
  const [, before, acl = "", after, entry = ""] = match;
  const number = Number(acl);
  const standard = number >= 1 && number <= 99 || number >= 1300 && number <= 1999;
  const context: AceContext = { acl, family: 4, vendor, standard, uncounted: undefined };
  return parseAce(`${before ?? after ?? ""} ${entry}`, context);
}
