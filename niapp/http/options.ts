/**
 * What an administrator can set for the scanner of HTTP requests.
 *
 * @module
 */
import { compileRules, KNOWN, type Rule } from "./rules.ts";
import type { RequestLimits } from "./request.ts";

/** The scanner's settings. */
export interface HttpOptions {
  /** Ports of servers. */
  readonly ports: readonly number[];
  /** What requests must not be. */
  readonly rules: readonly Rule[];
  readonly limits: RequestLimits;
  /** What becomes of connections that are no HTTP. */
  readonly other: "pass" | "kill";
}

const NUMBERS = {
  longest_target: ["line", 8192, 64, 1 << 20],
  longest_header: ["header", 16_384, 64, 1 << 20],
  longest_head: ["head", 131_072, 256, 1 << 20],
} as const;

/**
 * Reads the settings.
 *
 * @throws {Error} that names what is wrong.
 */
export function readOptions(given: Readonly<Record<string, unknown>>): HttpOptions {
  for (const name of Object.keys(given)) {
    if (!(name in NUMBERS) && !["ports", "rules", "known", "other"].includes(name)) {
      throw new Error(`option ${name} is not known`);
    }
  }
  const limits = Object.fromEntries(
    Object.entries(NUMBERS).map(([name, [field, usual, least, most]]) => {
      const value = given[name] ?? usual;
      if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
        throw new Error(`option ${name}: expected a whole number from ${least} to ${most}`);
      }
      return [field, value];
    }),
  ) as unknown as RequestLimits;
  const ports = given["ports"] ?? [80];
  if (!Array.isArray(ports) || !ports.every((p) => Number.isInteger(p) && p > 0 && p < 65536)) {
    throw new Error("option ports: expected a list of ports");
  }
  const rules = given["rules"] ?? [];
  if (!Array.isArray(rules)) throw new Error("option rules: expected a list of rules");
  const known = given["known"] ?? true;
  if (typeof known !== "boolean") throw new Error("option known: expected true or false");
  const other = given["other"] ?? "pass";
  if (other !== "pass" && other !== "kill") throw new Error("option other: expected pass or kill");
  return { ports, rules: compileRules([...known ? KNOWN : [], ...rules]), limits, other };
}
