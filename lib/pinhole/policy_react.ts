/**
 * The `react` lines of a policy: what a finding of an NI's scanner does to the pinholes of its host.
 *
 * ```text
 * react  SCANNERS  HOST-RANGE  for=TIME  [at-ni=slow|filter|block] [connections=N] [bytes=N] [to=PREFIX,…]
 *     [severity=1-3] [signature="text"] [dry-run=yes] [id=…] [comment=…]
 * ```
 *
 * @module
 */
import { inRange, type IpAddress, type IpRange, parsePrefix } from "../net/ip.ts";
import { type HostResolver, readNames, readRanges } from "./policy_fields.ts";
import { readComment, readDuration, readId } from "./policy_keys.ts";
import type { ProblemList, Word, WordLine } from "./policy_lines.ts";
import { didYouMean, FieldError, quote } from "./policy_problem.ts";

/** One line: findings that it is about, and what they do. */
export interface ReactRule {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly text: string;
  readonly scanners: readonly string[] | "*";
  /** Hosts inside that it is about. */
  readonly hosts: readonly IpRange[] | "*";
  /** Seconds for which the host gets no pinholes. */
  readonly lifetime: number;
  /** What is asked of the NI that the host is behind; undefined: nothing. */
  readonly atNi: NiQuarantine | undefined;
  /** Findings that are at least so grave: 1 is the gravest. */
  readonly severity: 1 | 2 | 3;
  /** Words that the finding's signature has in it. */
  readonly signature: string | undefined;
  /** It is only told what would be done. */
  readonly dryRun: boolean;
  readonly id: string | undefined;
  readonly comment: string | undefined;
}

/** What a host may still do at its NI. */
export type NiQuarantine =
  /** Begin so many connections, and send so many bytes, a second. */
  | {
    readonly verb: "slow";
    readonly connections: number | undefined;
    readonly bytes: number | undefined;
  }
  /** Reach these prefixes alone. */
  | { readonly verb: "filter"; readonly destinations: readonly string[] }
  | { readonly verb: "block" };

/** A finding, as far as rules look at it. */
export interface Finding {
  readonly scanner: string;
  readonly signature: string;
  readonly severity: number;
  /** Addresses of it, the finding's source first. */
  readonly addresses: readonly IpAddress[];
}

/** A rule that a finding meets, and the host that it is about. */
export interface Reaction {
  readonly rule: ReactRule;
  readonly host: IpAddress;
}

type Mutable = { -readonly [K in keyof ReactRule]: ReactRule[K] } & {
  verb: NiQuarantine["verb"];
  connections: number;
  bytes: number;
  destinations: readonly string[];
};

const KEYS = [
  ...["for", "at-ni", "connections", "bytes", "to", "severity", "signature", "dry-run", "id"],
  "comment",
] as const;
const MOST_CONNECTIONS = 1_000_000;
const MOST_BYTES = 10_000_000_000;
/** Destinations of one line; the console takes no more. */
const MOST_DESTINATIONS = 256;

/** The first rule that a finding meets. */
export function reactionTo(finding: Finding, rules: readonly ReactRule[]): Reaction | undefined {
  for (const rule of rules) {
    const { scanners, hosts, severity, signature } = rule;
    if (scanners !== "*" && !scanners.includes(finding.scanner)) continue;
    if (finding.severity > severity) continue;
    if (signature !== undefined && !finding.signature.includes(signature)) continue;
    const host = finding.addresses.find((address) =>
      hosts === "*" || hosts.some((range) => inRange(address, range))
    );
    if (host !== undefined) return { rule, host };
  }
  return undefined;
}

/** True for lines that are read here. */
export function isReact(line: WordLine): boolean {
  return line.words[0]?.text === "react";
}

/** Reads a `react` line; what is wrong with it becomes problems of the list. */
export function readReact(
  line: WordLine,
  file: string,
  resolve: HostResolver | undefined,
  list: ProblemList,
): ReactRule | undefined {
  const { words } = line;
  let failed = false;
  const read = <T>(word: Word | undefined, reader: (text: string) => T): T | undefined => {
    if (word === undefined) return undefined;
    try {
      return reader(word.text);
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      failed = true;
      list.add(line.number, line.source, word.index + error.index, error.message);
      return undefined;
    }
  };
  const firstKey = words.findIndex((word) => word.text.includes("="));
  const count = firstKey === -1 ? words.length : firstKey;
  const refuse = (index: number, message: string) => {
    list.add(line.number, line.source, index, message);
    return undefined;
  };
  if (count !== 3) {
    const message =
      `A react line has 2 fields before its keys, scanners and host range: this one has ${
        count - 1
      }`;
    return refuse(words[Math.min(count, 3)]?.index ?? words[0]?.index ?? 0, message);
  }
  const scanners = read(words[1], (text) => readNames(text, "scanner"));
  const hosts = read(words[2], (text) => readRanges(text, resolve).ranges);
  const keys: Partial<Mutable> = {};
  const seen = new Set<string>();
  for (const word of words.slice(3)) read(word, (text) => readReactKey(text, keys, seen));
  if (failed || scanners === undefined || hosts === undefined) return undefined;
  if (keys.lifetime === undefined) {
    return refuse(words[0]?.index ?? 0, "A react line needs for=TIME, such as for=1h");
  }
  const atNi = quarantineOf(keys);
  if (typeof atNi === "string") return refuse(words[0]?.index ?? 0, atNi);
  return {
    file,
    line: line.number,
    text: line.text,
    scanners,
    hosts,
    lifetime: keys.lifetime,
    atNi,
    severity: keys.severity ?? 3,
    signature: keys.signature,
    dryRun: keys.dryRun ?? false,
    id: keys.id,
    comment: keys.comment,
  };
}

/** What the keys say about the NI; the string tells which of them do not go together. */
function quarantineOf(keys: Partial<Mutable>): NiQuarantine | undefined | string {
  const { verb, connections, bytes, destinations } = keys;
  if (verb !== "slow" && (connections !== undefined || bytes !== undefined)) {
    return "connections= and bytes= go with at-ni=slow";
  }
  if ((verb === "filter") !== (destinations !== undefined)) {
    return "to= says what at-ni=filter leaves: give both or none";
  }
  if (verb === "filter") return { verb, destinations: destinations ?? [] };
  if (verb !== "slow") return verb === undefined ? undefined : { verb };
  // To slow is to let few connections begin, unless something else is said.
  return { verb, connections: connections ?? (bytes === undefined ? 1 : undefined), bytes };
}

function readReactKey(word: string, keys: Partial<Mutable>, seen: Set<string>): void {
  const equals = word.indexOf("=");
  if (equals === -1) throw new FieldError(`Unexpected ${quote(word)}: only key=value can follow`);
  const key = word.slice(0, equals);
  const value = word.slice(equals + 1);
  if (!KEYS.some((known) => known === key)) {
    const hint = didYouMean(key, KEYS);
    throw new FieldError(`Unknown key ${quote(key)}${hint || `: known are ${KEYS.join(", ")}`}`);
  }
  if (seen.has(key)) throw new FieldError(`Key ${quote(key)} is given twice`);
  seen.add(key);
  try {
    readValue(key, value, keys);
  } catch (error) {
    if (!(error instanceof FieldError)) throw error;
    throw new FieldError(error.message, equals + 1 + error.index);
  }
}

function readValue(key: string, value: string, keys: Partial<Mutable>): void {
  switch (key) {
    case "for":
      keys.lifetime = readDuration(value);
      break;
    case "at-ni":
      if (value !== "slow" && value !== "filter" && value !== "block") {
        throw new FieldError("at-ni is slow, filter or block");
      }
      keys.verb = value;
      break;
    case "connections":
      keys.connections = readCount(value, MOST_CONNECTIONS);
      break;
    case "bytes":
      keys.bytes = readCount(value, MOST_BYTES);
      break;
    case "to":
      keys.destinations = readPrefixes(value);
      break;
    case "severity":
      if (!/^[123]$/.test(value)) throw new FieldError("Severity is 1 (the gravest), 2 or 3");
      keys.severity = Number(value) as 1 | 2 | 3;
      break;
    case "signature":
      keys.signature = readComment(value);
      break;
    case "dry-run":
      if (value !== "yes" && value !== "no") throw new FieldError("dry-run is yes or no");
      keys.dryRun = value === "yes";
      break;
    case "id":
      keys.id = readId(value);
      break;
    case "comment":
      keys.comment = readComment(value);
  }
}

function readCount(value: string, most: number): number {
  if (/^[0-9]{1,11}$/.test(value) && Number(value) <= most) return Number(value);
  throw new FieldError(`Bad number ${quote(value)}: 0 to ${most}`);
}

function readPrefixes(value: string): string[] {
  const prefixes = value.split(",");
  const wrong = prefixes.find((one) => parsePrefix(one) === undefined);
  if (wrong !== undefined) {
    throw new FieldError(
      `Bad prefix ${quote(wrong)}: write 192.0.2.0/24 or an address`,
      value.indexOf(wrong),
    );
  }
  if (prefixes.length > MOST_DESTINATIONS) {
    throw new FieldError(`At most ${MOST_DESTINATIONS} destinations`);
  }
  return prefixes;
}
