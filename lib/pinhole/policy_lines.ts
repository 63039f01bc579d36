/**
 * From the bytes of a policy file to lines of words: encoding, forbidden characters, quotes,
 * comments. Shared by policies and their files of test cases.
 *
 * @module
 */
import { FieldError, type PolicyProblem, visible } from "./policy_problem.ts";

/** Largest policy file that is read, bytes (UTF-16 units of a string). */
export const MAX_FILE_SIZE = 16 * 1024 * 1024;
/** Longest line that is read, characters. */
export const MAX_LINE_LENGTH = 4096;
/** Problems after which reading a file stops. */
export const MAX_PROBLEMS = 1000;

/** A word of a line; `index` in UTF-16 units from the start of the line. */
export interface Word {
  /** The word. */
  readonly text: string;
  /** Where it begins. */
  readonly index: number;
}

/** A line that has words. */
export interface WordLine {
  /** From 1. */
  readonly number: number;
  /** The whole line as written. */
  readonly source: string;
  /** The line without comment and surrounding blanks. */
  readonly text: string;
  /** Its words, at least one. */
  readonly words: readonly Word[];
}

/** Collects the problems of one file, at most {@link MAX_PROBLEMS}. */
export class ProblemList {
  /** What was found so far, in the order of finding. */
  readonly problems: PolicyProblem[] = [];
  readonly #file: string;

  /** A list for the file of this name. */
  constructor(file: string) {
    this.#file = file;
  }

  /** True when so much is wrong that reading on helps nobody. */
  get full(): boolean {
    return this.problems.length >= MAX_PROBLEMS;
  }

  /** Adds a problem at `index` (UTF-16 units) of a line. */
  add(
    line: number,
    source: string,
    index: number,
    message: string,
    severity: PolicyProblem["severity"] = "error",
  ): void {
    if (this.full) return;
    const last = this.problems.length === MAX_PROBLEMS - 1;
    const column = [...source.slice(0, index)].length + 1;
    this.problems.push({
      file: this.#file,
      line,
      column,
      severity: last ? "error" : severity,
      message: last ? `Too many problems: reading stops after ${MAX_PROBLEMS}` : message,
      source: visible(source.slice(0, MAX_LINE_LENGTH)),
    });
  }
}

/**
 * Splits a file into lines of words, telling `problems` what is not text as it should be. Lines come one
 * by one, so that a reader can stop when there are too many problems.
 */
export function* readWordLines(
  input: string | Uint8Array,
  problems: ProblemList,
): Generator<WordLine> {
  if (input.length > MAX_FILE_SIZE) {
    problems.add(1, "", 0, `File is larger than ${MAX_FILE_SIZE} bytes: split it`);
    return;
  }
  const notes = { cr: 0, tabs: 0 };
  let number = 0;
  for (const line of typeof input === "string" ? linesOf(input) : decodeLines(input, problems)) {
    if (problems.full) return;
    number++;
    const words = line === undefined ? undefined : readLine(line, number, problems, notes);
    if (words !== undefined) yield words;
  }
}

function* linesOf(text: string): Generator<string> {
  for (let from = 0; from <= text.length;) {
    const newline = text.indexOf("\n", from);
    const end = newline === -1 ? text.length : newline;
    yield text.slice(from, end);
    from = end + 1;
  }
}

/** Lines of UTF-8 bytes; a line that is not UTF-8 is `undefined` and a problem. */
function* decodeLines(bytes: Uint8Array, problems: ProblemList): Generator<string | undefined> {
  let text: string | undefined;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  if (text !== undefined) return yield* linesOf(text);
  const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
  let number = 0;
  for (let from = 0; from <= bytes.length;) {
    const newline = bytes.indexOf(10, from);
    const end = newline === -1 ? bytes.length : newline;
    const part = bytes.subarray(from, end);
    const line = lenient.decode(part);
    const index = invalidIndex(part, line);
    number++;
    if (index === undefined) yield line;
    else {
      problems.add(number, line, index, "Not valid UTF-8: save the file as UTF-8");
      yield undefined;
    }
    from = end + 1;
  }
}

/** Where in the leniently decoded text the first byte that is not UTF-8 stood. */
function invalidIndex(bytes: Uint8Array, text: string): number | undefined {
  const encoder = new TextEncoder();
  let offset = 0;
  let from = 0;
  for (;;) {
    const index = text.indexOf("\ufffd", from);
    if (index === -1) return undefined;
    offset += encoder.encode(text.slice(from, index)).length;
    const real = bytes[offset] === 0xef && bytes[offset + 1] === 0xbf && bytes[offset + 2] === 0xbd;
    if (!real) return index;
    offset += 3;
    from = index + 1;
  }
}

const FORBIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const ONLY_PRINTABLE_ASCII = /^[ -~]*$/;

function readLine(
  source: string,
  number: number,
  problems: ProblemList,
  notes: { cr: number; tabs: number },
): WordLine | undefined {
  if (source.length > MAX_LINE_LENGTH) {
    const message = `Line is longer than ${MAX_LINE_LENGTH} characters: split the rule`;
    problems.add(number, source, MAX_LINE_LENGTH, message);
    return undefined;
  }
  let line = source;
  if (!ONLY_PRINTABLE_ASCII.test(line)) {
    if (line.endsWith("\r")) {
      if (notes.cr++ === 0) {
        const message = "Line ends with a carriage return (CR LF): " +
          "give the file Unix line ends, for example with: sed -i 's/\\r$//' FILE";
        problems.add(number, source, source.length - 1, message);
      }
      line = line.slice(0, -1);
    }
    if (line.includes("\t")) {
      if (notes.tabs++ === 0) {
        const message = "Tab: use blanks, for example with: expand FILE";
        problems.add(number, source, line.indexOf("\t"), message);
      }
      line = line.replaceAll("\t", " ");
    }
    const found = FORBIDDEN.exec(line);
    if (found !== null) {
      problems.add(number, source, found.index, forbiddenMessage(found[0], number, found.index));
      return undefined;
    }
  }
  return splitWords(line, source, number, problems);
}

function forbiddenMessage(character: string, line: number, index: number): string {
  const code = character.codePointAt(0) as number;
  if (code === 0xfeff && line === 1 && index === 0) {
    return "File begins with a byte order mark: save it as UTF-8 without BOM";
  }
  if (code === 0) return "NUL character: this is not a text file";
  const name = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  return `Control or invisible character ${name}: take it out`;
}

function splitWords(
  line: string,
  source: string,
  number: number,
  problems: ProblemList,
): WordLine | undefined {
  const words: Word[] = [];
  let end = line.length;
  let at = 0;
  while (at < line.length) {
    if (line[at] === " ") {
      at++;
      continue;
    }
    if (line[at] === "#") {
      end = at;
      break;
    }
    let stop: number;
    try {
      stop = wordEnd(line, at);
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      problems.add(number, source, error.index, error.message);
      return undefined;
    }
    words.push({ text: line.slice(at, stop), index: at });
    at = stop;
  }
  const text = line.slice(0, end).trim();
  return words.length === 0 ? undefined : { number, source, text, words };
}

/** The end of the word at `from`; quotes may follow `=` and hold blanks, `\\"` and `\\\\`. */
function wordEnd(line: string, from: number): number {
  let at = from;
  for (; at < line.length && line[at] !== " "; at++) {
    const c = line[at];
    if (c === "#") throw new FieldError("A comment begins after a blank: put one before '#'", at);
    if (c !== '"') continue;
    if (line[at - 1] !== "=" || at === from) {
      throw new FieldError("A quote can only follow 'key='", at);
    }
    const open = at++;
    while (at < line.length && line[at] !== '"') at += line[at] === "\\" ? 2 : 1;
    if (at >= line.length) throw new FieldError("The quoted text has no closing quote", open);
    if (at + 1 < line.length && line[at + 1] !== " ") {
      throw new FieldError("Put a blank after the closing quote", at + 1);
    }
  }
  return at;
}
