import assert from "node:assert/strict";
import fc from "fast-check";
import { type Chart, chartSvg } from "../../lib/cli/chart.ts";

/** The elements of a document, in order; fails when it is not well formed. */
function elements(svg: string): { name: string; attributes: Map<string, string>; text: string }[] {
  const open: string[] = [];
  const found: { name: string; attributes: Map<string, string>; text: string }[] = [];
  const tag = /<(\/?)(\w+)((?:\s+[\w-]+="[^"<&]*")*)\s*(\/?)>([^<]*)/g;
  let at = 0;
  for (const match of svg.trim().matchAll(tag)) {
    assert.equal(match.index, at, "something between the tags");
    at += match[0].length;
    const [, closing, name = "", attributes = "", empty, text = ""] = match;
    assert.ok(!/&(?!(amp|lt|gt);)/.test(text), text);
    if (closing === "/") assert.equal(open.pop(), name);
    else {
      if (empty === "") open.push(name);
      const list = [...attributes.matchAll(/([\w-]+)="([^"]*)"/g)];
      found.push({ name, text, attributes: new Map(list.map((a) => [a[1] ?? "", a[2] ?? ""])) });
    }
  }
  assert.equal(at, svg.trim().length);
  assert.deepEqual(open, []);
  return found;
}

const axis = (scale: "log" | "linear") => ({ title: "n", scale });

Deno.test("chart: points lie where their values are", () => {
  const svg = chartSvg({
    title: "a <b> & c",
    x: axis("log"),
    y: axis("linear"),
    lines: [{ name: "one", points: [[1, 0], [10, 50], [100, 100]] }],
  });
  const marks = elements(svg).filter((e) => e.name === "circle").slice(0, 3);
  const [x, y] = ["cx", "cy"].map((k) => marks.map((m) => Number(m.attributes.get(k)))) as [
    [number, number, number],
    [number, number, number],
  ];
  assert.equal(x[1] - x[0], x[2] - x[1]);
  assert.ok(x[1] > x[0] && y[1] < y[0]);
  assert.equal(y[1] - y[0], y[2] - y[1]);
  assert.match(svg, /a &lt;b&gt; &amp; c/);
});

Deno.test("chart: steps hold a value until the next, and every line is named", () => {
  const svg = chartSvg({
    title: "t",
    x: axis("linear"),
    y: axis("linear"),
    lines: [
      { name: "used", steps: true, points: [[10, 5], [0, 1]] },
      { name: "limit", dashed: true, points: [[0, 10], [10, 10]] },
    ],
  });
  const paths = elements(svg).filter((e) => e.name === "path").map((e) => e.attributes.get("d"));
  assert.ok(paths.some((d) => /^M[\d.]+ [\d.]+H[\d.]+V[\d.]+$/.test(d ?? "")), paths.join("\n"));
  assert.match(svg, /stroke-dasharray/);
  const texts = elements(svg).map((e) => e.text);
  assert.ok(texts.includes("used") && texts.includes("limit"));
});

Deno.test("chart: any values give a well-formed document without NaN", () => {
  const value = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, -1, 1e-9, 1e12));
  const line = fc.record({
    name: fc.string(),
    points: fc.array(fc.tuple(value, value), { maxLength: 60 }),
    steps: fc.boolean(),
  });
  const scale = fc.constantFrom("log" as const, "linear" as const);
  fc.assert(
    fc.property(
      fc.string(),
      fc.array(line, { maxLength: 9 }),
      scale,
      scale,
      (title, lines, a, b) => {
        const chart: Chart = { title, x: { title, scale: a }, y: { title, scale: b }, lines };
        const svg = chartSvg(chart);
        elements(svg);
        assert.ok(!/NaN|Infinity/.test(svg.replaceAll(/>[^<]*</g, "><")), svg);
      },
    ),
    { numRuns: 300 },
  );
});
