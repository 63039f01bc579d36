/**
 * What a policy is asked and what it answers.
 *
 * @module
 */
import type { IpAddress } from "../net/ip.ts";
import type { Protocol } from "./pinhole.ts";
import type { PolicyRule } from "./policy_rule.ts";

/** May this end user, through this delegate, have this pinhole now? */
export interface PolicyQuestion {
  /** The remote delegate: the identity that the broker has proven to the controller. */
  readonly delegate: string;
  /** The end user, as the broker tells it. */
  readonly user: string;
  /** The pinhole's protocol. */
  readonly protocol: Protocol;
  /** The external host. */
  readonly source: IpAddress;
  /**
   * 0 means that the pinhole would be open to any source port. An allow rule with limited source ports
   * does then not match, since it does not cover all of them, and a deny rule with limited source ports
   * does, since some of them are denied.
   */
  readonly sourcePort: number;
  /** The internal host. */
  readonly destination: IpAddress;
  /** 1 to 65535. */
  readonly destinationPort: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/**
 * What the controller knows of an end user: a user name under one delegate, so that what happens on one
 * host does not use up what is allowed on another. Asked only when a rule has `max` or `rate`.
 */
export interface PolicyState {
  /** Pinholes that the end user has open or asked for, without the one in question. */
  openPinholes(delegate: string, user: string): number;
  /** Requests of the end user in the last 60 seconds, refused ones too, without this one. */
  recentRequests(delegate: string, user: string): number;
}

/** The state in which nobody has anything open and nobody has asked. */
export const IDLE_STATE: PolicyState = {
  openPinholes: () => 0,
  recentRequests: () => 0,
};

/** The answer of a policy. */
export interface PolicyDecision {
  /** Whether the pinhole may be opened. */
  readonly permitted: boolean;
  /** The reason in words, with the rule as `file:line`. */
  readonly why: string;
  /** The rule that decided: the first that denies, or else the first that allows. */
  readonly rule?: PolicyRule;
  /**
   * Longest life in seconds, at least 1: the rule's `ttl`, or less where its `hours`, `days` or `until`
   * end sooner. Absent without a limit.
   */
  readonly ttlSeconds?: number;
  /** Close after so many seconds without traffic. Absent without a limit. */
  readonly idleSeconds?: number;
}

/** A part of a rule that can fail to match. */
export type RulePart =
  | "delegate"
  | "user"
  | "protocol"
  | "source"
  | "source-port"
  | "destination"
  | "destination-port"
  | "hours"
  | "days"
  | "until"
  | "max"
  | "rate";

/** What one rule says to a question. */
export interface RuleVerdict {
  /** The rule. */
  readonly rule: PolicyRule;
  /** True when every part of it matches. */
  readonly matched: boolean;
  /** The parts that do not match; empty when the rule matches. */
  readonly missed: readonly RulePart[];
}

/** A decision with what each rule said. */
export interface PolicyExplanation extends PolicyDecision {
  /** All rules in the order of the policy. */
  readonly rules: readonly RuleVerdict[];
}

/** What makes a question one that no policy can answer, or `undefined`. */
export function questionFault(q: PolicyQuestion): string | undefined {
  if (q.protocol !== "tcp" && q.protocol !== "udp") return "the protocol is neither tcp nor udp";
  if (q.source.family !== q.destination.family) {
    return "source and destination are of different families, IPv4 and IPv6";
  }
  if (!(Number.isInteger(q.sourcePort) && q.sourcePort >= 0 && q.sourcePort <= 65535)) {
    return `source port ${q.sourcePort} is not 0 to 65535`;
  }
  if (
    !(Number.isInteger(q.destinationPort) && q.destinationPort >= 1 && q.destinationPort <= 65535)
  ) {
    return `destination port ${q.destinationPort} is not 1 to 65535`;
  }
  // Date knows no time outside of these bounds, and hours= could then fail to deny.
  return Math.abs(q.at) <= 8.64e15 ? undefined : "the request has no valid time";
}
