/**
 * Options of scanners that stand in files of their own. A scanner has no files: small ones are read with the configuration
 * and given to it with its options, tables are checked and given to it piece by piece when it starts (option_feed.ts).
 *
 * @module
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { ConfigError, parseYaml, unreadable } from "../config/yaml.ts";

/** Bytes of a file whose content is kept in memory with the other options. */
const LONGEST = 64 * 1024;
/** Bytes of a table: some hundred thousand lines. */
const LONGEST_TABLE = 64 * 1024 * 1024;
/** Mistakes of one table that are told. */
const MOST_PROBLEMS = 10;

type Options = Readonly<Record<string, unknown>>;

/** A table for a scanner: its lines are added to an option, which is a list. */
export interface OptionTable {
  readonly option: string;
  readonly path: string;
  /** Tells its content from another one. */
  readonly version: string;
}

const text = z.string().min(1);
const whole = z.int().min(0);
const expression = text.superRefine((source, context) => {
  try {
    new RegExp(source, "is");
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    context.addIssue({ code: "custom", message: error.message });
  }
});

/** A rule of the http scanner (diaper-scanners(5)): the scanner itself could not tell where in a file a mistake is. */
const httpRule = z.strictObject({
  name: text,
  method: text.optional(),
  target: expression.optional(),
  query_longer: whole.optional(),
  target_longer: whole.optional(),
  header: text.optional(),
  header_matches: expression.optional(),
  header_longer: whole.optional(),
}).refine((rule) => Object.keys(rule).length > 1, { error: "says nothing about a request" });

/** Options that name files whose content takes their place. */
const FILES: Readonly<Record<string, (text: string, path: string) => unknown[]>> = {
  /** Rules of the http scanner, as a list. */
  rules_file: (text, path) => parseYaml(z.array(httpRule).nullish(), text, path) ?? [],
};

/** Options that name tables, with what a line of each has to be, and how that is told. */
const TABLES: Readonly<Record<string, readonly [line: RegExp, what: string]>> = {
  /** Digests, one a line, with comments. */
  digests_file: [
    /^([0-9a-f]{32}|[0-9a-f]{64})([:\s].*)?$/i,
    "expected an MD5 or SHA-256 digest in hexadecimal",
  ],
};

/** Options, and the tables that they name. */
export interface ReadOptions {
  readonly options: Options;
  readonly tables: readonly OptionTable[];
}

/**
 * Options with what stands in the files that they name, after what they have themselves.
 *
 * @throws {ConfigError} that tells the place in the file.
 */
export function readOptionFiles(options: Options): ReadOptions {
  const read: Record<string, unknown> = { ...options };
  for (const [key, parse] of Object.entries(FILES)) {
    const path = pathOf(read, key);
    if (path === undefined) continue;
    const name = nameOf(key);
    read[name] = [...read[name] as unknown[], ...parse(readText(path, LONGEST), path)];
  }
  const tables: OptionTable[] = [];
  for (const [key, [line, what]] of Object.entries(TABLES)) {
    const path = pathOf(read, key);
    if (path === undefined) continue;
    const text = readText(path, LONGEST_TABLE);
    const problems = check(text, path, line, what);
    if (problems.length > 0) throw new ConfigError(problems);
    const version = createHash("sha256").update(text).digest("hex");
    tables.push({ option: nameOf(key), path, version });
  }
  return { options: read, tables };
}

/** A line of a table, without blanks and comments; empty when nothing is in it. */
export function tableLine(line: string): string {
  return line.replace(/#.*/, "").trim();
}

function nameOf(key: string): string {
  return key.slice(0, -"_file".length);
}

/** Takes a file's name out of options; the list beside it is there then. */
function pathOf(read: Record<string, unknown>, key: string): string | undefined {
  const path = read[key];
  if (path === undefined) return undefined;
  delete read[key];
  const own = read[nameOf(key)] ??= [];
  if (typeof path !== "string" || !path.startsWith("/") || !Array.isArray(own)) {
    throw new ConfigError([{
      file: key,
      line: 1,
      column: 1,
      message: "expected an absolute path, beside a list",
    }]);
  }
  return path;
}

function check(text: string, file: string, line: RegExp, what: string): ConfigError["problems"] {
  const problems: { file: string; line: number; column: number; message: string }[] = [];
  let number = 0;
  for (const raw of text.split("\n")) {
    number++;
    const content = tableLine(raw);
    if (content === "" || line.test(content)) continue;
    const column = raw.length - raw.trimStart().length + 1;
    const message = `${what}, not ${JSON.stringify(content.slice(0, 80))}`;
    problems.push({ file, line: number, column, message });
    if (problems.length === MOST_PROBLEMS) break;
  }
  return problems;
}

function readText(path: string, longest: number): string {
  try {
    const { size } = Deno.statSync(path);
    if (size > longest) throw new RangeError(`it has more than ${longest} bytes`);
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}
