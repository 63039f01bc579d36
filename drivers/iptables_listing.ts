/**
 * Listings of iptables: `iptables-save` with and without -c, `iptables -S`, and `iptables -L -n -v` with and
 * without -x and --line-numbers, of both address families and both back ends.
 *
 * @module
 */
import { parseSave, ruleWords, type SavedRule } from "./iptables_text.ts";
import {
  countOf,
  type ListedPort,
  type ListingEntry,
  portOf,
  prefixText,
  UNKNOWN_ENTRY,
} from "./listing.ts";

/** What targets do, in the words of all enforcers. */
const ACTION: Readonly<Record<string, string>> = {
  ACCEPT: "permit",
  DROP: "deny",
  REJECT: "deny",
};
/** `iptables -L -n` shows protocols by number in some versions. */
const PROTOCOL: Readonly<Record<string, string | null>> = {
  "0": null,
  all: null,
  "1": "icmp",
  "6": "tcp",
  "17": "udp",
  "58": "ipv6-icmp",
};

/** Reads any of the listings; never throws. */
export function parseIptables(text: string): ListingEntry[] {
  return /^Chain \S+ \(/m.test(text) ? parseList(text) : parseSaved(text);
}

function parseSaved(text: string): ListingEntry[] {
  return parseSave(text).filter((table) => table.name === "filter").flatMap((table) => {
    const numbers = new Map<string, number>();
    return table.rules.map((rule) => {
      const seq = (numbers.get(rule.chain) ?? 0) + 1;
      numbers.set(rule.chain, seq);
      return savedEntry(rule, seq);
    });
  });
}

function savedEntry(rule: SavedRule, seq: number): ListingEntry {
  const words = ruleWords(rule.spec);
  const value = (...names: string[]): string | undefined => {
    const at = words.findIndex((word) => names.includes(word));
    const found = at === -1 ? undefined : words[at + 1];
    return found === undefined ? undefined : words[at - 1] === "!" ? `!=${found}` : found;
  };
  const target = value("-j", "-g") ?? null;
  const address = (found: string | undefined) =>
    found === undefined ? null : prefixText(found) ?? found;
  return {
    ...UNKNOWN_ENTRY,
    acl: rule.chain,
    seq,
    action: target === null ? null : ACTION[target] ?? target,
    proto: value("-p") ?? null,
    source: address(value("-s")),
    source_port: ports(value("--sport", "--sports")),
    destination: address(value("-d")),
    destination_port: ports(value("--dport", "--dports")),
    packets: rule.packets ?? null,
    ours: isOurs(rule.chain, value("--comment")),
  };
}

/** `22`, `1000:2000`, `20,21`, `!=25`. */
function ports(text: string | undefined): ListedPort {
  return text === undefined ? null : portOf(text) ?? text.replaceAll(":", "-");
}

/** A line of a listing whose header has the columns `num`, and `pkts` and `bytes`, or not. */
function linePattern(numbered: boolean, counted: boolean): RegExp {
  const address = "!?[0-9a-f.:]+(?:/[0-9.a-f:]+)?";
  return new RegExp(
    "^" + (numbered ? "(?<num>\\d+) +" : "") +
      (counted ? "(?<pkts>\\d+[KMGTP]?) +\\d+[KMGTP]? +" : "") +
      "(?<target>\\S+ +)?(?<prot>!?[a-z0-9][a-z0-9-]*) +(?:(?:--|-f|!f) +)?" +
      (counted ? "\\S+ +\\S+ +" : "") +
      `(?<source>${address}) +(?<destination>${address})(?<rest> .*)?$`,
  );
}
const UNITS: Readonly<Record<string, number>> = { K: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };

function parseList(text: string): ListingEntry[] {
  let chain: string | undefined;
  let seq = 0;
  let pattern = linePattern(false, false);
  return text.split("\n").flatMap((raw) => {
    const line = raw.trim();
    const header = /^Chain (\S+) \(/.exec(line)?.[1];
    if (header !== undefined) {
      chain = header;
      seq = 0;
      return [];
    }
    if (chain === undefined || line === "") return [];
    if (/^(num +)?(pkts +bytes +)?target +prot/.test(line)) {
      pattern = linePattern(line.startsWith("num"), line.includes("pkts"));
      return [];
    }
    const found = pattern.exec(line)?.groups;
    if (found === undefined) return [];
    seq++;
    return [listEntry(found, chain, seq)];
  });
}

function listEntry(
  found: Record<string, string | undefined>,
  chain: string,
  seq: number,
): ListingEntry {
  const rest = found["rest"] ?? "";
  const comment = /\/\* (.*) \*\//.exec(rest)?.[1];
  const matches = rest.replace(/\/\* .* \*\//, "");
  const [, number, unit = ""] = /^(\d+)([KMGTP]?)$/.exec(found["pkts"] ?? "") ?? [];
  const target = found["target"]?.trim();
  const prot = found["prot"] as string;
  const port = (short: string, long: string): ListedPort => {
    const one = new RegExp(`\\b${short}s?:(!?[0-9:]+)`).exec(matches)?.[1] ??
      new RegExp(`\\b${long}s? (!?[0-9:,]+)`).exec(matches)?.[1];
    return ports(one?.replace(/^!/, "!="));
  };
  const address = (text: string | undefined) =>
    text === undefined ? null : prefixText(text) ?? text;
  const packets = countOf(number);
  return {
    acl: chain,
    seq: found["num"] === undefined ? seq : Number(found["num"]),
    action: target === undefined ? null : ACTION[target] ?? target,
    proto: prot in PROTOCOL ? PROTOCOL[prot] ?? null : prot,
    source: address(found["source"]),
    source_port: port("spt", "sport"),
    destination: address(found["destination"]),
    destination_port: port("dpt", "dport"),
    packets: packets === undefined ? null : packets * (UNITS[unit] ?? 1),
    ours: isOurs(chain, comment),
  };
}

function isOurs(chain: string, comment: string | undefined): boolean {
  return chain === "DIAPER" || chain.startsWith("DIAPER-") ||
    comment?.startsWith("diaper:") === true;
}
