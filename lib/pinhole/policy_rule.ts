/**
 * A rule of the site policy as a value, and its canonical text.
 *
 * @module
 */
import { type IpRange, rangeText } from "../net/ip.ts";
import type { Protocol } from "./pinhole.ts";

/** A closed range of ports, 1 to 65535. */
export interface PortRange {
  /** Lowest port. */
  readonly first: number;
  /** Highest port, not below `first`. */
  readonly last: number;
}

/** A window of the local day in minutes after midnight; `end` is not in it; may wrap midnight. */
export interface HourWindow {
  /** First minute in the window, 0 to 1439. */
  readonly start: number;
  /** First minute behind it, 0 to 1440. */
  readonly end: number;
}

/** The `key=value` part of a rule; a key that the rule does not have is `undefined`. */
export interface RuleKeys {
  /** The rule speaks only within this part of the local day. */
  readonly hours: HourWindow | undefined;
  /** The rule speaks only on these local days: bit 0 is Sunday, bit 6 Saturday. */
  readonly days: number | undefined;
  /** The rule speaks only before this moment, milliseconds since the epoch. */
  readonly until: number | undefined;
  /** Allow only while the end user has fewer pinholes open. */
  readonly max: number | undefined;
  /** Allow only while the end user made fewer requests in the last minute. */
  readonly rate: number | undefined;
  /** Longest life of a pinhole that this rule allows, seconds. */
  readonly ttl: number | undefined;
  /** A pinhole that this rule allows is closed after so many seconds without traffic. */
  readonly idle: number | undefined;
  /** A name for the rule, its own within a file. */
  readonly id: string | undefined;
  /** A remark for people. */
  readonly comment: string | undefined;
}

/**
 * One rule (paper, section 4.2). `"*"` is any. Ranges and ports are ordered and disjoint; a host name
 * has become the addresses it had when the policy was read.
 */
export interface PolicyRule {
  /** Name of the file that it was read from. */
  readonly file: string;
  /** Line in the file, from 1. */
  readonly line: number;
  /** Column of the first word, from 1. */
  readonly column: number;
  /** The rule as written, without comment and surrounding blanks. */
  readonly text: string;
  /** What the rule says when it matches. */
  readonly effect: "allow" | "deny";
  /** Remote delegates that may ask. */
  readonly delegates: readonly string[] | "*";
  /** End users that may ask. */
  readonly users: readonly string[] | "*";
  /** Protocol of the pinhole. */
  readonly protocol: Protocol | "*";
  /** External hosts. */
  readonly sources: readonly IpRange[] | "*";
  /** Ports of the external host. */
  readonly sourcePorts: readonly PortRange[] | "*";
  /** Internal hosts. */
  readonly destinations: readonly IpRange[] | "*";
  /** Ports of the internal host. */
  readonly destinationPorts: readonly PortRange[] | "*";
  /** Conditions and limits. */
  readonly keys: RuleKeys;
}

/** Names of the days as in `days=`, Sunday first as in `Date.getDay`. */
export const DAY_NAMES = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] as const;

/**
 * The canonical text of a rule: reading it gives a rule that decides the same. Host names appear as
 * the addresses they stood for.
 */
export function formatRule(rule: PolicyRule): string {
  const list = <T>(value: readonly T[] | "*", text: (item: T) => string): string =>
    value === "*" ? "*" : value.map(text).join(",");
  const name = (n: string) => n;
  const fields = [
    rule.effect,
    list(rule.delegates, name),
    list(rule.users, name),
    rule.protocol,
    list(rule.sources, rangeText),
    list(rule.sourcePorts, portText),
    list(rule.destinations, rangeText),
    list(rule.destinationPorts, portText),
  ];
  const { hours, days, until, max, rate, ttl, idle, id, comment } = rule.keys;
  if (hours !== undefined) {
    fields.push(`hours=${clockText(hours.start)}-${clockText(hours.end)}`);
  }
  if (days !== undefined) fields.push(`days=${daysText(days)}`);
  if (until !== undefined) {
    fields.push(`until=${new Date(until).toISOString().replace(".000Z", "Z")}`);
  }
  if (max !== undefined) fields.push(`max=${max}`);
  if (rate !== undefined) fields.push(`rate=${rate}`);
  if (ttl !== undefined) fields.push(`ttl=${durationText(ttl)}`);
  if (idle !== undefined) fields.push(`idle=${durationText(idle)}`);
  if (id !== undefined) fields.push(`id=${id}`);
  if (comment !== undefined) {
    fields.push(`comment="${comment.replace(/["\\]/g, (c) => `\\${c}`)}"`);
  }
  return fields.join(" ");
}

/** A duration as in `ttl=`: `1h30m`, `45s`, `2d`. */
export function durationText(seconds: number): string {
  let rest = seconds;
  let text = "";
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]] as const) {
    const n = Math.floor(rest / size);
    if (n > 0) text += `${n}${unit}`;
    rest -= n * size;
  }
  return text === "" ? "0s" : text;
}

function portText(range: PortRange): string {
  return range.first === range.last ? `${range.first}` : `${range.first}-${range.last}`;
}

function clockText(minute: number): string {
  const two = (n: number) => String(n).padStart(2, "0");
  return `${two(Math.floor(minute / 60))}:${two(minute % 60)}`;
}

function daysText(days: number): string {
  return DAY_NAMES.filter((_, i) => (days & (1 << i)) !== 0).join(",");
}
