/**
 * The compiled policy: decides in microseconds, whatever the number of rules.
 *
 * @module
 */
import { unmapIp } from "../net/ip.ts";
import { type Point, protocolBits, RuleIndex } from "./policy_index.ts";
import { explainRule } from "./policy_explain.ts";
import {
  type PolicyDecision,
  type PolicyExplanation,
  type PolicyQuestion,
  type PolicyState,
  questionFault,
  type RulePart,
} from "./policy_question.ts";
import type { PolicyRule } from "./policy_rule.ts";
import { hasTime, type LocalTime, localTime, missedTime, timeEnd } from "./policy_time.ts";

/** A policy that can be asked. Made by {@link compilePolicy}. */
export interface Policy {
  /** The rules that it was made of, in their order. */
  readonly rules: readonly PolicyRule[];
  /**
   * Permitted when at least one rule allows it and none denies it (paper, section 4.2). A question that
   * makes no sense is refused. Only `state` can make it throw.
   */
  decide(question: PolicyQuestion, state: PolicyState): PolicyDecision;
  /** The same decision with what every rule said. Slow: looks at all rules. */
  explain(question: PolicyQuestion, state: PolicyState): PolicyExplanation;
}

/**
 * Compiles rules. Rules of several files can be joined; their order is that of the array.
 *
 * Rules must come from a file without errors: a rule that could not be read may be a deny rule, and
 * without it the policy would permit what it should not.
 */
export function compilePolicy(rules: readonly PolicyRule[]): Policy {
  return new CompiledPolicy(rules);
}

class CompiledPolicy implements Policy {
  readonly rules: readonly PolicyRule[];
  readonly #index: RuleIndex;
  readonly #why: readonly string[];
  readonly #point: Point = {
    delegate: -1,
    user: -1,
    protocol: 0,
    source: 0,
    sourcePort: 0,
    destination: 0,
    destinationPort: 0,
  };

  constructor(rules: readonly PolicyRule[]) {
    this.rules = [...rules];
    this.#index = new RuleIndex(this.rules);
    this.#why = this.rules.map((rule) => {
      if (rule.effect === "allow") return `allowed by ${ruleName(rule)}`;
      // Whoever is refused something wants to know why.
      const { comment } = rule.keys;
      return `denied by ${ruleName(rule)}${comment === undefined ? "" : `: ${comment}`}`;
    });
  }

  decide(question: PolicyQuestion, state: PolicyState): PolicyDecision {
    const q = plain(question);
    const fault = questionFault(q);
    if (fault !== undefined) return { permitted: false, why: `refused: ${fault}` };
    this.#aim(q);
    const facts = new Facts(q, state);
    const denied = this.#first(this.#index.deny, facts);
    if (denied !== undefined) {
      return {
        permitted: false,
        why: this.#why[denied] as string,
        rule: this.rules[denied] as PolicyRule,
      };
    }
    const allowed = this.#first(this.#index.allow, facts);
    if (allowed === undefined) return { permitted: false, why: facts.refusal() };
    const rule = this.rules[allowed] as PolicyRule;
    const why = this.#why[allowed] as string;
    const { ttl, idle } = rule.keys;
    if (ttl === undefined && idle === undefined && !hasTime(rule.keys)) {
      return { permitted: true, why, rule };
    }
    const life = Math.min(ttl ?? Infinity, facts.secondsLeft(rule));
    return {
      permitted: true,
      why,
      rule,
      ...(life === Infinity ? {} : { ttlSeconds: life }),
      ...(idle === undefined ? {} : { idleSeconds: idle }),
    };
  }

  explain(question: PolicyQuestion, state: PolicyState): PolicyExplanation {
    const decision = this.decide(question, state);
    const q = plain(question);
    const open = state.openPinholes(q.delegate, q.user);
    const recent = state.recentRequests(q.delegate, q.user);
    const rules = this.rules.map((rule) => explainRule(rule, q, open, recent));
    return { ...decision, rules };
  }

  #aim(q: PolicyQuestion): void {
    const p = this.#point;
    p.delegate = this.#index.name(q.delegate);
    p.user = this.#index.name(q.user);
    p.protocol = protocolBits(q.protocol);
    p.source = this.#index.source(q.source);
    p.sourcePort = q.sourcePort;
    p.destination = this.#index.destination(q.destination);
    p.destinationPort = q.destinationPort;
  }

  /** The first rule of the policy, among these groups, that matches with its keys. */
  #first(groups: RuleIndex["allow"], facts: Facts): number | undefined {
    const index = this.#index;
    let best = this.rules.length;
    for (const group of groups) {
      const count = index.collect(group, this.#point);
      for (let i = 0; i < count; i++) {
        const id = index.found[i] as number;
        if (id >= best || !index.matches(id, this.#point)) continue;
        if (facts.hold(this.rules[id] as PolicyRule, id)) best = id;
      }
    }
    return best === this.rules.length ? undefined : best;
  }
}

/** The facts of one decision that the keys of rules need, each found out once and only when needed. */
class Facts {
  readonly #q: PolicyQuestion;
  readonly #state: PolicyState;
  #now: LocalTime | undefined;
  #open: number | undefined;
  #recent: number | undefined;
  /** The first allow rule that failed by its keys alone. */
  #near: PolicyRule | undefined;
  #nearId = Infinity;
  #nearPart: RulePart | undefined;

  constructor(q: PolicyQuestion, state: PolicyState) {
    this.#q = q;
    this.#state = state;
  }

  /** True when the keys of a rule, whose fields match, let it speak. */
  hold(rule: PolicyRule, id: number): boolean {
    const part = this.#missed(rule);
    if (part === undefined) return true;
    if (rule.effect === "allow" && id < this.#nearId) {
      this.#near = rule;
      this.#nearId = id;
      this.#nearPart = part;
    }
    return false;
  }

  /** Whole seconds until the time conditions of a matching rule end, at least 1. */
  secondsLeft(rule: PolicyRule): number {
    if (!hasTime(rule.keys)) return Infinity;
    return Math.max(1, Math.floor((timeEnd(rule.keys, this.#clock()) - this.#q.at) / 1000));
  }

  /** Why no rule allowed it. */
  refusal(): string {
    if (this.#near === undefined) return "refused: no rule allows it";
    const { max, rate } = this.#near.keys;
    const would = `refused: ${ruleName(this.#near)} would allow it, but`;
    switch (this.#nearPart) {
      case "max":
        return `${would} the user has ${this.#open} open and max=${max}`;
      case "rate":
        return `${would} the user made ${this.#recent} requests in the last minute and rate=${rate}`;
      default:
        return `${would} not at this time (${this.#nearPart})`;
    }
  }

  #missed(rule: PolicyRule): RulePart | undefined {
    const { keys } = rule;
    const time = hasTime(keys) ? missedTime(keys, this.#clock()) : undefined;
    if (time !== undefined) return time;
    // Written so that a count that is not a number does not allow.
    if (keys.max !== undefined) {
      this.#open ??= this.#state.openPinholes(this.#q.delegate, this.#q.user);
      if (!(this.#open < keys.max)) return "max";
    }
    if (keys.rate !== undefined) {
      this.#recent ??= this.#state.recentRequests(this.#q.delegate, this.#q.user);
      if (!(this.#recent < keys.rate)) return "rate";
    }
    return undefined;
  }

  #clock(): LocalTime {
    return this.#now ??= localTime(this.#q.at);
  }
}

/** A rule for people: `file:line`, with its id where it has one. */
export function ruleName(rule: PolicyRule): string {
  const { id } = rule.keys;
  return `${rule.file}:${rule.line}${id === undefined ? "" : ` (${id})`}`;
}

/** The question with IPv4 addresses inside IPv6 taken out, so that IPv4 rules see them. */
function plain(q: PolicyQuestion): PolicyQuestion {
  const source = unmapIp(q.source);
  const destination = unmapIp(q.destination);
  return source === q.source && destination === q.destination ? q : { ...q, source, destination };
}
