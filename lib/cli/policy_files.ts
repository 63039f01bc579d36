/**
 * Reads policy files for the verbs: bytes from disk, host names looked up, problems shown.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { type IpAddress, parseIp } from "../net/ip.ts";
import {
  type HostAnswer,
  MAX_FILE_SIZE,
  type ParsedPolicy,
  parsePolicy,
  policyHosts,
  type PolicyProblem,
  problemExcerpt,
  problemText,
} from "../pinhole/policy.ts";
import { CliError, EXIT } from "./exit.ts";
import { printMessage, style, visible } from "./output.ts";

const LOOKUP_LIMIT_MS = 5000;
const LOOKUPS_AT_ONCE = 8;

/** Finds the addresses of a host name; rejects when there are none. */
export type Lookup = (name: string) => Promise<readonly string[]>;

/**
 * Reads a policy and looks up the host names in it, each with a time limit.
 *
 * @throws {CliError} when the file cannot be read; what is wrong inside it is in `problems`.
 */
export async function readPolicy(file: string, find: Lookup = systemLookup): Promise<ParsedPolicy> {
  const bytes = await readLimited(file);
  const answers = await resolveHosts(bytes, find);
  return parsePolicy(bytes, file, (name) => answers.get(name) ?? { addresses: [] });
}

/**
 * Reads a policy that is to be used.
 *
 * @throws {CliError} when it cannot be read or has errors, which are shown first.
 */
export async function readValidPolicy(file: string): Promise<ParsedPolicy> {
  const parsed = await readPolicy(file);
  refuseErrors(file, parsed.problems);
  return parsed;
}

/**
 * Shows the errors among problems, and ends the verb when there are any.
 *
 * @throws {CliError} when there is an error.
 */
export function refuseErrors(file: string, problems: readonly PolicyProblem[]): void {
  const errors = problems.filter((p) => p.severity === "error");
  if (errors.length === 0) return;
  showProblems(errors);
  throw new CliError(
    EXIT.INVALID,
    `${file} has ${plural(errors.length, "error")}`,
    "mend the lines shown above; the language is in diaper-policy(5)",
  );
}

/** Shows problems on stderr, each with its line and a caret. */
export function showProblems(problems: readonly PolicyProblem[]): void {
  for (const problem of problems) {
    const kind = problem.severity === "error" ? "red" : "yellow";
    printMessage(style(kind, visible(problemText(problem)), Deno.stderr));
    const excerpt = problemExcerpt(problem);
    if (excerpt !== undefined) printMessage(excerpt);
  }
}

/** `1 rule`, `2 rules`. */
export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

/**
 * The bytes of a file, and not many more than a policy may have, also when the file has no end.
 *
 * @throws {CliError} when it cannot be read.
 */
export async function readLimited(file: string): Promise<Uint8Array> {
  try {
    using handle = await Deno.open(file);
    if ((await handle.stat()).isDirectory) throw new Error("it is a directory");
    const parts: Uint8Array[] = [];
    let size = 0;
    while (size <= MAX_FILE_SIZE) {
      const part = new Uint8Array(65536);
      const count = await handle.read(part);
      if (count === null) break;
      parts.push(part.subarray(0, count));
      size += count;
    }
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  } catch (error) {
    const next = error instanceof Deno.errors.NotFound
      ? "check the name of the file"
      : "check the file and its rights";
    const why = error instanceof Error ? error.message.replace(/: open '.*'$/, "") : String(error);
    throw new CliError(EXIT.FAILED, `cannot read ${JSON.stringify(file)}: ${why}`, next, {
      cause: error,
    });
  }
}

async function systemLookup(name: string): Promise<readonly string[]> {
  return (await lookup(name, { all: true })).map((entry) => entry.address);
}

/** Looks up the host names in a policy, each with a time limit. */
export async function resolveHosts(
  policy: Uint8Array,
  find: Lookup = systemLookup,
): Promise<Map<string, HostAnswer>> {
  const answers = new Map<string, HostAnswer>();
  const waiting = policyHosts(policy).values();
  const worker = async () => {
    for (const name of waiting) answers.set(name, await resolveHost(name, find));
  };
  await Promise.all(Array.from({ length: LOOKUPS_AT_ONCE }, worker));
  return answers;
}

async function resolveHost(name: string, find: Lookup): Promise<HostAnswer> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`no answer within ${LOOKUP_LIMIT_MS / 1000} s`);
    timer = setTimeout(() => reject(error), LOOKUP_LIMIT_MS);
  });
  try {
    const found = await Promise.race([find(name), late]);
    const addresses = found.map((text) => parseIp(text.replace(/%.*$/, "")))
      .filter((address): address is IpAddress => address !== undefined);
    return { addresses };
  } catch (error) {
    return { addresses: [], failure: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
  }
}
