/**
 * Reads a policy: text in, rules and problems out.
 *
 * @module
 */
import type { IpRange } from "../net/ip.ts";
import { hostName, type HostResolver, readEffect, readNames } from "./policy_fields.ts";
import { readPorts, readProtocol, readRanges } from "./policy_fields.ts";
import { noKeys, readKey } from "./policy_keys.ts";
import { ProblemList, readWordLines, type Word, type WordLine } from "./policy_lines.ts";
import { FieldError, type PolicyProblem, quote } from "./policy_problem.ts";
import { isReact, type ReactRule, readReact } from "./policy_react.ts";
import type { PolicyRule } from "./policy_rule.ts";

/** Most rules that one file can have. */
export const MAX_RULES = 100_000;

/** A policy as read. With an error among the problems the rules are not to be used. */
export interface ParsedPolicy {
  /** The rules of lines without an error. */
  readonly rules: readonly PolicyRule[];
  /** What findings of scanners do. */
  readonly reactions: readonly ReactRule[];
  /** What is wrong, in the order of the file. */
  readonly problems: readonly PolicyProblem[];
}

const FIELD_NAMES = [
  "effect",
  "delegates",
  "users",
  "protocol",
  "source range",
  "source ports",
  "destination range",
  "destination ports",
] as const;

/**
 * Reads a policy (docs/man/diaper-policy.5). Never throws: everything wrong is a problem, and reading
 * goes on behind it. Lines with an error give no rule.
 *
 * @param input the file's bytes, or its text.
 * @param file name of the file for rules and problems.
 * @param resolve gives the addresses of `host:NAME`; without it such names are errors.
 */
export function parsePolicy(
  input: string | Uint8Array,
  file: string,
  resolve?: HostResolver,
): ParsedPolicy {
  const list = new ProblemList(file);
  const rules: PolicyRule[] = [];
  const reactions: ReactRule[] = [];
  const ids = new Map<string, number>();
  for (const line of readWordLines(input, list)) {
    if (list.full) break;
    if (isReact(line)) {
      const reaction = readReact(line, file, resolve, list);
      if (reaction !== undefined) reactions.push(reaction);
      continue;
    }
    const rule = readRule(line, file, resolve, list);
    if (rule === undefined) continue;
    if (rules.length === MAX_RULES) {
      list.add(line.number, line.source, 0, `More than ${MAX_RULES} rules: split the file`);
      break;
    }
    const { id } = rule.keys;
    const before = id === undefined ? undefined : ids.get(id);
    if (id !== undefined && before !== undefined) {
      const index = line.words.find((w) => w.text === `id=${id}`)?.index ?? 0;
      list.add(line.number, line.source, index, `Id ${quote(id)} is taken by line ${before}`);
      continue;
    }
    if (id !== undefined) ids.set(id, rule.line);
    rules.push(rule);
  }
  const problems = list.problems.sort((a, b) => a.line - b.line || a.column - b.column);
  return { rules, reactions, problems };
}

/** The host names that a policy mentions, each once, so that a caller can look them up first. */
export function policyHosts(input: string | Uint8Array): string[] {
  const names = new Set<string>();
  for (const { words } of readWordLines(input, new ProblemList(""))) {
    const react = words[0]?.text === "react";
    for (const field of react ? [words[2]] : [words[4], words[6]]) {
      for (const item of field?.text.split(",") ?? []) {
        const name = hostName(item);
        if (name !== undefined) names.add(name);
      }
    }
  }
  return [...names];
}

function readRule(
  line: WordLine,
  file: string,
  resolve: HostResolver | undefined,
  list: ProblemList,
): PolicyRule | undefined {
  const { words } = line;
  let failed = false;
  const add = (index: number, message: string) => {
    failed = true;
    list.add(line.number, line.source, index, message);
  };
  /** Reads one word; an error becomes a problem at its place. */
  const read = <T>(word: Word | undefined, reader: (text: string) => T): T | undefined => {
    if (word === undefined) return undefined;
    try {
      return reader(word.text);
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      add(word.index + error.index, error.message);
      return undefined;
    }
  };

  const firstKey = words.findIndex((w) => w.text.includes("="));
  const count = firstKey === -1 ? words.length : firstKey;
  const effect = read(words[0], readEffect);
  if (count < FIELD_NAMES.length) {
    const missing = FIELD_NAMES.slice(count).join(", ");
    const place = words[count]?.index ?? line.text.length + (words[0]?.index ?? 0);
    add(place, `A rule has 8 fields and this one has ${count}: missing ${missing}`);
  }
  const field = (n: number) => n < count ? words[n] : undefined;
  const delegates = read(field(1), (t) => readNames(t, "delegate"));
  const users = read(field(2), (t) => readNames(t, "user"));
  const protocol = read(field(3), readProtocol);
  const sources = read(field(4), (t) => readRanges(t, resolve));
  const sourcePorts = read(field(5), readPorts);
  const destinations = read(field(6), (t) => readRanges(t, resolve));
  const destinationPorts = read(field(7), readPorts);
  const keys = noKeys();
  const rest = words.slice(Math.min(count, FIELD_NAMES.length));
  for (const word of rest) read(word, (t) => readKey(t, effect, keys));

  for (const [word, ranges] of [[words[4], sources], [words[6], destinations]] as const) {
    for (const { index, message } of ranges?.warnings ?? []) {
      list.add(line.number, line.source, (word?.index ?? 0) + index, message, "warning");
    }
  }
  if (sources !== undefined && destinations !== undefined) {
    if (!shareFamily(sources.ranges, destinations.ranges)) {
      const message = "Source and destination are of different families, IPv4 and IPv6: " +
        "no traffic can match";
      add(words[6]?.index ?? 0, message);
    }
  }
  if (failed) return undefined;
  if (
    effect === undefined || delegates === undefined || users === undefined ||
    protocol === undefined || sources === undefined || sourcePorts === undefined ||
    destinations === undefined || destinationPorts === undefined
  ) return undefined;
  return {
    file,
    line: line.number,
    column: (words[0]?.index ?? 0) + 1,
    text: line.text,
    effect,
    delegates,
    users,
    protocol,
    sources: sources.ranges,
    sourcePorts,
    destinations: destinations.ranges,
    destinationPorts,
    keys,
  };
}

function shareFamily(a: readonly IpRange[] | "*", b: readonly IpRange[] | "*"): boolean {
  if (a === "*" || b === "*") return true;
  return a.some((x) => b.some((y) => x.first.family === y.first.family));
}
