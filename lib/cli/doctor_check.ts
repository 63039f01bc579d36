/**
 * What a check of `diaper doctor` is.
 *
 * @module
 */

/** How a check ended. `warn`: diaper works, but less well, or it could not be looked at. */
export type CheckResult = "pass" | "warn" | "fail";

/** One line of doctor's report. */
export interface Check {
  /** Stable name, for scripts. */
  readonly name: string;
  readonly result: CheckResult;
  /** What was found. */
  readonly text: string;
  /** What to do about it; null when it passed. */
  readonly mend: string | null;
}

/** All is as it should be. */
export function pass(name: string, text: string): Check {
  return { name, result: "pass", text, mend: null };
}

/** Diaper works without it, but less well. */
export function warn(name: string, text: string, mend: string): Check {
  return { name, result: "warn", text, mend };
}

/** Diaper does not work as it is. */
export function fail(name: string, text: string, mend: string): Check {
  return { name, result: "fail", text, mend };
}

/** Only root could have looked at it. */
export function notLooked(name: string, what: string): Check {
  return warn(name, `${what}: not looked at, since that needs root`, "sudo diaper doctor");
}

/** An error's words. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
