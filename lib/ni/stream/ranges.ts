/**
 * Ranges of offsets, in order, that neither overlap nor touch.
 *
 * @module
 */

/** From `start`, up to but not with `end`. */
export interface Range {
  start: number;
  end: number;
}

/** Adds a range to a list, joining it with those that it overlaps or touches. */
export function addRange(ranges: Range[], start: number, end: number): void {
  if (start >= end) return;
  let i = ranges.length;
  while (i > 0 && (ranges[i - 1] as Range).start > start) i--;
  // The one before may reach into it.
  if (i > 0 && (ranges[i - 1] as Range).end >= start) {
    i--;
    start = (ranges[i] as Range).start;
    end = Math.max(end, (ranges[i] as Range).end);
  }
  let j = i;
  while (j < ranges.length && (ranges[j] as Range).start <= end) {
    end = Math.max(end, (ranges[j] as Range).end);
    j++;
  }
  ranges.splice(i, j - i, { start, end });
}

/** Forgets what is below an offset. */
export function dropBelow(ranges: Range[], offset: number): void {
  let gone = 0;
  while (gone < ranges.length && (ranges[gone] as Range).end <= offset) gone++;
  if (gone > 0) ranges.splice(0, gone);
  const first = ranges[0];
  if (first !== undefined && first.start < offset) first.start = offset;
}
