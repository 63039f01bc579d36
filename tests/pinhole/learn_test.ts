import assert from "node:assert/strict";
import { parseIp } from "../../lib/net/ip.ts";
import { type LearnedRequest, learnedRules } from "../../lib/pinhole/learn.ts";
import { compilePolicy, IDLE_STATE, parsePolicy } from "../../lib/pinhole/policy.ts";

const EPHEMERAL = { first: 32_768, last: 60_999 };

function request(
  source: string,
  port: number,
  change: Partial<LearnedRequest> = {},
): LearnedRequest {
  const ip = (text: string) => parseIp(text) ?? assert.fail(text);
  const destination = source.includes(":") ? "2001:db8::1" : "192.0.2.1";
  return {
    ...{ delegate: "ftpd", user: "nobody" },
    tuple: {
      ...{ protocol: "tcp", source: ip(source), sourcePort: 0 },
      ...{ destination: ip(destination), destinationPort: port },
    },
    ...change,
  };
}

Deno.test("learnedRules() says as little as there was, and that any port was wanted", () => {
  assert.deepEqual(learnedRules([], EPHEMERAL), []);
  assert.deepEqual(
    learnedRules([
      request("198.51.100.7", 40_000),
      request("198.51.100.7", 50_000),
      request("198.51.100.8", 41_000, { user: "alice" }),
      request("2001:db8::7", 21),
    ], EPHEMERAL),
    [
      "allow ftpd nobody tcp 198.51.100.7 * 192.0.2.1 32768-60999",
      "allow ftpd alice tcp 198.51.100.8 * 192.0.2.1 32768-60999",
      "allow ftpd nobody tcp 2001:db8::7 * 2001:db8::1 21",
    ],
  );
  const active = request("198.51.100.7", 2000);
  const { tuple } = active;
  assert.deepEqual(
    learnedRules([
      { ...active, tuple: { ...tuple, sourcePort: 20 } },
      { ...active, tuple: { ...tuple, sourcePort: 20, destinationPort: 2100 } },
    ], EPHEMERAL),
    ["allow ftpd nobody tcp 198.51.100.7 20 192.0.2.1 2000-2100"],
  );
  const many = Array.from({ length: 9 }, (_, i) => request(`198.51.100.${i}`, 40_000));
  assert.deepEqual(learnedRules(many, EPHEMERAL), [
    "allow ftpd nobody tcp * * 192.0.2.1 32768-60999",
  ]);
});

Deno.test("learnedRules() are a policy that allows all that was asked", () => {
  const asked = [
    request("198.51.100.7", 40_000),
    request("198.51.100.8", 61_001),
    request("2001:db8::7", 21, { delegate: "tftpd" }),
  ];
  const text = learnedRules(asked, EPHEMERAL).join("\n");
  const { rules, problems } = parsePolicy(text, "learned", () => ({ addresses: [] }));
  assert.deepEqual(problems, []);
  const policy = compilePolicy(rules);
  for (const { delegate, user, tuple } of asked) {
    const decision = policy.decide({ delegate, user, ...tuple, at: Date.now() }, IDLE_STATE);
    assert.ok(decision.permitted, decision.why);
  }
});
