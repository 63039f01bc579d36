import assert from "node:assert/strict";
import fc from "fast-check";
import { ipFromBytes, parseIp } from "../../lib/net/ip.ts";
import {
  compilePolicy,
  formatRule,
  IDLE_STATE,
  parsePolicy,
  type Policy,
  type PolicyDecision,
  type PolicyQuestion,
  type PolicyState,
} from "../../lib/pinhole/policy.ts";
import { parseEndpoint } from "../../lib/pinhole/endpoint.ts";
import { judge, modelQuestion, modelRule, ruleLine, speaks } from "./policy_model.ts";

function compile(...lines: string[]): Policy {
  const { rules, problems } = parsePolicy(lines.join("\n"), "p");
  assert.deepEqual(problems, []);
  return compilePolicy(rules);
}

function question(text: string, extra: Partial<PolicyQuestion> = {}): PolicyQuestion {
  const [delegate = "", user = "", protocol, from = "", to = ""] = text.split(" ");
  const source = parseEndpoint(from);
  const destination = parseEndpoint(to);
  assert.ok(source && destination && (protocol === "tcp" || protocol === "udp"));
  return {
    delegate,
    user,
    protocol,
    source: source.address,
    sourcePort: source.port,
    destination: destination.address,
    destinationPort: destination.port,
    at: Date.UTC(2026, 5, 10, 12),
    ...extra,
  };
}

function ask(policy: Policy, text: string, state: PolicyState = IDLE_STATE): PolicyDecision {
  return policy.decide(question(text), state);
}

const FTP = "ftp alice tcp 192.0.2.1 10.0.0.1:50000";

Deno.test("without a rule everything is refused", () => {
  assert.deepEqual(ask(compile(), FTP), { permitted: false, why: "refused: no rule allows it" });
  const other = compile("allow ftp alice tcp 192.0.2.2 * 10.0.0.1 *");
  assert.deepEqual(ask(other, FTP), { permitted: false, why: "refused: no rule allows it" });
});

Deno.test("a deny rule wins wherever it stands", () => {
  const allow = "allow * * * * * * *";
  const deny = "deny * alice * * * * * id=no";
  for (const lines of [[allow, deny], [deny, allow]]) {
    const decision = ask(compile(...lines), FTP);
    assert.equal(decision.permitted, false);
    assert.equal(decision.why, `denied by p:${lines.indexOf(deny) + 1} (no)`);
    assert.equal(decision.rule?.text, deny);
    assert.ok(ask(compile(...lines), FTP.replace("alice", "bob")).permitted);
  }
});

Deno.test("the first rule that allows gives the lifetimes", () => {
  const policy = compile(
    "allow web * * * * * * ttl=1s",
    "allow ftp * * * * * * ttl=1h30m idle=10m id=short",
    "allow * * * * * * * ttl=9h",
  );
  const decision = ask(policy, FTP);
  assert.equal(decision.why, "allowed by p:2 (short)");
  assert.equal(decision.ttlSeconds, 5400);
  assert.equal(decision.idleSeconds, 600);
  const plain = ask(compile("allow * * * * * * *"), FTP);
  assert.deepEqual(Object.keys(plain).sort(), ["permitted", "rule", "why"]);
});

Deno.test("a pinhole does not outlive the time in which its rule allows it", () => {
  const at = new Date(2026, 5, 10, 17, 59, 30, 500).getTime();
  const life = (keys: string) =>
    compile(`allow * * * * * * * ${keys}`).decide(question(FTP, { at }), IDLE_STATE).ttlSeconds;
  assert.equal(life("hours=08:00-18:00"), 29);
  assert.equal(life("hours=08:00-18:00 ttl=10s"), 10);
  assert.equal(life("hours=08:00-18:00 ttl=1h"), 29);
  assert.equal(life("days=wed ttl=30d"), 6 * 3600 + 29);
  assert.equal(life(`until=${new Date(at + 100).toISOString()}`), 1);
  assert.equal(life("days=mon-sun"), undefined);
});

Deno.test("a pinhole for any source port needs a rule for any source port", () => {
  const limited = compile("allow * * tcp * 20 * *");
  assert.equal(ask(limited, FTP).permitted, false);
  assert.equal(ask(limited, "ftp alice tcp 192.0.2.1:20 10.0.0.1:50000").permitted, true);
  assert.equal(ask(limited, "ftp alice tcp 192.0.2.1:21 10.0.0.1:50000").permitted, false);
  assert.equal(ask(compile("allow * * tcp * 1-65535 * *"), FTP).permitted, true);
  assert.equal(ask(compile("allow * * tcp * 1-9,10-65535 * *"), FTP).permitted, true);
});

Deno.test("a denied source port denies a pinhole for any source port", () => {
  const policy = compile("allow * * * * * * *", "deny * * tcp * 20 * *");
  assert.equal(ask(policy, FTP).permitted, false);
  assert.equal(ask(policy, "ftp alice tcp 192.0.2.1:20 10.0.0.1:50000").permitted, false);
  assert.equal(ask(policy, "ftp alice tcp 192.0.2.1:21 10.0.0.1:50000").permitted, true);
});

Deno.test("the paper's host delegates open pinholes to their own host only", () => {
  const policy = compile("allow host1 * * * * 10.0.0.1 *", "allow host2 * * * * 10.0.0.2 *");
  assert.ok(ask(policy, "host1 u tcp 192.0.2.1 10.0.0.1:50000").permitted);
  assert.ok(!ask(policy, "host1 u tcp 192.0.2.1 10.0.0.2:50000").permitted);
});

Deno.test("max and rate count the end user under the delegate", () => {
  const policy = compile("allow ftp * * * * * * max=2 id=few", "allow web * * * * * * rate=3");
  const asked: string[] = [];
  const state = (open: number, recent: number): PolicyState => ({
    openPinholes: (delegate, user) => (asked.push(`open ${delegate} ${user}`), open),
    recentRequests: (delegate, user) => (asked.push(`recent ${delegate} ${user}`), recent),
  });
  assert.ok(ask(policy, FTP, state(1, 99)).permitted);
  assert.equal(
    ask(policy, FTP, state(2, 0)).why,
    "refused: p:1 (few) would allow it, but the user has 2 open and max=2",
  );
  const web = FTP.replace("ftp", "web");
  assert.ok(ask(policy, web, state(99, 2)).permitted);
  assert.equal(
    ask(policy, web, state(0, 3)).why,
    "refused: p:2 would allow it, but the user made 3 requests in the last minute and rate=3",
  );
  assert.deepEqual(asked, [
    "open ftp alice",
    "open ftp alice",
    "recent web alice",
    "recent web alice",
  ]);
  assert.ok(!ask(policy, FTP, state(NaN, NaN)).permitted, "a count that is none allows nothing");
});

Deno.test("an IPv4 address inside IPv6 does not get around a rule", () => {
  const policy = compile("allow * * * * * * *", "deny * * * 192.0.2.0/24 * * *");
  const [source, destination] = [parseIp("::ffff:192.0.2.9"), parseIp("::ffff:10.0.0.1")];
  assert.ok(source && destination);
  const decision = policy.decide(question(FTP, { source, destination }), IDLE_STATE);
  assert.equal(decision.why, "denied by p:2");
});

Deno.test("a question that makes no sense is refused by a policy that allows all", () => {
  const policy = compile("allow * * * * * * *");
  const v6 = ipFromBytes(new Uint8Array(16));
  const bad: Partial<PolicyQuestion>[] = [
    { destinationPort: 0 },
    { destinationPort: 65536 },
    { destinationPort: 1.5 },
    { destinationPort: NaN },
    { sourcePort: -1 },
    { sourcePort: NaN },
    { source: v6 },
    { at: NaN },
    { at: Infinity },
  ];
  for (const extra of bad) {
    const decision = policy.decide(question(FTP, extra), IDLE_STATE);
    assert.equal(decision.permitted, false, JSON.stringify(extra));
    assert.match(decision.why, /^refused: /);
    assert.equal(policy.explain(question(FTP, extra), IDLE_STATE).permitted, false);
  }
});

Deno.test("explain tells what matched and which part did not", () => {
  const policy = compile(
    "allow ftp * tcp * * 10.0.0.0/8 1024-65535",
    "allow ftp * udp * 20 10.0.0.2 50000 max=1 rate=1 until=2020-01-01",
    "deny web bob * 192.0.2.1 * * 1 days=sun",
    "deny * * * 192.0.2.7 * * *",
  );
  const state = { openPinholes: () => 1, recentRequests: () => 1 };
  const { permitted, rules } = policy.explain(question(FTP), state);
  assert.equal(permitted, true);
  assert.deepEqual(rules.map((v) => [v.rule.line, v.matched, v.missed.join()]), [
    [1, true, ""],
    [2, false, "protocol,source-port,destination,until,max,rate"],
    [3, false, "delegate,user,destination-port,days"],
    [4, false, "source"],
  ]);
});

Deno.test("decide and explain agree with the judge that reads rule by rule", () => {
  fc.assert(
    fc.property(
      fc.array(modelRule, { maxLength: 24 }),
      fc.array(modelQuestion, { minLength: 1, maxLength: 20 }),
      (model, questions) => {
        const policy = compile(...model.map(ruleLine));
        for (const q of questions) {
          const state = { openPinholes: () => q.open, recentRequests: () => q.recent };
          const expected = judge(model, q);
          const decision = policy.decide(q, state);
          assert.equal(decision.permitted, expected.permitted, decision.why);
          assert.equal(
            decision.rule?.line,
            expected.by === undefined ? undefined : expected.by + 1,
          );
          const { rules, ...rest } = policy.explain(q, state);
          assert.deepEqual(rest, decision);
          assert.deepEqual(rules.map((v) => v.matched), model.map((r) => speaks(r, q)));
        }
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("a rule decides the same after it was written and read again", () => {
  fc.assert(fc.property(fc.array(modelRule, { minLength: 1, maxLength: 6 }), (model) => {
    const policy = compile(...model.map(ruleLine));
    const again = compile(...policy.rules.map(formatRule));
    const facts = (p: Policy) => p.rules.map(({ text: _, ...rest }) => rest);
    assert.deepEqual(facts(again), facts(policy));
  }));
});

Deno.test("ten thousand rules find the one that speaks", () => {
  const host = (i: number) => `10.${i >> 8}.${i & 255}.1`;
  const lines = Array.from({ length: 10_000 }, (_, i) => {
    const port = 1024 + (i % 6000) * 10;
    return i % 10 === 9
      ? `deny host${i - 1} * * * * ${host(i - 1)} ${1024 + ((i - 1) % 6000) * 10 + 5}`
      : `allow host${i} * tcp * * ${host(i)} ${port}-${port + 9}`;
  });
  const policy = compile(...lines);
  for (let i = 0; i < 10_000; i += 7) {
    const port = 1024 + (i % 6000) * 10;
    const at = (n: number, p: number) => `host${i} u tcp 192.0.2.1 ${host(n)}:${p}`;
    const allowed = i % 10 !== 9;
    assert.equal(ask(policy, at(i, port)).rule?.line, allowed ? i + 1 : undefined);
    assert.equal(ask(policy, at(i, port + 9)).permitted, allowed);
    assert.equal(ask(policy, at(i, port + 10)).permitted, false);
    assert.equal(ask(policy, at(i, port - 1)).permitted, false);
    assert.equal(ask(policy, at((i + 1) % 10_000, port)).permitted, false);
    const denied = ask(policy, at(i, port + 5));
    assert.equal(denied.rule?.line, i % 10 === 8 ? i + 2 : allowed ? i + 1 : undefined);
  }
});
