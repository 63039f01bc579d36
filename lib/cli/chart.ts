/**
 * Line charts as SVG, without a library: axes with logarithmic or linear scales, lines, levels, a legend.
 * Readable in light and dark surroundings, and as text: what a line is stands beside it.
 *
 * @module
 */

/** A line of the chart: points in any order of x. */
export interface ChartLine {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Drawn as steps: a value holds until the next. */
  readonly steps?: boolean;
  /** Drawn dashed: a limit or something from elsewhere. */
  readonly dashed?: boolean;
}

/** An axis. */
export interface ChartAxis {
  readonly title: string;
  readonly scale: "log" | "linear";
}

/** A chart. */
export interface Chart {
  readonly title: string;
  readonly x: ChartAxis;
  readonly y: ChartAxis;
  readonly lines: readonly ChartLine[];
}

const WIDTH = 720;
const HEIGHT = 440;
const PLOT = { left: 78, right: 500, top: 44, bottom: 376 } as const;
/** Colours that colour-blind people can tell apart (Okabe and Ito). */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#777777"];
const MARKS = ["circle", "square", "diamond", "triangle"] as const;
/** Values beyond it (and its inverse on a logarithmic scale) are not drawn. */
const LARGEST = 1e15;
/** Most points of a line that get a mark each. */
const MARKED = 40;

/** The chart as one SVG document. */
export function chartSvg(chart: Chart): string {
  const points = chart.lines.flatMap((line) => line.points);
  const x = scale(chart.x.scale, points.map(([value]) => value), PLOT.left, PLOT.right);
  const y = scale(chart.y.scale, points.map(([, value]) => value), PLOT.bottom, PLOT.top);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" ` +
    `width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="12" role="img">`,
    `<title>${escape(chart.title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    text(PLOT.left, 24, chart.title, 'font-size="15" font-weight="bold"'),
    ...grid(x, y),
    text((PLOT.left + PLOT.right) / 2, HEIGHT - 22, chart.x.title, 'text-anchor="middle"'),
    text(0, 0, chart.y.title, `text-anchor="middle" transform="${turned()}"`),
    ...chart.lines.flatMap((line, i) => drawLine(line, i, x, y)),
    "</svg>\n",
  ].join("\n");
}

interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
  /** False for values that the scale has no place for: 0 on a logarithmic one. */
  readonly has: (value: number) => boolean;
}

function scale(kind: "log" | "linear", all: readonly number[], from: number, to: number): Scale {
  const has = (value: number) =>
    kind === "log" ? value > 1 / LARGEST && value < LARGEST : Math.abs(value) < LARGEST;
  const values = all.filter(has);
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (values.length === 0) [low, high] = [1, 10];
  if (kind === "log") {
    const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    const span = Math.max(1, last - first);
    return {
      at: (value) => from + (Math.log10(value) - first) / span * (to - from),
      ticks: Array.from({ length: span + 1 }, (_, i) => 10 ** (first + i)),
      has,
    };
  }
  low = Math.min(0, low);
  const step = niceStep((high - low) / 6 || 1);
  const top = Math.max(low + step, Math.ceil(high / step) * step);
  return {
    at: (value) => from + (value - low) / (top - low) * (to - from),
    ticks: Array.from({ length: Math.round((top - low) / step) + 1 }, (_, i) => low + i * step),
    has,
  };
}

function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 5, 10].find((n) => n * power >= rough) ?? 10) * power;
}

function grid(x: Scale, y: Scale): string[] {
  const line = (x1: number, y1: number, x2: number, y2: number) =>
    `<line x1="${px(x1)}" y1="${px(y1)}" x2="${px(x2)}" y2="${px(y2)}" stroke="#dddddd"/>`;
  return [
    ...x.ticks.flatMap((tick) => [
      line(x.at(tick), PLOT.top, x.at(tick), PLOT.bottom),
      text(x.at(tick), PLOT.bottom + 18, number(tick), 'text-anchor="middle"'),
    ]),
    ...y.ticks.flatMap((tick) => [
      line(PLOT.left, y.at(tick), PLOT.right, y.at(tick)),
      text(PLOT.left - 8, y.at(tick) + 4, number(tick), 'text-anchor="end"'),
    ]),
    `<path d="M${PLOT.left} ${PLOT.top}V${PLOT.bottom}H${PLOT.right}" fill="none" stroke="#333333"/>`,
  ];
}

function drawLine(line: ChartLine, index: number, x: Scale, y: Scale): string[] {
  const colour = COLOURS[index % COLOURS.length] as string;
  // Where the colours are used up they come again, dotted and with hollow marks.
  const again = index >= COLOURS.length;
  const pattern = line.dashed === true ? "6 4" : again ? "2 3" : "";
  const dash = pattern === "" ? "" : ` stroke-dasharray="${pattern}"`;
  const points = [...line.points].filter(([a, b]) => x.has(a) && y.has(b))
    .sort((a, b) => a[0] - b[0]).map(([a, b]) => [x.at(a), y.at(b)] as const);
  const path = points.map(([a, b], i) => {
    if (i === 0) return `M${px(a)} ${px(b)}`;
    return line.steps === true ? `H${px(a)}V${px(b)}` : `L${px(a)} ${px(b)}`;
  }).join("");
  const mark = MARKS[index % MARKS.length] as typeof MARKS[number];
  const marked = line.steps === true || points.length > MARKED ? [] : points;
  const row = PLOT.top + 10 + index * 20;
  return [
    ...(path === ""
      ? []
      : [`<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.8"${dash}/>`]),
    ...marked.map(([a, b]) => drawMark(mark, a, b, colour, again)),
    `<line x1="${PLOT.right + 16}" y1="${row}" x2="${PLOT.right + 44}" y2="${row}" ` +
    `stroke="${colour}" stroke-width="1.8"${dash}/>`,
    ...(marked.length === 0 ? [] : [drawMark(mark, PLOT.right + 30, row, colour, again)]),
    text(PLOT.right + 50, row + 4, line.name, ""),
  ];
}

function drawMark(
  mark: typeof MARKS[number],
  x: number,
  y: number,
  colour: string,
  hollow: boolean,
): string {
  const paint = hollow
    ? `fill="#ffffff" stroke="${colour}" stroke-width="1.2"`
    : `fill="${colour}"`;
  const at = (dx: number, dy: number) => `${px(x + dx)} ${px(y + dy)}`;
  const shape = {
    circle: "",
    square: `M${at(-3, -3)}h6v6h-6z`,
    diamond: `M${at(0, -4)}L${at(4, 0)}L${at(0, 4)}L${at(-4, 0)}z`,
    triangle: `M${at(0, -4)}L${at(4, 3)}L${at(-4, 3)}z`,
  }[mark];
  return shape === ""
    ? `<circle cx="${px(x)}" cy="${px(y)}" r="3" ${paint}/>`
    : `<path d="${shape}" ${paint}/>`;
}

function text(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${px(x)}" y="${px(y)}" fill="#222222" ${attributes}>${escape(content)}</text>`;
}

function turned(): string {
  return `translate(18 ${(PLOT.top + PLOT.bottom) / 2}) rotate(-90)`;
}

/** 0.001, 1, 1000, 1e7. */
function number(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-6 || size >= 1e7)) return value.toExponential().replace("e+", "e");
  return String(Number(value.toPrecision(6)));
}

function px(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escape(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
