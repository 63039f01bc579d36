import assert from "node:assert/strict";
import { stripVTControlCharacters } from "node:util";
import { bytesText, durationText, style, table, timeText, visible } from "../../lib/cli/output.ts";

Deno.test("output: durations have two units at most", () => {
  const cases: [number, string][] = [
    [0, "0 ms"],
    [349.6, "350 ms"],
    [1000, "1 s"],
    [4230, "4.2 s"],
    [59_949, "59.9 s"],
    [59_950, "1 min"],
    [200_000, "3 min 20 s"],
    [3_599_600, "1 h"],
    [7_500_000, "2 h 5 min"],
    [90_000_000, "1 d 1 h"],
    [-1500, "-1.5 s"],
  ];
  for (const [milliseconds, text] of cases) assert.equal(durationText(milliseconds), text);
});

Deno.test("output: sizes are in binary units", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [1024 * 1024 - 1, "1 MiB"],
    [100 * 1024 * 1024, "100 MiB"],
  ];
  for (const [bytes, text] of cases) assert.equal(bytesText(bytes), text);
});

Deno.test("output: times are RFC 3339 in UTC", () => {
  assert.equal(timeText(0), "1970-01-01T00:00:00.000Z");
  assert.equal(timeText(undefined), "-");
});

Deno.test("output: names from elsewhere cannot drive the terminal", () => {
  assert.equal(visible("a\x1b[2Jb\n\u202ec"), "a\\x1b[2Jb\\x0a\\u{202e}c");
  assert.equal(visible("Grüße 漢字 🙂"), "Grüße 漢字 🙂");
});

Deno.test("output: tables line up, numbers to the right, without trailing space", () => {
  const text = table([
    { title: "NAME", cell: (r: { name: string; n: number }) => r.name },
    { title: "N", cell: (r) => String(r.n), align: "right" },
    { title: "NOTE", cell: () => "" },
  ], [{ name: "a\tb", n: 1 }, { name: "longer", n: 100 }]);
  assert.equal(stripVTControlCharacters(text), "NAME      N  NOTE\na\\x09b    1\nlonger  100\n");
});

Deno.test("output: colour is for terminals only, and not with NO_COLOR", () => {
  const terminal = { isTerminal: () => true };
  const before = Deno.env.get("NO_COLOR");
  try {
    Deno.env.delete("NO_COLOR");
    assert.equal(style("red", "x", terminal), "\x1b[31mx\x1b[39m");
    assert.equal(style("red", "x", { isTerminal: () => false }), "x");
    Deno.env.set("NO_COLOR", "1");
    assert.equal(style("red", "x", terminal), "x");
  } finally {
    if (before === undefined) Deno.env.delete("NO_COLOR");
    else Deno.env.set("NO_COLOR", before);
  }
});
