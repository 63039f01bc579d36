/**
 * Bars as SVG, readable without colour: the name before each bar, the value behind it.
 *
 * @module
 */

/** One bar. */
export interface Bar {
  readonly name: string;
  readonly value: number;
}

const WIDTH = 720;
const LEFT = 230;
const RIGHT = 650;
const TOP = 64;
const STEP = 30;

/** The chart as one SVG document; bars begin at 0. */
export function barChart(title: string, axis: string, bars: readonly Bar[]): string {
  const most = Math.max(1, ...bars.map(({ value }) => value));
  const height = TOP + bars.length * STEP + 20;
  const width = (value: number) => (value / most) * (RIGHT - LEFT);
  const rows = bars.map(({ name, value }, i) => {
    const y = TOP + i * STEP;
    return [
      `<text x="${LEFT - 8}" y="${y + 14}" text-anchor="end">${escape(name)}</text>`,
      `<rect x="${LEFT}" y="${y}" width="${width(value).toFixed(1)}" height="20" fill="#0072b2"/>`,
      `<text x="${(LEFT + width(value) + 6).toFixed(1)}" y="${y + 14}">${value.toFixed(2)}</text>`,
    ].join("\n");
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" ` +
    `height="${height}" font-family="sans-serif" font-size="12" role="img">`,
    `<title>${escape(title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    `<text x="16" y="24" font-size="15" font-weight="bold">${escape(title)}</text>`,
    `<text x="${LEFT}" y="48">${escape(axis)}</text>`,
    ...rows,
    `<line x1="${LEFT}" y1="${TOP - 6}" x2="${LEFT}" y2="${height - 16}" stroke="#444444"/>`,
    "</svg>\n",
  ].join("\n");
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
