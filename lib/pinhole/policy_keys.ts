/**
 * Reader of the `key=value` part of a rule.
 *
 * @module
 */
import { didYouMean, FieldError, quote } from "./policy_problem.ts";
import { DAY_NAMES, durationText, type HourWindow, type RuleKeys } from "./policy_rule.ts";

/** The keys of a rule while it is read. */
export type MutableKeys = { -readonly [K in keyof RuleKeys]: RuleKeys[K] };

const MAX_COUNT = 1_000_000;
const MAX_DURATION = 366 * 86400;
const MAX_COMMENT = 200;
const LIMITS: readonly string[] = ["max", "rate", "ttl", "idle"];
const KEYS: readonly (keyof RuleKeys)[] = [
  "hours",
  "days",
  "until",
  "max",
  "rate",
  "ttl",
  "idle",
  "id",
  "comment",
];

/** A rule without any key. */
export function noKeys(): MutableKeys {
  return {
    hours: undefined,
    days: undefined,
    until: undefined,
    max: undefined,
    rate: undefined,
    ttl: undefined,
    idle: undefined,
    id: undefined,
    comment: undefined,
  };
}

/**
 * Reads one `key=value` word into `keys`.
 *
 * @throws {FieldError} when the key is unknown, given twice, or has no such value.
 */
export function readKey(
  word: string,
  effect: "allow" | "deny" | undefined,
  keys: MutableKeys,
): void {
  const equals = word.indexOf("=");
  if (equals === -1) {
    throw new FieldError(
      `Unexpected ${quote(word)}: after the eight fields only key=value can follow`,
    );
  }
  const key = word.slice(0, equals);
  if (!isKey(key)) {
    const hint = didYouMean(key, KEYS);
    throw new FieldError(`Unknown key ${quote(key)}${hint || `: known are ${KEYS.join(", ")}`}`);
  }
  if (keys[key] !== undefined) throw new FieldError(`Key ${quote(key)} is given twice`);
  if (effect === "deny" && LIMITS.includes(key)) {
    const message = `Key ${quote(key)} limits what a rule allows: a deny rule cannot have it`;
    throw new FieldError(message);
  }
  try {
    readValue(key, word.slice(equals + 1), keys);
  } catch (error) {
    if (!(error instanceof FieldError)) throw error;
    throw new FieldError(error.message, equals + 1 + error.index);
  }
}

function isKey(key: string): key is keyof RuleKeys {
  return KEYS.some((k) => k === key);
}

function readValue(key: keyof RuleKeys, value: string, keys: MutableKeys): void {
  if (value === "") throw new FieldError(`Key ${quote(key)} has no value`);
  if (value.startsWith('"') && key !== "comment") {
    throw new FieldError(`Key ${quote(key)} takes no quotes`);
  }
  switch (key) {
    case "hours":
      keys.hours = readHours(value);
      break;
    case "days":
      keys.days = readDays(value);
      break;
    case "until":
      keys.until = readUntil(value);
      break;
    case "max":
    case "rate":
      keys[key] = readCount(key, value);
      break;
    case "ttl":
    case "idle":
      keys[key] = readDuration(value);
      break;
    case "id":
      keys.id = readId(value);
      break;
    case "comment":
      keys.comment = readComment(value);
      break;
  }
}

/**
 * Reads the name of a line.
 *
 * @throws {FieldError} when it is none.
 */
export function readId(value: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$/.test(value)) return value;
  throw new FieldError(`Bad id ${quote(value)}: 1 to 64 letters, digits and _.:-`);
}

function readHours(value: string): HourWindow {
  const match = /^(\d\d):(\d\d)-(\d\d):(\d\d)$/.exec(value);
  const bad = `Bad hours ${quote(value)}: write for example 08:00-18:00 or 22:00-06:00`;
  if (match === null) throw new FieldError(bad);
  const [h1, m1, h2, m2] = match.slice(1).map(Number) as [number, number, number, number];
  if (h1 > 23 || m1 > 59 || m2 > 59 || h2 > 24 || (h2 === 24 && m2 > 0)) {
    throw new FieldError(`${bad}; times go from 00:00 to 24:00`);
  }
  const [start, end] = [h1 * 60 + m1, h2 * 60 + m2];
  if (start % 1440 === end % 1440) {
    throw new FieldError(`Hours ${quote(value)} end where they begin: leave hours out for all day`);
  }
  return { start, end };
}

function readDays(value: string): number {
  let days = 0;
  let index = 0;
  for (const item of value.split(",")) {
    const parts = item.split("-");
    const [first, last] = [dayNumber(parts[0], index), dayNumber(parts.at(-1), index)];
    if (parts.length > 2) throw new FieldError(`Bad days ${quote(item)}`, index);
    for (let day = first;; day = (day + 1) % 7) {
      if ((days & (1 << day)) !== 0) {
        throw new FieldError(`Day ${quote(DAY_NAMES[day] as string)} is named twice`, index);
      }
      days |= 1 << day;
      if (day === last) break;
    }
    index += item.length + 1;
  }
  return days;
}

function dayNumber(text: string | undefined, index: number): number {
  const day = DAY_NAMES.findIndex((name) => name === text);
  if (day !== -1) return day;
  const message = `Bad day ${
    quote(text ?? "")
  }: use mon tue wed thu fri sat sun, as in mon-fri or sat,sun`;
  throw new FieldError(message, index);
}

const MOMENT = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?)?$/;

/**
 * A moment: RFC 3339 with zone, or a date, which means to the end of that local day.
 *
 * @throws {FieldError} when it is neither.
 */
function readUntil(value: string): number {
  const date = /^(\d{4})-(\d\d)-(\d\d)$/.exec(value);
  if (date === null) return readMoment(value);
  const [year, month, day] = date.slice(1).map(Number) as [number, number, number];
  checkDate(value, year, month, day);
  return new Date(year, month - 1, day + 1).getTime();
}

/**
 * Milliseconds since the epoch of an RFC 3339 time.
 *
 * @param local take a time without zone for local time; else the zone is needed.
 * @throws {FieldError} when the text is not one, or the day or time does not exist.
 */
export function readMoment(value: string, local = false): number {
  const match = MOMENT.exec(value);
  if (match === null || match[4] === undefined) {
    throw new FieldError(
      `Bad time ${quote(value)}: write RFC 3339, for example 2030-12-31T18:00:00Z`,
    );
  }
  const [year, month, day] = match.slice(1, 4).map(Number) as [number, number, number];
  checkDate(value, year, month, day);
  if (Number(match[4]) > 23 || Number(match[5]) > 59 || Number(match[6]) > 59) {
    throw new FieldError(`Bad time ${quote(value)}: there is no such time of day`);
  }
  if (match[8] === undefined && !local) {
    throw new FieldError(`Time ${quote(value)} has no zone: add Z or an offset such as +02:00`);
  }
  const time = Date.parse(value);
  if (Number.isNaN(time)) throw new FieldError(`Bad time ${quote(value)}: there is no such offset`);
  return time;
}

function checkDate(value: string, year: number, month: number, day: number): void {
  const date = new Date(Date.UTC(year, month - 1, day));
  if (year < 1970 || date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) {
    throw new FieldError(`Bad date ${quote(value)}: there is no such day`);
  }
}

function readCount(key: string, value: string): number {
  if (!/^(0|[1-9][0-9]{0,6})$/.test(value) || Number(value) > MAX_COUNT) {
    throw new FieldError(`Bad ${key} ${quote(value)}: a number from 1 to ${MAX_COUNT}`);
  }
  if (value === "0") throw new FieldError(`${key}=0 would allow nothing: write a deny rule`);
  return Number(value);
}

/**
 * Seconds of a duration such as `1h30m`: days, hours, minutes, seconds, in this order.
 *
 * @throws {FieldError} when it is not one, is zero, or is longer than 366 days.
 */
export function readDuration(value: string): number {
  const match = /^(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?$/.exec(value);
  if (match === null || value === "") {
    const mend = /^\d+$/.test(value)
      ? `add a unit, for example ${quote(`${value}s`)}`
      : "write for example 90s, 10m, 1h30m or 2d";
    throw new FieldError(`Bad duration ${quote(value)}: ${mend}`);
  }
  const [d, h, m, s] = match.slice(1).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
  ];
  const seconds = d * 86400 + h * 3600 + m * 60 + s;
  if (seconds === 0 || seconds > MAX_DURATION) {
    throw new FieldError(`Bad duration ${quote(value)}: 1s to ${durationText(MAX_DURATION)}`);
  }
  return seconds;
}

/**
 * Reads text in quotes, or one word.
 *
 * @throws {FieldError} when it is none.
 */
export function readComment(value: string): string {
  const text = value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, "$1") : value;
  if ([...text].length > MAX_COMMENT) {
    throw new FieldError(`Comment is longer than ${MAX_COMMENT} characters`);
  }
  return text;
}
