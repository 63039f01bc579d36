/**
 * What says whether something is infected.
 *
 * @module
 */
import type { Specimen } from "./specimens.ts";

/** What was found. */
export interface Finding {
  readonly specimen: Specimen;
  /** The virus's name. */
  readonly name: string;
  /** Who says so. */
  readonly by: string;
}

/** The answer of a check. */
export interface CheckResult {
  readonly findings: readonly Finding[];
  /** Why some or all could not be checked; undefined: all were. */
  readonly failure: string | undefined;
}

/** A way to check. */
export interface Check {
  readonly name: string;
  /**
   * Checks all specimens of a message.
   *
   * @param done called once, maybe before this returns.
   */
  run(specimens: readonly Specimen[], done: (result: CheckResult) => void): void;
}

/** Runs checks one after the other; the first that finds something is the last. */
export function runChecks(
  checks: readonly Check[],
  specimens: readonly Specimen[],
  done: (result: CheckResult) => void,
): void {
  let failure: string | undefined;
  const next = (place: number) => {
    const check = checks[place];
    if (check === undefined) return done({ findings: [], failure });
    check.run(specimens, (result) => {
      failure ??= result.failure;
      if (result.findings.length > 0) done({ findings: result.findings, failure });
      else next(place + 1);
    });
  };
  next(0);
}
