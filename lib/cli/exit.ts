/**
 * How a verb ends: the exit codes that scripts rely on, and errors that say what to do next.
 *
 * @module
 */

/** Exit codes of every verb. */
export const EXIT = {
  DONE: 0,
  FAILED: 1,
  USAGE: 2,
  /** A configuration file or a policy is not valid. */
  INVALID: 3,
  /** The daemon is not reachable. */
  UNREACHABLE: 4,
  NOT_PERMITTED: 5,
  /** What a shell shows for a program that SIGPIPE ended: whoever read the output went away. */
  BROKEN_PIPE: 141,
} as const;

/** One of {@link EXIT}'s values. */
export type ExitCode = typeof EXIT[keyof typeof EXIT];

/**
 * An error for a person. It is shown as `diaper: MESSAGE` and `  next: NEXT` on stderr, and ends the
 * verb with `code`.
 */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly code: ExitCode;
  /** What the person can do about it, in the imperative: a command where there is one. */
  readonly next: string | undefined;
  constructor(code: ExitCode, message: string, next?: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.next = next;
  }
}

/** True for errors that carry advice, such as those of drivers, without being a {@link CliError}. */
export function hasNext(error: unknown): error is Error & { readonly next: string } {
  return error instanceof Error && "next" in error && typeof error.next === "string";
}
