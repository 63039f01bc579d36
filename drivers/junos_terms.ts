/**
 * Pinholes as terms of Junos firewall filters: their names, the statements that set them, and what statements that
 * a device lists say.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { type FiveTuple, tupleKey } from "../lib/pinhole/pinhole.ts";
import { type AclEntry, hostPrefix, tupleOf } from "./acl/entry.ts";
import { portOf } from "./acl/port_names.ts";

/** Names of our terms begin so. */
export const TERM_PREFIX = "ph-";
/** The term that matches nothing and keeps a filter from being empty. */
export const GUARD = "diaper-guard";

/** A term of a filter, as listed. */
export interface JunosTerm extends AclEntry {
  readonly term: string;
  /** What it counts with, when it does. */
  readonly counter: string | undefined;
  /** Ours by its name, but not a pinhole: somebody changed it, and it may let in more than it should. */
  readonly damaged: boolean;
}

/** The filters that hold our terms. */
export interface Filters {
  readonly acl: string;
  readonly acl6: string;
}

/** The name of a pinhole's term: the same for the same pinhole, whoever asks and whenever. */
export function termName(tuple: FiveTuple): string {
  return TERM_PREFIX + createHash("sha256").update(tupleKey(tuple)).digest("hex").slice(0, 20);
}

/** Where a term is, as statements begin. */
export function termPath(filters: Filters, family: 4 | 6, term: string): string {
  return family === 4
    ? `firewall family inet filter ${filters.acl} term ${term}`
    : `firewall family inet6 filter ${filters.acl6} term ${term}`;
}

/** The statements that make a pinhole. `before` is a term of somebody else that must stay behind it. */
export function openLines(filters: Filters, t: FiveTuple, before: string | undefined): string[] {
  const name = termName(t);
  const { family } = t.source;
  const bits = family === 4 ? 32 : 128;
  const path = termPath(filters, family, name);
  const source = t.sourcePort === 0 ? "" : ` source-port ${t.sourcePort}`;
  return [
    `set ${path} from source-address ${t.source.text}/${bits} ` +
    `destination-address ${t.destination.text}/${bits} ` +
    `${family === 4 ? "protocol" : "next-header"} ${t.protocol}${source} ` +
    `destination-port ${t.destinationPort}`,
    `set ${path} then count ${name} accept`,
    ...(before === undefined ? [] : [`insert ${path} before term ${before}`]),
  ];
}

/** The statements that make our filters, so that they are never empty. */
export function guardLines(filters: Filters, family: 4 | 6): string[] {
  const path = termPath(filters, family, GUARD);
  // Addresses that no packet has.
  const address = family === 4 ? "255.255.255.255/32" : "::1/128";
  return [
    `set ${path} from source-address ${address} destination-address ${address}`,
    `set ${path} then discard`,
  ];
}

interface Parts {
  readonly from: Map<string, string[]>;
  readonly then: Map<string, string>;
  active: boolean;
  order: number;
}

/**
 * Reads statements as `display set` prints them; what is no filter's term is passed over. Never throws.
 *
 * @param filters whose terms can be ours.
 */
export function parseSetLines(text: string, filters: Filters): JunosTerm[] {
  const found = new Map<string, Parts & { family: 4 | 6; filter: string; term: string }>();
  for (const line of text.split(/\r?\n/)) {
    if (line.length > 2000) continue;
    const match =
      /^\s*(set|deactivate) firewall (?:family (inet6?) )?filter (\S+) term (\S+)(?: (.*))?$/
        .exec(line);
    if (match === null) continue;
    const [, verb, familyName = "inet", filter = "", term = "", rest = ""] = match;
    const family = familyName === "inet6" ? 6 : 4;
    const key = `${family} ${filter} ${term}`;
    const parts = found.get(key) ??
      { from: new Map(), then: new Map(), active: true, order: found.size, family, filter, term };
    found.set(key, parts);
    if (verb === "deactivate") parts.active = false;
    else addStatement(parts, rest.trim().split(/\s+/));
  }
  return [...found.values()].map((parts) => termOf(parts, filters));
}

const PLAIN = new Set(["accept", "discard", "reject", "log", "syslog", "next"]);

function addStatement(parts: Parts, words: string[]): void {
  const part = words.shift();
  while (words.length > 0 && words[0] !== "") {
    const name = words.shift() as string;
    if (part === "then") parts.then.set(name, PLAIN.has(name) ? "" : words.shift() ?? "");
    else if (part === "from") {
      const values = parts.from.get(name) ?? [];
      values.push(FLAGS.has(name) ? "" : words.shift() ?? "");
      parts.from.set(name, values);
    }
  }
}

const FLAGS = new Set(["tcp-established", "tcp-initial", "is-fragment", "first-fragment"]);
const KNOWN = new Set([
  "source-address",
  "destination-address",
  "protocol",
  "next-header",
  "payload-protocol",
  "source-port",
  "destination-port",
]);

function termOf(
  { from, then, active, family, filter, term }: Parts & {
    family: 4 | 6;
    filter: string;
    term: string;
  },
  filters: Filters,
): JunosTerm {
  const wild = family === 4 ? "0.0.0.0/0" : "::/0";
  const values = (...names: string[]) => names.flatMap((name) => from.get(name) ?? []);
  const protocols = values("protocol", "next-header", "payload-protocol");
  const proto = protocols.length === 0 ? (family === 4 ? "ip" : "ipv6") : protocols.join(",");
  const address = (name: string) => {
    const list = values(name).map((text) => text.includes("/") ? text : hostPrefix(text) ?? text);
    return list.length === 0 ? wild : list.join(",");
  };
  const port = (name: string) => {
    const list = values(name).map((word) => portOf(word, proto, "juniper") ?? word);
    return list.length <= 1 ? list[0] : list.join(",");
  };
  const source = address("source-address");
  const destination = address("destination-address");
  const ports = { source: port("source-port"), destination: port("destination-port") };
  const counter = then.get("count");
  const actions = [...then.keys()].filter((action) => action !== "count");
  const plain = active && [...from.keys()].every((name) => KNOWN.has(name)) &&
    actions.length === 1 && actions[0] === "accept";
  const tuple = plain
    ? tupleOf(proto, source, ports.source, destination, ports.destination)
    : undefined;
  const ours = filter === (family === 4 ? filters.acl : filters.acl6);
  const named = ours && term.startsWith(TERM_PREFIX);
  const pinhole = named && tuple !== undefined && tuple.source.family === family &&
    termName(tuple) === term && counter === term;
  return {
    acl: filter,
    family,
    seq: undefined,
    // A term that says nothing of what becomes of a packet accepts it.
    action: actions.includes("discard") || actions.includes("reject") ? "deny" : "permit",
    proto,
    source,
    sourcePort: ports.source,
    destination,
    destinationPort: ports.destination,
    packets: undefined,
    bytes: undefined,
    tuple: pinhole ? tuple : undefined,
    all: from.size === 0,
    text: term,
    term,
    counter,
    damaged: named && !pinhole,
  };
}
