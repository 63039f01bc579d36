/**
 * Listings of nftables: `nft list ruleset`, `list table`, `list set` as text (also -n, -s, -t, -a) and as JSON
 * (-j). Elements of sets of pinholes are entries, and so are rules; of a rule that is more than an entry can
 * say, what it can say is told.
 *
 * @module
 */
import {
  countOf,
  type ListedPort,
  type ListingEntry,
  portOf,
  prefixText,
  UNKNOWN_ENTRY,
} from "./listing.ts";
import { parseNftablesJson } from "./nftables_listing_json.ts";

/** What verdicts do, in the words of all enforcers. */
export const NFT_ACTION: Readonly<Record<string, string>> = {
  accept: "permit",
  drop: "deny",
  reject: "deny",
};
const PROTOCOL: Readonly<Record<string, string>> = { "6": "tcp", "17": "udp" };

/** Reads any of the listings; never throws. */
export function parseNftables(text: string): ListingEntry[] {
  return /^\s*\{/.test(text) ? parseNftablesJson(text) : parseText(text);
}

/**
 * The entry that an element of a set is; undefined for an element that is no pinhole.
 *
 * @param fields protocol, source, perhaps source port, destination, destination port.
 */
export function elementEntry(
  table: string,
  set: string,
  fields: readonly string[],
  packets: number | null,
): ListingEntry | undefined {
  const [protocol = "", from = "", ...rest] = fields;
  const [to = "", port = "", sourcePort] = fields.length === 5
    ? [rest[1], rest[2], rest[0]]
    : [rest[0], rest[1]];
  const proto = PROTOCOL[protocol] ?? protocol;
  const source = prefixText(from);
  const destination = prefixText(to);
  const known = (proto === "tcp" || proto === "udp") && source !== undefined &&
    destination !== undefined && (fields.length === 4 || fields.length === 5);
  if (!known) return undefined;
  return {
    ...UNKNOWN_ENTRY,
    acl: set,
    action: "permit",
    proto,
    source,
    source_port: sourcePort === undefined ? null : portOf(sourcePort) ?? sourcePort,
    destination,
    destination_port: portOf(port) ?? port,
    packets,
    ours: isOurTable(table),
  };
}

/** True for the tables that we make. */
export function isOurTable(table: string): boolean {
  return /^diaper(_|$)/.test(table);
}

interface Block {
  readonly kind: string;
  readonly name: string;
}

function parseText(text: string): ListingEntry[] {
  const entries: ListingEntry[] = [];
  const blocks: Block[] = [];
  let table = "";
  let elements: string | undefined;
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    const inside = blocks.at(-1);
    if (elements !== undefined) {
      elements += ` ${line}`;
    } else if (inside?.kind === "set" && line.startsWith("elements = {")) {
      elements = line.slice("elements = {".length);
    } else {
      const [, kind, name] =
        /^(table(?: \w+)?|set|map|chain|counter|flowtable) (\S+) \{/.exec(line) ?? [];
      if (kind !== undefined && name !== undefined) {
        if (kind.startsWith("table")) table = name;
        blocks.push({ kind, name });
      } else if (line === "}" || line.startsWith("} #")) blocks.pop();
      else if (inside?.kind === "chain") entries.push(...ruleEntry(line, table, inside.name));
      continue;
    }
    // A set's elements may go over many lines, and end with a brace that is not in a comment.
    const end = endOfElements(elements);
    if (end === -1) continue;
    entries.push(...elementEntries(elements.slice(0, end), table, inside?.name ?? ""));
    elements = undefined;
  }
  return entries;
}

/** Where the closing brace of elements is; comments are in quotes. */
function endOfElements(text: string): number {
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charAt(i);
    if (c === '"') quoted = !quoted;
    else if (c === "}" && !quoted) return i;
  }
  return -1;
}

function elementEntries(text: string, table: string, set: string): ListingEntry[] {
  const parts = text.match(/(?:"[^"]*"|[^,"])+/g) ?? [];
  return parts.flatMap((part) => {
    const [key = ""] = part.trim().split(/ (?=counter|timeout|expires|comment|limit|quota)/);
    const packets = countOf(/ counter packets (\d+)/.exec(part)?.[1]) ?? null;
    return elementEntry(table, set, key.split(" . ").map((s) => s.trim()), packets) ?? [];
  });
}

/** What a rule says, as far as an entry can say it. Lines that are not rules give none. */
function ruleEntry(line: string, table: string, chain: string): ListingEntry[] {
  if (line === "" || /^(type \w+ hook|policy |comment |devices )/.test(line)) return [];
  const comment = / comment "([^"]*)"/.exec(line)?.[1];
  const rule = line.replace(/ comment "[^"]*"/, "").replace(/ # handle \d+$/, "");
  const match = (pattern: RegExp) => pattern.exec(rule)?.[1];
  const verdict = match(/(?:^| )(accept|drop|reject|return|queue|(?:jump|goto) \S+)(?: with .*)?$/);
  const address = (side: string) => {
    const found = match(new RegExp(`\\bip6? ${side} (!= \\S+|[0-9a-f.:/-]+)(?: |$)`));
    return found === undefined ? null : prefixText(found) ?? found.replace("!= ", "!=");
  };
  const port = (side: string): ListedPort => {
    const found = match(
      new RegExp(`\\b(?:tcp|udp|th) ${side} (\\{[^}]*\\}|!= \\S+|[\\w-]+)(?: |$)`),
    );
    if (found === undefined) return null;
    return portOf(found) ?? found.replace("!= ", "!=").replaceAll(/[{} ]/g, "");
  };
  const proto = match(/\b(tcp|udp) [sd]port\b/) ??
    match(/\b(?:meta l4proto|ip protocol|ip6 nexthdr) ([a-z0-9-]+)(?: |$)/);
  return [{
    acl: chain,
    seq: countOf(/ # handle (\d+)$/.exec(line)?.[1]) ?? null,
    action: verdict === undefined ? null : NFT_ACTION[verdict] ?? verdict,
    proto: proto === undefined ? null : PROTOCOL[proto] ?? proto,
    source: address("saddr"),
    source_port: port("sport"),
    destination: address("daddr"),
    destination_port: port("dport"),
    packets: countOf(match(/\bcounter packets (\d+)/)) ?? null,
    ours: isOurTable(table) || comment?.startsWith("diaper:") === true,
  }];
}
