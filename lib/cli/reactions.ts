/**
 * Findings of scanners, and the lines of the site's policy that say what they do.
 *
 * @module
 */
import { parseIp } from "../net/ip.ts";
import { type Finding, parsePolicy, type ReactRule } from "../pinhole/policy.ts";
import { readLimited, resolveHosts } from "./policy_files.ts";

/**
 * A finding out of an alert's event; undefined when it is none. Whoever sent it may have written anything.
 *
 * @param hosts addresses of it that the console says the NI stands before: an NI's word about other hosts counts for
 *   nothing.
 */
export function readFinding(
  event: Readonly<Record<string, unknown>>,
  hosts: readonly string[],
): Finding | undefined {
  const { alert, scanner } = event;
  if (typeof alert !== "object" || alert === null || typeof scanner !== "string") return undefined;
  const { signature, severity } = alert as Readonly<Record<string, unknown>>;
  if (typeof signature !== "string" || typeof severity !== "number") return undefined;
  const addresses = hosts.flatMap((text) => parseIp(text) ?? []);
  return addresses.length === 0 ? undefined : { scanner, signature, severity, addresses };
}

/** The react lines of a policy file, read again when it has changed. */
export class Reactions {
  readonly #file: string;
  #version = "";
  #rules: readonly ReactRule[] = [];

  constructor(file: string) {
    this.#file = file;
  }

  /**
   * The lines as they are now. A file with errors was not loaded: those of before stay in force.
   *
   * @throws {CliError} when it cannot be read.
   */
  async rules(): Promise<readonly ReactRule[]> {
    const { mtime, size, ino } = await Deno.stat(this.#file);
    const version = `${mtime?.getTime()} ${size} ${ino}`;
    if (version === this.#version) return this.#rules;
    const bytes = await readLimited(this.#file);
    const answers = await resolveHosts(bytes);
    const { reactions, problems } = parsePolicy(
      bytes,
      this.#file,
      (name) => answers.get(name) ?? { addresses: [] },
    );
    if (!problems.some(({ severity }) => severity === "error")) this.#rules = reactions;
    this.#version = version;
    return this.#rules;
  }
}
