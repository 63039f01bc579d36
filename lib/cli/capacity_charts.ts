/**
 * The demand of a capture as charts: the paper's figures 10 and 11.
 *
 * @module
 */
import { changesOf, type Interval, thinned } from "../net/demand.ts";
import { type ChartLine, chartSvg } from "./chart.ts";

/** A limit to draw: what an enforcer holds and does. */
export interface Limit {
  readonly enforcer: string;
  readonly capacity: number;
  readonly updates_per_second: number;
}

const POINTS = 1500;

/** The SVG of each figure by its number. `first` and `last`: the capture's time in seconds. */
export function capacityCharts(
  intervals: readonly Interval[],
  limits: readonly Limit[],
  first: number,
  last: number,
): Map<number, string> {
  const [unit, divisor] = last - first > 2 * 86_400
    ? ["Days", 86_400]
    : last - first > 7200
    ? ["Hours", 3600]
    : ["Seconds", 1];
  const x = { title: unit as string, scale: "linear" as const };
  const at = (time: number) => (time - first) / (divisor as number);
  let open = 0;
  const levels: [number, number][] = [];
  const seconds = new Map<number, number>();
  for (const { time, change } of changesOf(intervals)) {
    open += change;
    levels.push([at(time), open]);
    seconds.set(Math.floor(time), (seconds.get(Math.floor(time)) ?? 0) + 1);
  }
  const rates = [...seconds].map(([second, count]): [number, number] => [at(second), count]);
  const level = (value: (limit: Limit) => number): ChartLine[] =>
    limits.map((limit) => ({
      name: limit.enforcer,
      dashed: true,
      points: [[0, value(limit)], [at(last), value(limit)]],
    }));
  return new Map([
    [
      10,
      chartSvg({
        title: "Open pinholes",
        x,
        y: { title: "Pinholes", scale: "log" },
        lines: [
          { name: "needed", steps: true, points: thinned(levels, POINTS) },
          ...level((limit) => limit.capacity),
        ],
      }),
    ],
    [
      11,
      chartSvg({
        title: "Updates of pinholes",
        x,
        y: { title: "Updates a second", scale: "log" },
        lines: [
          { name: "needed", steps: true, points: thinned(rates, POINTS) },
          ...level((limit) => limit.updates_per_second),
        ],
      }),
    ],
  ]);
}
