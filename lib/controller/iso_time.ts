/**
 * Times as RFC 3339 in UTC, for lines that are made by the thousand: most are of the same second.
 *
 * @module
 */

let second = NaN;
let upToSecond = "";

/** The same as `new Date(ms).toISOString()`, for whole milliseconds. */
export function isoTime(ms: number): string {
  const whole = Math.floor(ms / 1000);
  if (whole !== second) {
    upToSecond = new Date(whole * 1000).toISOString().slice(0, -4);
    second = whole;
  }
  const rest = ms - whole * 1000;
  return `${upToSecond}${rest < 10 ? "00" : rest < 100 ? "0" : ""}${rest}Z`;
}
