/**
 * The program ipset, and what its failures mean.
 *
 * @module
 */
import { RunningTool, runTool, ToolMissing, type ToolResult } from "../lib/sys/tool.ts";
import { EnforcerError } from "./enforcer.ts";
import { SET_TYPE } from "./ipset_text.ts";

/** Seconds after which it is not known what became of a batch. */
const SECONDS = 120;

/**
 * Runs ipset.
 *
 * @throws {EnforcerError} when it is not installed.
 */
export function ipset(args: readonly string[], input: string = ""): Promise<ToolResult> {
  return guarded(() => runTool("ipset", args, input, SECONDS));
}

/**
 * Starts the program that takes a batch, so that it is ready when the batch is. Opening what is open and
 * closing what is not there are no errors to it.
 *
 * @throws {EnforcerError} when it is not installed.
 */
export function beginRestore(): RunningTool {
  return guarded(() => new RunningTool("ipset", ["-exist", "restore"], SECONDS));
}

/** Runs lines for one process. */
export function restore(lines: readonly string[]): Promise<ToolResult> {
  return beginRestore().finish(restoreText(lines));
}

/** Lines as ipset takes them. */
export function restoreText(lines: readonly string[]): string {
  return lines.join("\n") + "\n";
}

function guarded<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof ToolMissing)) throw error;
    throw new EnforcerError(error.message, "Install ipset (Debian: apt install ipset).");
  }
}

/** What a failure says: the line (from 0) that it is about, when it names one, and why. */
export function failureOf(result: ToolResult): { line: number | undefined; message: string } {
  if (result.code === undefined) {
    return { line: undefined, message: `no answer within ${SECONDS} seconds` };
  }
  const text = result.stderr.replace(/^ipset v[^:]*: /, "");
  const [, line, message] = /^Error in line (\d+): (.*)/s.exec(text) ?? [];
  return {
    line: line === undefined ? undefined : Number(line) - 1,
    message: (message ?? text).replaceAll("\n", " ") || `exit code ${result.code}`,
  };
}

/** An error for people. */
export function ipsetError(what: string, result: ToolResult): EnforcerError {
  const { message } = failureOf(result);
  return new EnforcerError(
    `ipset did not ${what}: ${message}`,
    /permitted|permission/i.test(message)
      ? "Run as root, or with the capability CAP_NET_ADMIN."
      : "See what is there with `ipset list -t`; the kernel needs ip_set_hash_ipportip (modprobe).",
  );
}

/** What is known of a set's making; undefined when there is no such set. */
export interface SetHeader {
  /** Its elements can be pinholes of ours: kind, family, counters, leases and comments. */
  readonly fits: boolean;
  readonly maxelem: number;
}

/** The header of a set. */
export async function setHeader(name: string, family: 4 | 6): Promise<SetHeader | undefined> {
  const result = await ipset(["list", "-t", name]);
  if (result.code !== 0) {
    if (/does not exist/.test(result.stderr)) return undefined;
    throw ipsetError(`show the set ${name}`, result);
  }
  const type = /^Type: (.*)$/m.exec(result.stdout)?.[1];
  const header = /^Header: (.*)$/m.exec(result.stdout)?.[1]?.split(" ") ?? [];
  const value = (key: string) => header[header.indexOf(key) + 1];
  return {
    fits: type === SET_TYPE && value("family") === (family === 4 ? "inet" : "inet6") &&
      ["timeout", "counters", "comment"].every((word) => header.includes(word)),
    maxelem: header.includes("maxelem") ? Number(value("maxelem")) : 0,
  };
}
