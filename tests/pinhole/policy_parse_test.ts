import assert from "node:assert/strict";
import fc from "fast-check";
import { parseIp } from "../../lib/net/ip.ts";
import {
  formatRule,
  parsePolicy,
  policyHosts,
  type PolicyProblem,
  type PolicyRule,
  problemExcerpt,
  problemText,
} from "../../lib/pinhole/policy.ts";

const OK = "allow * * tcp * * * *";

function problems(input: string | Uint8Array): string[] {
  return parsePolicy(input, "f").problems.map(problemText);
}

function rule(line: string): PolicyRule {
  const { rules, problems } = parsePolicy(line, "f");
  assert.deepEqual(problems.map(problemText), []);
  const first = rules[0];
  assert.ok(first);
  return first;
}

/** Replaces field `n` (from 0) of an allow rule. */
function withField(n: number, value: string): string {
  return OK.split(" ").map((word, i) => i === n ? value : word).join(" ");
}

Deno.test("a rule is read whole", () => {
  const read = rule(
    '  allow ftp1,ftp2 alice,b.o-b@x tcp 192.0.2.0/24,2001:db8::1 20,30-40,41 10.0.0.1-10.0.0.9 22,1-21 hours=22:00-06:30 days=fri-mon until=2030-02-03T04:05:06+01:00 max=5 rate=60 ttl=1d2h3m4s idle=90s id=a.b-c comment="say \\"hi\\" \\\\ # x"  # the end',
  );
  assert.equal(read.line, 1);
  assert.equal(read.column, 3);
  assert.ok(read.text.startsWith("allow ftp1,") && read.text.endsWith('# x"'));
  assert.deepEqual(read.delegates, ["ftp1", "ftp2"]);
  assert.deepEqual(read.users, ["alice", "b.o-b@x"]);
  assert.deepEqual(read.sourcePorts, [{ first: 20, last: 20 }, { first: 30, last: 41 }]);
  assert.deepEqual(read.destinationPorts, [{ first: 1, last: 22 }]);
  assert.deepEqual(read.keys, {
    hours: { start: 22 * 60, end: 390 },
    days: 0b1100011,
    until: Date.UTC(2030, 1, 3, 3, 5, 6),
    max: 5,
    rate: 60,
    ttl: 93784,
    idle: 90,
    id: "a.b-c",
    comment: 'say "hi" \\ # x',
  });
  assert.equal(
    formatRule(read),
    "allow ftp1,ftp2 alice,b.o-b@x tcp 192.0.2.0/24,2001:db8::1 20,30-41 10.0.0.1-10.0.0.9 1-22 " +
      "hours=22:00-06:30 days=sun,mon,fri,sat until=2030-02-03T03:05:06Z max=5 rate=60 " +
      'ttl=1d2h3m4s idle=1m30s id=a.b-c comment="say \\"hi\\" \\\\ # x"',
  );
});

Deno.test("blank lines, comments, a missing last newline and an empty file are fine", () => {
  const { rules, problems } = parsePolicy(
    `\n# x\n   \n   # \u00fc \u4e2d\n${OK}#\n`.replace("*#", "* #"),
    "f",
  );
  assert.deepEqual([rules.length, problems.length, rules[0]?.line], [1, 0, 5]);
  assert.deepEqual(parsePolicy("", "f"), { rules: [], reactions: [], problems: [] });
  assert.deepEqual(parsePolicy(new Uint8Array(), "f"), { rules: [], reactions: [], problems: [] });
});

Deno.test("a date lasts to its end, in local time", () => {
  assert.equal(rule(`${OK} until=2030-12-31`).keys.until, new Date(2031, 0, 1).getTime());
  assert.equal(rule(`${OK} until=2028-02-29`).keys.until, new Date(2028, 2, 1).getTime());
});

Deno.test("every mistake is told at its place with the mend", () => {
  const cases: readonly (readonly [line: string, column: number, message: RegExp])[] = [
    ["alow * * tcp * * * *", 1, /Unknown effect "alow".*did you mean "allow"\?/],
    ["Allow * * tcp * * * *", 1, /did you mean "allow"/],
    ["  permit * * tcp * * * *", 3, /begins with allow or deny/],
    ["allow * * tcp * * *", 20, /has 8 fields and this one has 7: missing destination ports/],
    ["allow", 6, /has 1: missing delegates, users, protocol, source range/],
    ["allow * * tcp * * * max=3", 21, /missing destination ports/],
    ["allow * * tcp * * * * *", 23, /Unexpected "\*": after the eight fields only key=value/],
    [withField(1, "a,*"), 9, /Bad delegate "\*": \* stands alone/],
    [withField(1, "web-*"), 7, /\* stands alone/],
    [withField(1, "a,,b"), 9, /A delegate is missing beside a comma/],
    [withField(1, ",a"), 7, /missing beside a comma/],
    [withField(1, "a,b,a"), 11, /"a" is named twice/],
    [withField(1, "-rf"), 7, /Bad delegate "-rf"/],
    [withField(1, "x".repeat(64)), 7, /at most 63 characters/],
    [withField(2, "b\u00fcb"), 9, /Bad user "b\u00fcb"/],
    [withField(3, "TCP"), 11, /Unknown protocol "TCP".*did you mean "tcp"/],
    [withField(3, "icmp"), 11, /use tcp, udp or \*/],
    [withField(4, "192.0.2.5/24"), 15, /host bits set: write 192\.0\.2\.0\/24, or 192\.0\.2\.5/],
    [withField(4, "2001:db8::1/64"), 15, /write 2001:db8::\/64, or 2001:db8::1/],
    [withField(4, "10.0.0.0/33"), 24, /Bad prefix length "33": a number from 0 to 32/],
    [withField(4, "10.0.0.0/08"), 24, /Bad prefix length "08"/],
    [withField(4, "10.0.0.0/"), 24, /Bad prefix length ""/],
    [withField(4, "::/129"), 18, /from 0 to 128/],
    [withField(4, "10.0.0.9-10.0.0.1"), 15, /reversed: write 10\.0\.0\.1-10\.0\.0\.9/],
    [withField(4, "10.0.0.9-::1"), 15, /mixes IPv4 and IPv6: write two ranges/],
    [withField(4, "10.0.0.1-"), 24, /An address is missing/],
    [withField(4, "10.0.0.256"), 15, /octets are numbers from 0 to 255/],
    [withField(4, "010.0.0.1"), 15, /without leading zeros/],
    [withField(4, "10.0.0.*"), 15, /\* stands alone/],
    [withField(4, "fe80::1%eth0"), 15, /a zone means nothing/],
    [withField(4, "[::1]"), 15, /leave out the brackets/],
    [withField(4, "::ffff:10.0.0.1"), 15, /IPv4 inside IPv6: write 10\.0\.0\.1/],
    [withField(4, "www.example"), 15, /for a host name write host:www\.example/],
    [withField(4, "host:10.0.0.1"), 20, /is an address: write it without host:/],
    [withField(4, "host:127.1"), 20, /Bad host name "127\.1"/],
    [withField(4, "host:a..b"), 20, /Bad host name "a\.\.b"/],
    [withField(4, "host:www"), 20, /cannot be resolved here: give addresses/],
    [withField(6, "10.0.0.1,,10.0.0.2"), 28, /address range is missing/],
    [withField(5, "0"), 17, /Port 0 is no port/],
    [withField(5, "65536"), 17, /Bad port "65536"/],
    [withField(5, "080"), 17, /Bad port "080"/],
    [withField(5, "ftp"), 17, /ports are numbers/],
    [withField(5, "20-10"), 17, /reversed: write 10-20/],
    [withField(5, "1-2-3"), 19, /Bad port "1-2-3"/],
    [withField(5, "20,"), 20, /port is missing/],
    [withField(7, Array(300).fill("1").join(",")), 533, /More than 256 items/],
    ["allow * * tcp 10.0.0.1 * ::1 *", 26, /different families/],
    [`${OK} hors=08:00-18:00`, 23, /Unknown key "hors"; did you mean "hours"\?/],
    [`${OK} zone=x`, 23, /Unknown key "zone": known are hours, days/],
    [`${OK} __proto__=x`, 23, /Unknown key "__proto__"/],
    [`${OK} =x`, 23, /Unknown key ""/],
    [`${OK} max=`, 27, /Key "max" has no value/],
    [`${OK} max=1 max=1`, 29, /Key "max" is given twice/],
    [`${OK} max=0`, 27, /max=0 would allow nothing/],
    [`${OK} max=-1`, 27, /Bad max "-1"/],
    [`${OK} rate=1e3`, 28, /Bad rate "1e3"/],
    [`${OK} rate=1000001`, 28, /from 1 to 1000000/],
    [`${OK} hours=8-18`, 29, /write for example 08:00-18:00/],
    [`${OK} hours=08:60-09:00`, 29, /Bad hours/],
    [`${OK} hours=24:00-09:00`, 29, /Bad hours/],
    [`${OK} hours=08:00-24:01`, 29, /Bad hours/],
    [`${OK} hours=08:00-08:00`, 29, /end where they begin: leave hours out/],
    [`${OK} hours=00:00-24:00`, 29, /leave hours out/],
    [`${OK} days=mon,tues`, 32, /Bad day "tues"/],
    [`${OK} days=Mon`, 28, /Bad day "Mon"/],
    [`${OK} days=mon-wed,tue`, 36, /Day "tue" is named twice/],
    [`${OK} days=mon-tue-wed`, 28, /Bad days "mon-tue-wed"/],
    [`${OK} until=tomorrow`, 29, /write RFC 3339/],
    [`${OK} until=2030-02-30`, 29, /no such day/],
    [`${OK} until=2030-01-01T00:00:00`, 29, /has no zone: add Z/],
    [`${OK} until=2030-01-01T24:00:00Z`, 29, /no such time of day/],
    [`${OK} until=2030-01-01T00:00:00+99:00`, 29, /no such offset/],
    [`${OK} ttl=90`, 27, /add a unit, for example "90s"/],
    [`${OK} ttl=1h30`, 27, /write for example 90s, 10m/],
    [`${OK} ttl=30m1h`, 27, /Bad duration "30m1h"/],
    [`${OK} ttl=0s`, 27, /1s to 366d/],
    [`${OK} idle=367d`, 28, /1s to 366d/],
    [`${OK} id=-x`, 26, /Bad id "-x"/],
    [`${OK} id="x"`, 26, /takes no quotes/],
    [`${OK} comment="x`, 31, /no closing quote/],
    [`${OK} comment="x"y`, 34, /blank after the closing quote/],
    [`${OK} comment=${"x".repeat(201)}`, 31, /longer than 200/],
    [`allow "*" * tcp * * * *`, 7, /A quote can only follow/],
    [`${OK}#x`, 22, /put one before '#'/],
    ["deny * * tcp * * * * max=3", 22, /a deny rule cannot have it/],
    ["deny * * tcp * * * * ttl=3h", 22, /a deny rule cannot have it/],
  ];
  for (const [line, column, message] of cases) {
    const found = parsePolicy(line, "f").problems;
    assert.equal(found.length, 1, `${line}: ${found.map(problemText).join("; ")}`);
    const problem = found[0] as PolicyProblem;
    assert.match(problem.message, message);
    assert.deepEqual([problem.line, problem.column, problem.severity], [1, column, "error"], line);
    assert.equal(parsePolicy(line, "f").rules.length, 0, line);
  }
});

Deno.test("all mistakes of a file are told, in order", () => {
  const text = `${OK}\nalow * * tpc * 0 * * max=x\n\n${OK} id=a\n${OK} id=a\n`;
  assert.deepEqual(problems(text).map((p) => p.split(": ")[0]), [
    "f:2:1",
    "f:2:10",
    "f:2:16",
    "f:2:26",
    "f:5:23",
  ]);
  assert.match(problems(text)[4] ?? "", /Id "a" is taken by line 4/);
  assert.deepEqual(parsePolicy(text, "f").rules.map((r) => r.line), [1, 4]);
});

Deno.test("what is no plain text is told", () => {
  const cases: readonly (readonly [input: string | Uint8Array, ...found: RegExp[]])[] = [
    ["\ufeff" + OK, /^f:1:1: .*byte order mark/],
    [new TextEncoder().encode("\ufeff" + OK), /^f:1:1: .*byte order mark/],
    [`${OK}\r\n${OK}\r\n`, /^f:1:22: .*CR LF.*sed -i/],
    [`${OK}\n\tallow\t* x`, /^f:2:1: Tab: use blanks/, /^f:2:11: .*this one has 3/],
    [`${OK}\n${OK}\0`, /^f:2:22: NUL/],
    [`# \u202e txt`, /^f:1:3: .*U\+202E/],
    [`# \u{1f600} \ud800`, /^f:1:5: .*U\+D800/],
    [`${OK} comment="a\u2028b"`, /^f:1:33: .*U\+2028/],
    [withField(1, "a\u00a0b"), /^f:1:7: Bad delegate/],
    [`a\rb`, /^f:1:2: .*U\+000D/],
    [
      Uint8Array.of(...new TextEncoder().encode(`${OK}\n# \u00e9`), 0xc3, 10),
      /^f:2:4: Not valid UTF-8/,
    ],
    [Uint8Array.of(0xef, 0xbf, 0xbd, 0xff), /^f:1:2: Not valid UTF-8/],
    [`# ${"x".repeat(5000)}\n${OK}`, /^f:1:4097: Line is longer than 4096/],
  ];
  for (const [input, ...expected] of cases) {
    const found = problems(input);
    assert.equal(found.length, expected.length, found.join("; "));
    expected.forEach((pattern, i) => assert.match(found[i] ?? "", pattern));
  }
});

Deno.test("a file without end, of errors only or of too many rules ends in one error more", () => {
  assert.match(problems(new Uint8Array(16 * 1024 * 1024 + 1))[0] ?? "", /^f:1:1: File is larger/);
  const many = problems("x\n".repeat(100_000));
  assert.equal(many.length, 1000);
  assert.match(many.at(-1) ?? "", /Too many problems/);
  const { rules, problems: found } = parsePolicy(`${OK}\n`.repeat(100_001), "f");
  assert.equal(rules.length, 100_000);
  assert.match(found[0]?.message ?? "", /More than 100000 rules/);
});

Deno.test("host names become their addresses", () => {
  const text = "allow * * tcp host:a.example * host:b,10.0.0.7 *\n# host:c\nallow host:d";
  assert.deepEqual(policyHosts(text), ["a.example", "b"]);
  const known: Record<string, string[]> = {
    "a.example": ["192.0.2.2", "2001:db8::2", "192.0.2.1"],
    "b": ["::ffff:127.0.1.1"],
  };
  const resolve = (name: string) => ({
    addresses: (known[name] ?? []).map(parseIp).filter((a) => a !== undefined),
    failure: "NX\x1bDOMAIN",
  });
  const { rules, problems } = parsePolicy(text.split("#")[0] ?? "", "f", resolve);
  assert.equal(
    rules.map(formatRule).join(),
    "allow * * tcp 192.0.2.1-192.0.2.2,2001:db8::2 * 10.0.0.7,127.0.1.1 *",
  );
  assert.deepEqual(problems.map(problemText), [
    'f:1:32: warning: "host:b" stands for 127.0.1.1 (loopback)',
  ]);
  const unknown = parsePolicy(withField(4, "host:z"), "f", resolve);
  assert.match(
    unknown.problems[0]?.message ?? "",
    /^Host name "z" cannot be resolved \(NX\u241bDOMAIN\)/,
  );
});

Deno.test("an excerpt points at the place, and shows nothing that a terminal obeys", () => {
  const long = `${withField(1, "d".repeat(60))} comment=\x1b[31mred`;
  const problem = parsePolicy(long, "f").problems[0] as PolicyProblem;
  const [shown = "", caret = ""] = (problemExcerpt(problem) ?? "").split("\n");
  assert.equal(shown[caret.indexOf("^")], "\u241b");
  assert.ok(shown.length <= 102);
  assert.doesNotMatch(problemText(problem), /\p{Cc}/u);
});

Deno.test("reading never throws, whatever the text", () => {
  const word = fc.constantFrom(
    ...["allow", "deny", "*", "tcp", "a,b", "10.0.0.0/8", "::1-::9", "1-5", "host:x", "host:"],
    ...[
      "max=1",
      "until=2030-01-01",
      "hours=1:",
      'comment="',
      '"',
      "\\",
      "#",
      "\t",
      "\r",
      "\n",
      "=",
    ],
    ...["\0", "\ufeff", "\ud800", "9".repeat(400), "days=mon-", "ttl=1h", "id=__proto__", "-", "/"],
  );
  const near = fc.array(word, { maxLength: 40 }).map((words) => words.join(" "));
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: "binary", maxLength: 300 }), near), (text) => {
      for (const found of parsePolicy(text, "f", () => ({ addresses: [] })).problems) {
        assert.ok(found.line >= 1 && found.column >= 1);
        assert.doesNotMatch(found.message + found.source, /[\p{Cc}\p{Cs}]/u);
        problemExcerpt(found);
      }
      policyHosts(text);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("reading never throws, whatever the bytes", () => {
  const valid = new TextEncoder().encode(`${OK} hours=08:00-18:00 comment="x y"\n`.repeat(3));
  const flipped = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 6 })
    .map((changes) => {
      const bytes = valid.slice();
      for (const [at, byte] of changes) bytes[at] = byte;
      return bytes;
    });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 400 }), flipped), (bytes) => {
      const parsed = parsePolicy(bytes, "f");
      // Text and bytes are read alike where the bytes are text.
      const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
      if (!text.includes("\ufffd")) assert.deepEqual(parsePolicy(text, "f"), parsed);
    }),
    { numRuns: 1000 },
  );
});
