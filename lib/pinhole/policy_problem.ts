/**
 * What is wrong with a policy or a file of cases, and where.
 *
 * @module
 */

/** One finding, at a place in a file. Lines and columns count from 1; columns count characters. */
export interface PolicyProblem {
  /** Name of the file as given to the reader. */
  readonly file: string;
  /** Line, from 1. */
  readonly line: number;
  /** Character in the line, from 1. */
  readonly column: number;
  /** Only errors make a file unusable. */
  readonly severity: "error" | "warning";
  /** What is wrong and how to mend it. */
  readonly message: string;
  /** The line, for a caret under the place; control characters are made visible. */
  readonly source: string;
}

/** Thrown by the readers of single fields; `index` is the place in the field, in UTF-16 units. */
export class FieldError extends Error {
  /** Name of the class. */
  override readonly name = "FieldError";
  /** Place in the field, UTF-16 units. */
  readonly index: number;
  /** An error at a place in the field. */
  constructor(message: string, index = 0) {
    super(message);
    this.index = index;
  }
}

/** A problem in the usual form of compilers: `FILE:LINE:COLUMN: [warning: ]MESSAGE`. */
export function problemText(problem: PolicyProblem): string {
  const mark = problem.severity === "warning" ? "warning: " : "";
  return `${problem.file}:${problem.line}:${problem.column}: ${mark}${problem.message}`;
}

const CARET_WIDTH = 100;

/** The line of a problem with a caret under the place, cut when long; `undefined` without a line. */
export function problemExcerpt(problem: PolicyProblem): string | undefined {
  if (problem.source.trim() === "") return undefined;
  const characters = [...problem.source];
  const from = Math.max(0, Math.min(problem.column - 1 - CARET_WIDTH / 2, characters.length));
  const shown = characters.slice(from, from + CARET_WIDTH).join("");
  return `  ${shown}\n  ${" ".repeat(Math.max(0, problem.column - 1 - from))}^`;
}

// deno-lint-ignore no-control-regex -- finding control characters is the purpose
const UNSEEN = /[\u0000-\u001f\u007f-\u009f]|[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Text with every control and invisible character made one visible character, for terminals. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (c) => {
    const code = c.codePointAt(0) as number;
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : "\ufffd";
  });
}

/** A value from a file, quoted for a message: made visible and cut to 60 characters. */
export function quote(text: string): string {
  const characters = [...visible(text)];
  return `"${
    characters.length > 60 ? `${characters.slice(0, 57).join("")}...` : characters.join("")
  }"`;
}

/** `known` word that `word` was probably meant to be, as a hint to append, or "". */
export function didYouMean(word: string, known: readonly string[]): string {
  const near = known.find((k) =>
    k !== word && distance(word.toLowerCase(), k) <= (k.length > 3 ? 2 : 1)
  );
  return near === undefined ? "" : `; did you mean "${near}"?`;
}

/** Levenshtein distance; words longer than 20 characters are not compared. */
function distance(a: string, b: string): number {
  if (a.length > 20) return a.length;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
