/**
 * What benchmarks print: one JSON object a metric, or a line for people; and the statistics they share.
 *
 * @module
 */

/** One measured figure. `ratio` is value to baseline of the same run. */
export interface Figure {
  readonly bench: string;
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  readonly baseline: number | null;
  readonly ratio: number | null;
  /** What must be reached, in words. */
  readonly target: string;
  readonly met: boolean;
}

/** The value below which the share `q` (0 to 1) of the samples lies. */
export function quantile(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? NaN;
}

/** The middle of the samples. */
export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

/**
 * Where the median of what the samples were drawn from lies, with a confidence of 95 %: by their order alone
 * (binomial), so that it does not matter how they are distributed.
 */
export function medianInterval(samples: readonly number[]): readonly [low: number, high: number] {
  const sorted = [...samples].sort((a, b) => a - b);
  const n = sorted.length;
  const away = 0.98 * Math.sqrt(n); // half of the 1.96 standard deviations of a binomial with p = 1/2
  const at = (i: number) => sorted[Math.max(0, Math.min(n - 1, i))] ?? NaN;
  return [at(Math.floor(n / 2 - away)), at(Math.ceil(n / 2 + away))];
}

/** Three significant digits, as a number. */
export function round(value: number): number {
  return Number(value.toPrecision(3));
}

/** Prints a figure, as JSON with `--json` among the arguments. */
export function report(
  bench: string,
  metric: string,
  value: number,
  unit: string,
  options: { baseline?: number; target: string; met: boolean },
): void {
  const baseline = options.baseline === undefined ? null : round(options.baseline);
  const figure: Figure = {
    bench,
    metric,
    value: round(value),
    unit,
    baseline,
    ratio: options.baseline === undefined ? null : round(value / options.baseline),
    target: options.target,
    met: options.met,
  };
  const line = Deno.args.includes("--json") ? JSON.stringify(figure) : [
    figure.met ? "met   " : "MISSED",
    `${bench}: ${metric}`.padEnd(58),
    `${figure.value} ${unit}`.padStart(14),
    figure.ratio === null ? "" : `  ${figure.ratio}x of ${figure.baseline}`,
    `  (target: ${figure.target})`,
  ].join(" ");
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}
