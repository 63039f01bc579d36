/**
 * What can be made to go wrong at a simulated device. Counts are of what comes after they were set; a fault
 * that has happened is gone.
 *
 * @module
 */

/** The faults of one device; all are off at first, and may be set at any time. */
export interface Faults {
  /** Milliseconds before each line's echo. */
  slowEcho: number;
  /** The terminal has 80 columns, whatever is asked for. */
  narrow: boolean;
  /** The n-th ACL line from now on is refused. 0: none. */
  rejectLine: number;
  /** The session is lost at the n-th ACL line from now on. 0: never. */
  dropAtLine: number;
  /** The session is lost right after the next change took effect, before the device says so. */
  dropAfterCommit: boolean;
  /** Somebody else holds the configuration, for so many tries. */
  lockedTries: number;
  /** A log line is printed after every n-th line. 0: none. */
  logEvery: number;
  /** Commands are taken and never answered. */
  silent: boolean;
  /** Sent instead of the next listing. */
  garbage: Uint8Array | undefined;
  /** The listing ends after so many characters, with a prompt after it. 0: it is whole. */
  truncateList: number;
}

/** No faults. */
export function noFaults(): Faults {
  return {
    slowEcho: 0,
    narrow: false,
    rejectLine: 0,
    dropAtLine: 0,
    dropAfterCommit: false,
    lockedTries: 0,
    logEvery: 0,
    silent: false,
    garbage: undefined,
    truncateList: 0,
  };
}

/** Counts a fault down; true when it happens now. */
export function due(faults: Faults, name: "rejectLine" | "dropAtLine"): boolean {
  if (faults[name] === 0) return false;
  faults[name]--;
  return faults[name] === 0;
}
