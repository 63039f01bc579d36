/**
 * How many pinholes are open over time, how often they change, and how long requests would wait for an
 * enforcer of a given speed.
 *
 * @module
 */

/** Opening and closing, in seconds; `closed` undefined when it is open to the end. */
export interface Interval {
  readonly opened: number;
  readonly closed: number | undefined;
}

/** What a series of intervals asks of an enforcer. */
export interface Demand {
  readonly pinholes: number;
  readonly most_open: number;
  /** Over the whole time. */
  readonly mean_open: number;
  /** Openings and closings. */
  readonly updates: number;
  readonly most_updates_per_second: number;
  /** Of the seconds that have any. */
  readonly p99_updates_per_second: number;
  /** Over the whole time. */
  readonly mean_updates_per_second: number;
}

/** The moments at which something changes, in order: closings come before openings of the same moment. */
export function changesOf(
  intervals: readonly Interval[],
): { readonly time: number; readonly change: 1 | -1 }[] {
  return intervals.flatMap(({ opened, closed }) => [
    { time: opened, change: 1 as const },
    ...(closed === undefined ? [] : [{ time: closed, change: -1 as const }]),
  ]).sort((a, b) => a.time - b.time || a.change - b.change);
}

/** Sums up intervals within a time. */
export function demandOf(intervals: readonly Interval[], first: number, last: number): Demand {
  const changes = changesOf(intervals);
  const seconds = new Map<number, number>();
  let [open, most, area, before] = [0, 0, 0, first];
  for (const { time, change } of changes) {
    area += open * (time - before);
    before = time;
    open += change;
    most = Math.max(most, open);
    const second = Math.floor(time);
    seconds.set(second, (seconds.get(second) ?? 0) + 1);
  }
  area += open * Math.max(0, last - before);
  const rates = [...seconds.values()].sort((a, b) => a - b);
  const duration = Math.max(last - first, 1e-9);
  return {
    pinholes: intervals.length,
    most_open: most,
    mean_open: digits(area / duration),
    updates: changes.length,
    most_updates_per_second: rates.at(-1) ?? 0,
    p99_updates_per_second: rates[Math.min(rates.length - 1, Math.floor(rates.length * 0.99))] ?? 0,
    mean_updates_per_second: digits(changes.length / duration),
  };
}

/** The longest that an update waits, in seconds, until an enforcer that makes so many a second has made it. */
export function longestWait(
  intervals: readonly Interval[],
  updatesPerSecond: number,
): number {
  let [free, longest] = [-Infinity, 0];
  for (const { time } of changesOf(intervals)) {
    free = Math.max(free, time) + 1 / updatesPerSecond;
    longest = Math.max(longest, free - time);
  }
  return digits(longest);
}

/** A series thinned out to at most so many points: of each stretch of time the highest value. */
export function thinned(
  points: readonly (readonly [number, number])[],
  most: number,
): [number, number][] {
  const [first, last] = [points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 0];
  const width = (last - first) / most || 1;
  const highest = new Map<number, [number, number]>();
  for (const [x, y] of points) {
    const slot = Math.min(most - 1, Math.floor((x - first) / width));
    const found = highest.get(slot);
    if (found === undefined || y > found[1]) highest.set(slot, [x, y]);
  }
  return [...highest.values()];
}

function digits(value: number): number {
  return Number(value.toPrecision(4));
}
