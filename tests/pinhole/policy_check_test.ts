import assert from "node:assert/strict";
import fc from "fast-check";
import { checkPolicy, compilePolicy, parsePolicy, problemText } from "../../lib/pinhole/policy.ts";
import { modelQuestion, modelRule, ruleLine } from "./policy_model.ts";

const NOW = Date.UTC(2026, 5, 10);

function warnings(...lines: string[]): string[] {
  const { rules, problems } = parsePolicy(lines.join("\n"), "f");
  assert.deepEqual(problems, []);
  return checkPolicy(rules, NOW).map(problemText);
}

Deno.test("rules that say nothing are told", () => {
  const cases: readonly (readonly [lines: string[], ...found: string[]])[] = [
    [["allow a * tcp * * * *", "allow b * tcp * * * *", "deny * c * * * * 1"]],
    [
      ["allow * * tcp * * 10.0.0.0/8 1024-65535", "  allow a b tcp 192.0.2.1 20 10.1.0.0/16 2000"],
      "f:2:3: warning: Not needed: line 1 allows all of it",
    ],
    [
      ["allow a b tcp 192.0.2.1 20 10.1.0.0/16 2000", "allow * * * * * 10.0.0.0/8 1024-65535"],
      "f:1:1: warning: Not needed: line 2 allows all of it",
    ],
    [
      ["allow a * * * * * *", "allow a * * * * * *"],
      "f:2:1: warning: Not needed: line 1 allows all of it",
    ],
    [
      ["allow a,b * * * * 10.0.0.1,10.0.0.9 *", "deny * * * * * 10.0.0.0/28 *"],
      "f:1:1: warning: Never allows anything: line 2 denies all of it",
    ],
    [
      ["deny * * * * * 10.0.0.1 *", "deny x * * * * 10.0.0.1 *"],
      "f:2:1: warning: Not needed: line 1 denies all of it",
    ],
    [
      ["allow * * * * * * * until=2026-06-01"],
      "f:1:1: warning: The time in until= has passed: the rule says nothing any more",
    ],
    // Other lifetimes, limits or times: both have their use.
    [["allow a * * * * * * ttl=1h", "allow * * * * * * * ttl=2h"]],
    [["allow * * * * * * * hours=08:00-18:00", "allow a * * * * * *"]],
    [["allow * * * * * * * max=3", "allow a * * * * * * max=4"]],
    [["deny * * * * * * * days=sun", "allow a * * * * * *"]],
    [
      ["allow * * * 10.0.0.0/8 * * *", "allow * * * 10.0.0.0/8,192.0.2.1 * * *"],
      "f:1:1: warning: Not needed: line 2 allows all of it",
    ],
    [["allow * * * 0.0.0.0/0 * * *", "allow * * tcp * * * *"]],
    // The same or stricter limits: the second adds nothing.
    [
      [
        "allow * * * * * * * max=3 hours=08:00-18:00",
        "allow a * * * * * * hours=08:00-18:00 max=2",
      ],
      "f:2:1: warning: Not needed: line 1 allows all of it",
    ],
  ];
  for (const [lines, ...found] of cases) {
    assert.deepEqual(warnings(...lines), found, lines.join("; "));
  }
});

Deno.test("rules that are told not to be needed change nothing when all are taken out", () => {
  fc.assert(
    fc.property(
      fc.array(modelRule, { minLength: 2, maxLength: 10 }),
      fc.array(modelQuestion, { minLength: 10, maxLength: 20 }),
      (model, questions) => {
        const { rules } = parsePolicy(model.map(ruleLine).join("\n"), "f");
        const idle = checkPolicy(rules, 0).map((w) => w.line);
        const all = compilePolicy(rules);
        const fewer = compilePolicy(rules.filter((r) => !idle.includes(r.line)));
        for (const q of questions) {
          const state = { openPinholes: () => q.open, recentRequests: () => q.recent };
          assert.equal(fewer.decide(q, state).permitted, all.decide(q, state).permitted);
        }
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("a policy of equal rules is not compared forever", () => {
  const found = warnings(...Array(3000).fill("allow * * tcp * * * *"));
  assert.equal(found.length, 1000);
  assert.match(found.at(-1) ?? "", /^f:1001:1: warning: Too many warnings or overlaps/);
});
