import assert from "node:assert/strict";
import fc from "fast-check";
import {
  compilePolicy,
  parseCases,
  parsePolicy,
  problemText,
  runCase,
} from "../../lib/pinhole/policy.ts";

const NOON = new Date(2026, 5, 10, 12).getTime();

const policy = compilePolicy(
  parsePolicy(
    [
      "allow ftp * tcp * * 10.0.0.1 1024-65535 id=ftp max=2 rate=5",
      "allow ftp night tcp * * 2001:db8::/32 * hours=22:00-06:00",
      "deny * mallory * * * * *",
    ].join("\n"),
    "p",
  ).rules,
);

function run(...lines: string[]): string[] {
  const { cases, problems } = parseCases(lines.join("\n"), "c");
  assert.deepEqual(problems.map(problemText), []);
  return cases.map((c) => runCase(policy, c, NOON).message);
}

Deno.test("cases pass and fail as they should", () => {
  const to = "tcp 192.0.2.1 10.0.0.1:2000";
  assert.deepEqual(
    run(
      `permit ftp bob ${to}`,
      `permit ftp bob ${to} by=ftp open=1 rate=4`,
      `permit ftp bob ${to} by=1`,
      `refuse ftp bob ${to} open=2`,
      `refuse ftp bob ${to} rate=5`,
      `refuse ftp mallory ${to} by=3`,
      `refuse ftp bob tcp 192.0.2.1:20 10.0.0.1:80`,
      `permit ftp night tcp 2001:db8:1::1 [2001:db8::1]:80 at=2026-06-10T23:00:00 by=2`,
      `refuse ftp night tcp 2001:db8:1::1 [2001:db8::1]:80`,
    ),
    Array(9).fill(""),
  );
  assert.deepEqual(
    run(
      `refuse ftp bob ${to}`,
      `permit ftp mallory ${to}`,
      `permit ftp bob ${to} by=2`,
      `refuse x y ${to} by=3`,
    ),
    [
      "Expected refuse, but it is allowed by p:1 (ftp)",
      "Expected permit, but it is denied by p:3",
      'Expected rule "2" to decide, but it is allowed by p:1 (ftp)',
      'Expected rule "3" to decide, but it is refused: no rule allows it',
    ],
  );
});

Deno.test("mistakes in cases are told at their place", () => {
  const ok = "permit a b tcp 192.0.2.1 10.0.0.1:80";
  const cases: readonly (readonly [line: string, column: number, message: RegExp])[] = [
    ["allow a b tcp 192.0.2.1 10.0.0.1:80", 1, /begins with permit or refuse/],
    ["permit a b", 11, /has 6 fields and this one has 3: missing protocol/],
    ["permit a b * 192.0.2.1 10.0.0.1:80", 12, /one protocol: tcp or udp/],
    ["permit a b tcp 192.0.2.1 10.0.0.1", 26, /destination port is missing/],
    ["permit a b tcp 192.0.2.0/24 10.0.0.1:80", 16, /Bad endpoint "192\.0\.2\.0\/24"/],
    ["permit a b tcp 192.0.2.1 2001:db8::1:80", 26, /destination port is missing/],
    [`${ok} opn=1`, 38, /did you mean "open"/],
    [`${ok} what`, 38, /Unknown key "what"/],
    [`${ok} open=x`, 38, /Bad open "x"/],
    [`${ok} open=1 open=1`, 45, /given twice/],
    [`${ok} by=`, 38, /needs the line or the id/],
    [`${ok} at=noon`, 41, /write RFC 3339/],
  ];
  for (const [line, column, message] of cases) {
    const { problems } = parseCases(line, "c");
    assert.equal(problems.length, 1, line);
    assert.match(problems[0]?.message ?? "", message);
    assert.equal(problems[0]?.column, column, line);
  }
});

Deno.test("reading cases never throws", () => {
  const word = fc.constantFrom(
    "permit",
    "a",
    "tcp",
    "1.2.3.4",
    "[::1]:80",
    "at=",
    'by="x',
    "open=1",
    "\0",
    "#",
  );
  const near = fc.array(word, { maxLength: 10 }).map((words) => words.join(" "));
  fc.assert(fc.property(fc.oneof(fc.string({ unit: "binary" }), near, fc.uint8Array()), (input) => {
    parseCases(input, "c");
  }));
});
