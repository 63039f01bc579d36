/**
 * How `diaper run` gets at a program's calls: by the agent that is loaded into it, or by a supervisor that
 * the kernel tells of them (`--trace seccomp`).
 *
 * @module
 */
import type { Executor, ProgramKind } from "../sys/program_file.ts";
import { CliError, EXIT } from "./exit.ts";

/** The two ways. */
export type Way = "preload" | "seccomp";

/** Values of `--trace`. */
export const TRACE_CHOICES = ["preload", "seccomp", "auto"] as const;

/**
 * Chooses the way for a program.
 *
 * @param asked value of `--trace`; without it the agent, and an error where the agent cannot work.
 * @throws {CliError} when the program would run without pinholes, though they were not declined.
 */
export function chooseWay(
  asked: (typeof TRACE_CHOICES)[number] | undefined,
  kind: ProgramKind,
  user: Executor,
): Way {
  // Said in so many words: then it is so, whatever the program.
  if (asked === "preload" || asked === "seccomp") return asked;
  if (kind.linking === "foreign") {
    throw new CliError(
      EXIT.FAILED,
      `${kind.path} is not a 64-bit program of this machine: neither agent nor supervisor see its calls`,
      "use its 64-bit version, or --trace preload to run it without pinholes",
    );
  }
  if (kind.gains !== undefined && user.uid !== 0) {
    throw new CliError(
      EXIT.FAILED,
      `${kind.path} gains rights (${kind.gains}): its loader ignores the agent, and a supervisor of yours ` +
        "would take those rights away",
      "as root: diaper run --trace seccomp; or diaper run --trace preload to run it without pinholes",
    );
  }
  const why = kind.gains !== undefined
    ? `gains rights (${kind.gains}), so that its loader ignores the agent`
    : kind.linking === "static"
    ? kind.go
      ? "is a static program written in Go, into which no agent can be loaded"
      : "is linked statically, so that no agent can be loaded"
    : kind.go
    ? "is written in Go, which makes its calls past the agent"
    : undefined;
  if (why === undefined) return "preload";
  if (asked === "auto") return "seccomp";
  throw new CliError(
    EXIT.FAILED,
    `${kind.path} ${why}`,
    "diaper run --trace seccomp supervises such a program; --trace auto chooses the way by itself",
  );
}
