/**
 * Finds rules that a policy could do without, or that can never speak.
 *
 * @module
 */
import { compareIp, type IpRange } from "../net/ip.ts";
import { type Point, protocolBits, type RuleGroup, RuleIndex } from "./policy_index.ts";
import { MAX_PROBLEMS } from "./policy_lines.ts";
import type { PolicyProblem } from "./policy_problem.ts";
import type { PolicyRule, PortRange } from "./policy_rule.ts";

/** Rules looked at after which the search ends, so that no policy takes minutes. */
const BUDGET = 20_000_000;

/**
 * Warnings about the rules of one file, in their order: rules whose time has passed, allow rules that a
 * deny rule undoes entirely, and rules that say nothing that another does not say already.
 *
 * @param now milliseconds since the epoch.
 */
export function checkPolicy(rules: readonly PolicyRule[], now: number): PolicyProblem[] {
  const warnings: PolicyProblem[] = [];
  const index = new RuleIndex(rules);
  let budget = BUDGET;
  const cover = (b: number, groups: readonly RuleGroup[]): PolicyRule | undefined => {
    const rule = rules[b] as PolicyRule;
    const point = lowestPoint(rule, index);
    let first = rules.length;
    for (const group of groups) {
      const count = index.collect(group, point);
      budget -= count;
      for (let i = 0; i < count; i++) {
        const a = index.found[i] as number;
        if (a === b || a >= first) continue;
        if (covers(rules[a] as PolicyRule, rule) && outdoes(rules, a, b)) first = a;
      }
    }
    return rules[first];
  };
  for (let id = 0; id < rules.length; id++) {
    const rule = rules[id] as PolicyRule;
    if (budget <= 0 || warnings.length === MAX_PROBLEMS - 1) {
      warnings.push(
        warning(rule, "Too many warnings or overlaps: no rule from here on was compared"),
      );
      break;
    }
    const { until } = rule.keys;
    if (until !== undefined && until <= now) {
      warnings.push(warning(rule, "The time in until= has passed: the rule says nothing any more"));
      continue;
    }
    const undone = rule.effect === "allow" ? cover(id, index.deny) : undefined;
    if (undone !== undefined) {
      warnings.push(warning(rule, `Never allows anything: line ${undone.line} denies all of it`));
      continue;
    }
    const same = cover(id, rule.effect === "allow" ? index.allow : index.deny);
    if (same !== undefined) {
      const verb = rule.effect === "allow" ? "allows" : "denies";
      warnings.push(warning(rule, `Not needed: line ${same.line} ${verb} all of it`));
    }
  }
  return warnings;
}

function warning(rule: PolicyRule, message: string): PolicyProblem {
  const { file, line, column } = rule;
  const source = " ".repeat(column - 1) + rule.text;
  return { file, line, column, severity: "warning", message, source };
}

/** A point that every rule holds that covers the given one. Ranks of -1 lie in no range. */
function lowestPoint(rule: PolicyRule, index: RuleIndex): Point {
  const { delegates, users, sources, destinations, destinationPorts } = rule;
  const name = (names: readonly string[] | "*") => names === "*" ? -1 : index.name(names[0] ?? "");
  const source = sources === "*" ? undefined : sources[0];
  const destination = destinations === "*" ? undefined : destinations[0];
  return {
    delegate: name(delegates),
    user: name(users),
    protocol: protocolBits(rule.protocol),
    source: source === undefined ? -1 : index.source(source.first),
    sourcePort: -1,
    destination: destination === undefined ? -1 : index.destination(destination.first),
    destinationPort: destinationPorts === "*" ? -1 : destinationPorts[0]?.first ?? -1,
  };
}

/** True when the fields of `a` match whatever those of `b` match. */
function covers(a: PolicyRule, b: PolicyRule): boolean {
  return (a.protocol === "*" || a.protocol === b.protocol) &&
    includesAll(a.delegates, b.delegates, (x: string, y: string) => x === y) &&
    includesAll(a.users, b.users, (x: string, y: string) => x === y) &&
    includesAll(a.sources, b.sources, holdsRange) &&
    includesAll(a.destinations, b.destinations, holdsRange) &&
    includesAll(a.sourcePorts, b.sourcePorts, holdsPorts) &&
    includesAll(a.destinationPorts, b.destinationPorts, holdsPorts);
}

function includesAll<T>(
  a: readonly T[] | "*",
  b: readonly T[] | "*",
  holds: (x: T, y: T) => boolean,
): boolean {
  if (a === "*") return true;
  return b !== "*" && b.every((y) => a.some((x) => holds(x, y)));
}

function holdsRange(a: IpRange, b: IpRange): boolean {
  return a.first.family === b.first.family && compareIp(a.first, b.first) <= 0 &&
    compareIp(a.last, b.last) >= 0;
}

function holdsPorts(a: PortRange, b: PortRange): boolean {
  return a.first <= b.first && a.last >= b.last;
}

/** True when rule `a`, whose fields cover those of `b`, leaves `b` nothing to say. */
function outdoes(rules: readonly PolicyRule[], a: number, b: number): boolean {
  const x = rules[a] as PolicyRule;
  const y = rules[b] as PolicyRule;
  if (!speaksWhenever(x, y)) return false;
  if (x.effect !== y.effect || a < b) return true;
  // The earlier of two allow rules decides the lifetimes; of two equal rules the later is not needed.
  if (x.keys.ttl !== y.keys.ttl || x.keys.idle !== y.keys.idle) return false;
  return !(covers(y, x) && speaksWhenever(y, x));
}

/** True when the keys of `a` hold whenever those of `b` do. */
function speaksWhenever(a: PolicyRule, b: PolicyRule): boolean {
  const [x, y] = [a.keys, b.keys];
  return (x.hours === undefined ||
    (x.hours.start === y.hours?.start && x.hours.end === y.hours.end)) &&
    (x.days === undefined || x.days === y.days) &&
    (x.until === undefined || (y.until !== undefined && y.until <= x.until)) &&
    (x.max === undefined || (y.max !== undefined && y.max <= x.max)) &&
    (x.rate === undefined || (y.rate !== undefined && y.rate <= x.rate));
}
