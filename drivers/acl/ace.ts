/**
 * Reads one entry of an ACL in the language that Cisco began and Arista, Force10 and Foundry speak with
 * accents: `10 permit tcp host 192.0.2.1 eq 1024 198.51.100.0 0.0.0.255 eq www (12 matches)`.
 *
 * @module
 */
import { compareIp, ipFromBytes, parseIp, prefixLength } from "../../lib/net/ip.ts";
import { type AclEntry, hostPrefix, tupleOf } from "./entry.ts";
import { portOf, type Vendor } from "./port_names.ts";

/** What stands around an entry. */
export interface AceContext {
  readonly acl: string;
  readonly family: 4 | 6;
  readonly vendor: Vendor;
  /** A standard ACL's entry has only a source. */
  readonly standard: boolean;
  /** What no suffix means: 0 where the device leaves out a count of 0, undefined where it does not count. */
  readonly uncounted: 0 | undefined;
}

/** Reads an entry; undefined when the line is none. Never throws. */
export function parseAce(line: string, context: AceContext): AclEntry | undefined {
  const usual = parsePinhole(line, context);
  if (usual !== undefined) return usual;
  let text = line.trim();
  let packets: number | undefined = context.uncounted;
  let bytes: number | undefined;
  for (const [pattern, unit] of text.includes("(") || text.includes("[") ? COUNTS : []) {
    const match = pattern.exec(text);
    if (match === null) continue;
    const count = Number(match[1]);
    if (!Number.isSafeInteger(count)) return undefined;
    if (unit === "bytes") [bytes, packets] = [count, undefined];
    else packets = count;
    text = text.replace(pattern, "").trim();
    break;
  }
  const words = text.split(/\s+/).filter((word) => word !== "");
  const seq = takeSequence(words);
  const action = words.shift();
  if (action !== "permit" && action !== "deny") return undefined;
  const { family, vendor } = context;
  const wild = family === 4 ? "0.0.0.0/0" : "::/0";
  let proto = words.shift();
  if (proto === undefined) return undefined;
  if (context.standard) {
    words.unshift(proto);
    proto = "ip";
  } else if (proto === "object-group") {
    proto = `object-group ${words.shift() ?? ""}`;
  }
  const source = takeAddress(words, wild);
  if (source === undefined) return undefined;
  const sourcePort = context.standard ? undefined : takePort(words, proto, vendor);
  const destination = context.standard ? wild : takeAddress(words, wild);
  if (destination === undefined) return undefined;
  const destinationPort = context.standard ? undefined : takePort(words, proto, vendor);
  // Counting changes nothing of what an entry lets in.
  const rest = words.filter((word) => word !== "count" && word !== "enable-accounting");
  const tuple = rest.length === 0 && action === "permit"
    ? tupleOf(proto, source, sourcePort, destination, destinationPort)
    : undefined;
  return {
    acl: context.acl,
    family,
    seq,
    action,
    proto,
    source,
    sourcePort,
    destination,
    destinationPort,
    packets,
    bytes,
    tuple: tuple?.source.family === family ? tuple : undefined,
    all: rest.length === 0 && (proto === "ip" || proto === "ipv6") && source === wild &&
      destination === wild,
    text: text.replace(/^\d+:? +/, ""),
  };
}

// A prefix is a host only with all bits of its family.
const HOST = String
  .raw`(?:host (\S{2,45})|([0-9.]{7,15})\/32|([0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,40})\/128)`;
/** A pinhole as most devices list it, which nearly all lines are. */
const PINHOLE = new RegExp(
  String
    .raw`^\s*((?:\d{1,10}:? +)?permit (tcp|udp) ${HOST}(?: eq (\d{1,5}))? ${HOST} eq (\d{1,5}))\s*$`,
);

/** Reads an entry that is a pinhole in the usual way of writing; undefined for any other. */
function parsePinhole(line: string, context: AceContext): AclEntry | undefined {
  if (context.standard) return undefined;
  const match = PINHOLE.exec(line);
  if (match === null) return undefined;
  const [, text = "", proto = "", s1, s2, s3, sport, d1, d2, d3, dport] = match;
  const source = hostPrefix(s1 ?? s2 ?? s3 ?? "");
  const destination = hostPrefix(d1 ?? d2 ?? d3 ?? "");
  const sourcePort = sport === undefined ? undefined : Number(sport);
  const destinationPort = Number(dport);
  if (source === undefined || destination === undefined || destinationPort > 0xffff) {
    return undefined;
  }
  if (sourcePort !== undefined && sourcePort > 0xffff) return undefined;
  const tuple = tupleOf(proto, source, sourcePort, destination, destinationPort);
  const seq = /^\d+/.exec(text)?.[0];
  return {
    acl: context.acl,
    family: context.family,
    seq: seq === undefined ? undefined : Number(seq),
    action: "permit",
    proto,
    source,
    sourcePort,
    destination,
    destinationPort,
    packets: context.uncounted,
    bytes: undefined,
    tuple: tuple?.source.family === context.family ? tuple : undefined,
    all: false,
    text: text.slice(text.indexOf("permit")),
  };
}

const COUNTS: readonly (readonly [RegExp, "packets" | "bytes"])[] = [
  [/\s\((\d+) match(?:es)?\)/, "packets"], // IOS
  [/\s\[match(?:ed)?[= ](\d+)(?: packets?)?(?:, [^\]]*)?\]/, "packets"], // NX-OS, EOS
  [/\s\((\d+|0x[0-9a-f]+) packets?\)/i, "packets"], // FTOS
  [/\s\((\d+|0x[0-9a-f]+) bytes?\)/i, "bytes"], // FTOS with count byte
];

/** The entry's number: in front, after `seq` or `sequence`, with a colon, or at the end. */
function takeSequence(words: string[]): number | undefined {
  const number = (word: string | undefined) =>
    word !== undefined && /^[0-9]{1,10}:?$/.test(word) ? parseInt(word, 10) : undefined;
  if (words[0] === "seq" || words[0] === "sequence") {
    const seq = number(words[1]);
    if (seq !== undefined) words.splice(0, 2);
    return seq;
  }
  const front = number(words[0]);
  if (front !== undefined) {
    words.shift();
    // IronWare says it twice when somebody chose it.
    if (words[0] === "sequence" && number(words[1]) === front) words.splice(0, 2);
    return front;
  }
  if (words.at(-2) !== "sequence") return undefined;
  const seq = number(words.at(-1));
  if (seq !== undefined) words.splice(-2);
  return seq;
}

function takeAddress(words: string[], wild: string): string | undefined {
  const word = words.shift();
  if (word === undefined) return undefined;
  if (word === "any" || word === "any4" || word === "any6") return wild;
  if (word === "host") return hostPrefix(words.shift() ?? "");
  if (word === "object-group" || word === "addrgroup") {
    return `object-group ${words.shift() ?? ""}`;
  }
  if (word.includes("/")) return prefixText(word);
  const address = word.endsWith(",") ? word.slice(0, -1) : word;
  if (parseIp(address) === undefined) return undefined;
  if (/^\/\d+$/.test(words[0] ?? "")) return prefixText(address + words.shift()); // FTOS
  if (words[0] === "wildcard" && words[1] === "bits") words.splice(0, 2);
  const mask = words[0];
  if (mask === undefined || parseIp(mask)?.family !== parseIp(address)?.family) {
    return hostPrefix(address);
  }
  words.shift();
  return wildcardText(address, mask);
}

/** A prefix in its shortest form, or undefined. */
function prefixText(word: string): string | undefined {
  const [text = "", length = ""] = word.split("/");
  const address = parseIp(text);
  if (address === undefined || !/^[0-9]{1,3}$/.test(length)) return undefined;
  if (Number(length) > address.bytes.length * 8) return undefined;
  return `${address.text}/${Number(length)}`;
}

/** An address with a wildcard mask as a prefix, or as it is when the mask is not that of a prefix. */
function wildcardText(addressText: string, maskText: string): string | undefined {
  const address = parseIp(addressText);
  const mask = parseIp(maskText);
  if (address === undefined || mask === undefined) return undefined;
  const first = ipFromBytes(address.bytes.map((b, i) => b & ~(mask.bytes[i] as number)));
  const last = ipFromBytes(address.bytes.map((b, i) => b | (mask.bytes[i] as number)));
  const length = compareIp(first, last) <= 0 ? prefixLength({ first, last }) : undefined;
  const bits = mask.bytes.reduce((n, b) => n + b.toString(2).replaceAll("0", "").length, 0);
  return length === address.bytes.length * 8 - bits
    ? `${first.text}/${length}`
    : `${address.text} ${mask.text}`;
}

function takePort(words: string[], proto: string, vendor: Vendor): number | string | undefined {
  const operator = words[0] ?? "";
  if (!OPERATORS.has(operator)) return undefined;
  words.shift();
  const most = operator === "range" ? 2 : Infinity;
  const ports: (number | string)[] = [];
  while (words[0] !== undefined && ports.length < most) {
    const port = portOf(words[0], proto, vendor);
    // A name that we do not know is a port all the same; then the entry is not a pinhole of ours.
    if (port === undefined && (ports.length > 0 && operator !== "range")) break;
    ports.push(port ?? words[0]);
    words.shift();
  }
  switch (operator) {
    case "range":
      return ports.join("-");
    case "neq":
      return `!=${ports.join(",")}`;
    case "eq":
      return ports.length === 1 ? ports[0] : ports.join(",");
    default:
      return `${operator === "gt" ? ">" : "<"}${ports.join(",")}`;
  }
}

const OPERATORS = new Set(["eq", "neq", "gt", "lt", "range"]);
