/**
 * The time conditions of a rule: `hours`, `days` and `until`.
 *
 * Hours and days are what the controller's local clock shows. Where daylight saving skips an hour,
 * a window inside it does not happen that day; where an hour comes twice, both are in the window. A
 * window that wraps midnight belongs to the day on which it begins.
 *
 * @module
 */
import type { RuleKeys } from "./policy_rule.ts";

/** A moment as the local clock shows it. */
export interface LocalTime {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The same moment. */
  readonly date: Date;
  /** Minute of the local day, 0 to 1439. */
  readonly minute: number;
  /** Day of the local week, 0 is Sunday. */
  readonly day: number;
}

/** Reads the local clock at a moment. */
export function localTime(at: number): LocalTime {
  const date = new Date(at);
  return { at, date, minute: date.getHours() * 60 + date.getMinutes(), day: date.getDay() };
}

/** True when the rule has a time condition, so that the local time is needed. */
export function hasTime(keys: RuleKeys): boolean {
  return keys.hours !== undefined || keys.days !== undefined || keys.until !== undefined;
}

/** The time condition that does not hold at this moment, or `undefined` when all hold. */
export function missedTime(keys: RuleKeys, now: LocalTime): "hours" | "days" | "until" | undefined {
  if (keys.until !== undefined && now.at >= keys.until) return "until";
  const began = windowDay(keys, now);
  if (began === undefined) return "hours";
  return keys.days !== undefined && (keys.days & (1 << began)) === 0 ? "days" : undefined;
}

/**
 * When the time conditions that hold now end, milliseconds since the epoch; `Infinity` when they
 * never do.
 */
export function timeEnd(keys: RuleKeys, now: LocalTime): number {
  let end = keys.until ?? Infinity;
  if (keys.hours !== undefined) {
    const { start, end: minute } = keys.hours;
    const tomorrow = start > minute && now.minute >= start;
    end = Math.min(end, localMoment(now, tomorrow ? 1 : 0, minute));
  } else if (keys.days !== undefined) {
    for (let ahead = 1; ahead <= 7; ahead++) {
      if ((keys.days & (1 << ((now.day + ahead) % 7))) !== 0) continue;
      end = Math.min(end, localMoment(now, ahead, 0));
      break;
    }
  }
  return end;
}

/** The day of the week on which the window that holds now began; `undefined` outside of it. */
function windowDay(keys: RuleKeys, now: LocalTime): number | undefined {
  if (keys.hours === undefined) return now.day;
  const { start, end } = keys.hours;
  if (start < end) return now.minute >= start && now.minute < end ? now.day : undefined;
  if (now.minute >= start) return now.day;
  return now.minute < end ? (now.day + 6) % 7 : undefined;
}

/** A minute of a local day as a moment after `now`. */
function localMoment(now: LocalTime, daysAhead: number, minute: number): number {
  const { date } = now;
  const day = date.getDate() + daysAhead;
  const moment = new Date(date.getFullYear(), date.getMonth(), day, 0, minute).getTime();
  if (moment > now.at) return moment;
  // In the second pass of a repeated hour Date gives the first one: count on the clock's face.
  return now.at + (daysAhead * 1440 + minute - now.minute) * 60_000 - now.at % 60_000;
}
