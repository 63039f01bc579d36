/**
 * What a single rule says to a question, part by part. Independent of the index, so that each can be
 * held against the other.
 *
 * @module
 */
import { inRange, type IpAddress, type IpRange } from "../net/ip.ts";
import type { PolicyQuestion, RulePart, RuleVerdict } from "./policy_question.ts";
import type { PolicyRule, PortRange } from "./policy_rule.ts";
import { localTime, missedTime } from "./policy_time.ts";

/**
 * Judges one rule.
 *
 * @param open pinholes that the end user has open.
 * @param recent requests of the end user in the last minute.
 */
export function explainRule(
  rule: PolicyRule,
  q: PolicyQuestion,
  open: number,
  recent: number,
): RuleVerdict {
  const missed: RulePart[] = [];
  const need = (ok: boolean, part: RulePart) => {
    if (!ok) missed.push(part);
  };
  need(hasName(rule.delegates, q.delegate), "delegate");
  need(hasName(rule.users, q.user), "user");
  need(rule.protocol === "*" || rule.protocol === q.protocol, "protocol");
  need(hasAddress(rule.sources, q.source), "source");
  need(hasSourcePort(rule, q.sourcePort), "source-port");
  need(hasAddress(rule.destinations, q.destination), "destination");
  need(hasPort(rule.destinationPorts, q.destinationPort), "destination-port");
  const time = missedTime(rule.keys, localTime(q.at));
  if (time !== undefined) missed.push(time);
  const { max, rate } = rule.keys;
  need(max === undefined || open < max, "max");
  need(rate === undefined || recent < rate, "rate");
  return { rule, matched: missed.length === 0, missed };
}

function hasName(names: readonly string[] | "*", name: string): boolean {
  return names === "*" || names.includes(name);
}

function hasAddress(ranges: readonly IpRange[] | "*", address: IpAddress): boolean {
  return ranges === "*" || ranges.some((range) => inRange(address, range));
}

function hasPort(ports: readonly PortRange[] | "*", port: number): boolean {
  return ports === "*" || ports.some((p) => port >= p.first && port <= p.last);
}

function hasSourcePort(rule: PolicyRule, port: number): boolean {
  if (rule.sourcePorts === "*" || port !== 0) return hasPort(rule.sourcePorts, port);
  return rule.effect === "deny";
}
