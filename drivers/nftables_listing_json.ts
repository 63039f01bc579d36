/**
 * Listings of nftables as JSON (libnftables-json(5)).
 *
 * @module
 */
import { type ListedPort, type ListingEntry, prefixText, UNKNOWN_ENTRY } from "./listing.ts";
import { elementEntry, isOurTable, NFT_ACTION } from "./nftables_listing.ts";

/** Reads it; never throws. */
export function parseNftablesJson(text: string): ListingEntry[] {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return []; // not JSON after all: nothing in it can be told
  }
  return list(field(document, "nftables")).flatMap((item) => {
    const set = field(item, "set");
    if (set !== undefined) return setEntries(set);
    const rule = field(item, "rule");
    return rule === undefined ? [] : [ruleEntry(rule)];
  });
}

function setEntries(set: unknown): ListingEntry[] {
  const [table, name] = [text(set, "table"), text(set, "name")];
  return list(field(set, "elem")).flatMap((item) => {
    const element = field(item, "elem") ?? item;
    const fields = list(field(field(element, "val") ?? element, "concat")).map(String);
    const packets = field(field(element, "counter"), "packets");
    const counted = typeof packets === "number" ? packets : null;
    return elementEntry(table, name, fields, counted) ?? [];
  });
}

function ruleEntry(rule: unknown): ListingEntry {
  const handle = field(rule, "handle");
  let entry: ListingEntry = {
    ...UNKNOWN_ENTRY,
    acl: text(rule, "chain"),
    seq: typeof handle === "number" ? handle : null,
    ours: isOurTable(text(rule, "table")) || text(rule, "comment").startsWith("diaper:"),
  };
  for (const statement of list(field(rule, "expr"))) {
    entry = { ...entry, ...statementFields(statement), ...verdictFields(statement) };
  }
  return entry;
}

function verdictFields(statement: unknown): Partial<ListingEntry> {
  for (const [verdict, action] of Object.entries(NFT_ACTION)) {
    if (has(statement, verdict)) return { action };
  }
  for (const verdict of ["jump", "goto"]) {
    const target = field(statement, verdict);
    if (target !== undefined) return { action: `${verdict} ${text(target, "target")}` };
  }
  for (const verdict of ["return", "queue"]) {
    if (has(statement, verdict)) return { action: verdict };
  }
  return {};
}

function statementFields(statement: unknown): Partial<ListingEntry> {
  const packets = field(field(statement, "counter"), "packets");
  if (typeof packets === "number") return { packets };
  const match = field(statement, "match");
  const left = field(match, "left");
  const payload = field(left, "payload");
  const [protocol, name] = [text(payload, "protocol"), text(payload, "field")];
  const not = text(match, "op") === "!=" ? "!=" : "";
  const right = field(match, "right");
  const addresses = (): string | null => {
    const prefix = field(right, "prefix");
    const found = prefix === undefined ? right : `${text(prefix, "addr")}/${field(prefix, "len")}`;
    if (typeof found !== "string") return null;
    return not === "" ? prefixText(found) ?? found : `!=${found}`;
  };
  const transport = protocol === "tcp" || protocol === "udp" ? { proto: protocol } : {};
  switch (name) {
    case "saddr":
      return { source: addresses() };
    case "daddr":
      return { destination: addresses() };
    case "sport":
      return { ...transport, source_port: ports(right, not) };
    case "dport":
      return { ...transport, destination_port: ports(right, not) };
  }
  const l4 = text(field(left, "meta"), "key") === "l4proto" || name === "protocol";
  return l4 && typeof right === "string" ? { proto: right } : {};
}

function ports(value: unknown, not: string): ListedPort {
  if (typeof value === "number") return not === "" ? value : `${not}${value}`;
  if (typeof value === "string") return value.startsWith("@") ? null : `${not}${value}`;
  const range = list(field(value, "range"));
  if (range.length === 2) return `${not}${range[0]}-${range[1]}`;
  const set = list(field(value, "set")).map((item) => {
    const one = ports(item, "");
    return one === null ? "" : String(one);
  });
  return set.length === 0 ? null : `${not}${set.join(",")}`;
}

function has(value: unknown, name: string): boolean {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name);
}

function field(value: unknown, name: string): unknown {
  return has(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function text(value: unknown, name: string): string {
  const found = field(value, name);
  return typeof found === "string" ? found : "";
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
