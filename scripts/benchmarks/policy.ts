/**
 * How fast a policy of 10,000 rules decides, in three shapes: a delegate for each host; networks by
 * networks without names; and ranges that overlap so much that hundreds hold every address. The baseline
 * reads the same rules one by one, in the same run.
 *
 * @module
 */
import { type IpAddress, ipFromBytes } from "../../lib/net/ip.ts";
import {
  compilePolicy,
  IDLE_STATE,
  parsePolicy,
  type Policy,
  type PolicyQuestion,
} from "../../lib/pinhole/policy.ts";
import { explainRule } from "../../lib/pinhole/policy_explain.ts";
import { median, quantile, report } from "./report.ts";

const RULES = 10_000;
const QUESTIONS = 4096;
const ROUNDS = 5;
const DECISIONS = 200_000;
const SINGLES = 50_000;
const TARGET = 100_000;
const AT = Date.UTC(2026, 5, 10, 12);

/** A number from 0 to `below` - 1. */
type Random = (below: number) => number;

interface Shape {
  readonly name: string;
  readonly rule: (i: number, random: Random) => string;
  readonly question: (random: Random) => PolicyQuestion;
}

const shapes: readonly Shape[] = [
  {
    name: "a delegate for each host",
    rule: (i) =>
      i % 20 === 19
        ? `deny * * tcp 203.0.113.${i % 256} * ${hostText(i)} *`
        : `allow host${i} * tcp * * ${hostText(i)} 1024-65535 hours=00:30-23:30 max=9 ttl=8h`,
    question: (random) => {
      const i = random(RULES);
      return ask(
        `host${i}`,
        "alice",
        ip(203, 0, 113, random(256)),
        ip(10, i >> 8, i & 255, 10),
        random,
      );
    },
  },
  {
    name: "networks by networks",
    rule: (i, random) =>
      `${effect(i)} * * ${i % 2 === 0 ? "*" : "tcp"} ${random(200) + 1}.${random(256)}.0.0/16 * ` +
      `10.${random(256)}.${random(16) * 16}.0/20 ${1024 + random(60_000)}-65535`,
    question: (random) => {
      const source = ip(random(200) + 1, random(256), random(256), random(256));
      return ask("site", "alice", source, ip(10, random(256), random(256), random(256)), random);
    },
  },
  {
    name: "overlapping ranges",
    rule: (i, random) => {
      const ports = `${1 + random(30_000)}-${33_000 + random(30_000)}`;
      const source = wideRange(0, random(40_000));
      return `${effect(i)} * user${random(4)} * ${source} * ${
        wideRange(1, random(40_000))
      } ${ports}`;
    },
    question: (random) => {
      const source = ip(10, 0, random(160), random(256));
      return ask("site", `user${random(5)}`, source, ip(10, 1, random(160), random(256)), random);
    },
  },
];

for (const shape of shapes) measure(shape);

function measure(shape: Shape): void {
  const random = numbers(1);
  const text = Array.from({ length: RULES }, (_, i) => shape.rule(i, random)).join("\n");
  const questions = Array.from({ length: QUESTIONS }, () => shape.question(random));
  const start = performance.now();
  const { rules, problems } = parsePolicy(text, "bench.policy");
  if (problems.length > 0) throw new Error(`The policy is bad: ${problems[0]?.message}`);
  const policy = compilePolicy(rules);
  const ready = performance.now() - start;
  const rates = Array.from({ length: ROUNDS }, () => rate(policy, questions));
  const name = (what: string) => `${what}, ${shape.name}`;
  report("policy", name("decisions a second"), median(rates), "1/s", {
    baseline: plainRate(policy, questions),
    target: "at least 100,000",
    met: median(rates) >= TARGET,
  });
  report("policy", name("one decision, p99"), quantile(singles(policy, questions), 0.99), "us", {
    target: "for comparison",
    met: true,
  });
  report("policy", name("reading and compiling"), ready, "ms", {
    target: "for comparison",
    met: true,
  });
}

/** Decisions a second. */
function rate(policy: Policy, questions: readonly PolicyQuestion[]): number {
  const start = performance.now();
  for (let n = 0; n < DECISIONS; n++) policy.decide(nth(questions, n), IDLE_STATE);
  return DECISIONS / ((performance.now() - start) / 1000);
}

/** Decisions a second when every rule is read. */
function plainRate(policy: Policy, questions: readonly PolicyQuestion[]): number {
  const count = 50;
  const start = performance.now();
  for (let n = 0; n < count; n++) {
    for (const rule of policy.rules) explainRule(rule, nth(questions, n), 0, 0);
  }
  return count / ((performance.now() - start) / 1000);
}

/** The times of single decisions, in microseconds. */
function singles(policy: Policy, questions: readonly PolicyQuestion[]): number[] {
  return Array.from({ length: SINGLES }, (_, n) => {
    const question = nth(questions, n);
    const start = performance.now();
    policy.decide(question, IDLE_STATE);
    return (performance.now() - start) * 1000;
  });
}

/** Numbers that look random and are the same in every run (mulberry32). */
function numbers(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor(((t ^ (t >>> 14)) >>> 0) / 2 ** 32 * below);
  };
}

function ask(
  delegate: string,
  user: string,
  source: IpAddress,
  destination: IpAddress,
  random: Random,
): PolicyQuestion {
  const destinationPort = random(65535) + 1;
  return {
    delegate,
    user,
    protocol: "tcp",
    source,
    sourcePort: 0,
    destination,
    destinationPort,
    at: AT,
  };
}

function effect(i: number): string {
  return i % 10 === 9 ? "deny" : "allow";
}

function ip(...bytes: number[]): IpAddress {
  return ipFromBytes(Uint8Array.from(bytes));
}

function hostText(i: number): string {
  return ip(10, i >> 8, i & 255, 10).text;
}

/** A range of 2001 addresses from 10.NET.0.0 + `first`. */
function wideRange(net: number, first: number): string {
  const text = (n: number) => ip(10, net, n >> 8, n & 255).text;
  return `${text(first)}-${text(first + 2000)}`;
}

function nth<T>(values: readonly T[], n: number): T {
  return values[n % values.length] as T;
}
