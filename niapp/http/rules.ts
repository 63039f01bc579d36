/**
 * Rules about requests, and the ones that are known: worms that came by buffer overflows (CMU-CS-02-144, section 2.3).
 *
 * @module
 */
import { readings } from "./target.ts";
import type { Request } from "./request.ts";

/** A rule. All that it says must hold. */
export interface RuleText {
  readonly name: string;
  /** Exactly this method. */
  readonly method?: string;
  /** A regular expression about the target in any of its readings; capitals do not matter. */
  readonly target?: string;
  /** The part behind the question mark, or the whole target, has more bytes. */
  readonly query_longer?: number;
  readonly target_longer?: number;
  /** A header field that is there, matches, or is longer. */
  readonly header?: string;
  readonly header_matches?: string;
  readonly header_longer?: number;
}

/** A rule, ready to be used. */
export interface Rule {
  readonly text: RuleText;
  readonly target: RegExp | undefined;
  readonly value: RegExp | undefined;
}

/** What is known. */
export const KNOWN: readonly RuleText[] = [
  // The overflow is in the index server's extension: a long query.
  { name: "Code Red: overflow of an index query", target: "\\.id[aq]\\?", query_longer: 180 },
  { name: "Code Red: code in a query", target: "\\.id[aq]\\?.*%u[0-9a-f]{4}%u" },
  { name: "Nimda: shell of the server", target: "/(cmd|root)\\.exe(\\?|$|/)" },
  { name: "Nimda: path out of the server's folders", target: "/\\.\\.[/\\\\].*(winnt|system32)" },
  { name: "overflow of .printer", target: "\\.printer(\\?|$)", header: "host", header_longer: 250 },
  { name: "overflow of .htr", target: "\\.htr(\\?|$|\\+)", target_longer: 240 },
  { name: "shell code in the target", target: "(%90|\\x90){16}|(%u9090){4}" },
];

const FIELDS: Readonly<Record<string, "text" | "number">> = {
  name: "text",
  method: "text",
  target: "text",
  query_longer: "number",
  target_longer: "number",
  header: "text",
  header_matches: "text",
  header_longer: "number",
};

/** Makes rules of what an administrator wrote. @throws {Error} that names what is wrong. */
export function compileRules(given: readonly unknown[]): Rule[] {
  return given.map((value, place) => {
    const where = `option rules: rule ${place + 1}`;
    if (typeof value !== "object" || value === null) throw new Error(`${where} is no rule`);
    for (const [field, content] of Object.entries(value)) {
      const kind = Object.hasOwn(FIELDS, field) ? FIELDS[field] : undefined;
      if (kind === undefined) throw new Error(`${where}: ${field} is not known`);
      const good = kind === "text"
        ? typeof content === "string" && content !== ""
        : Number.isSafeInteger(content) && content >= 0;
      if (!good) throw new Error(`${where}: ${field} is not a ${kind}`);
    }
    const rule = value as RuleText;
    if (rule.name === undefined) throw new Error(`${where} has no name`);
    if (Object.keys(rule).length < 2) throw new Error(`${where} says nothing about a request`);
    return {
      text: rule,
      target: expression(rule.target, where),
      value: expression(rule.header_matches, where),
    };
  });
}

function expression(text: string | undefined, where: string): RegExp | undefined {
  if (text === undefined) return undefined;
  try {
    return new RegExp(text, "is");
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new Error(`${where}: ${error.message}`);
  }
}

/** The first rule that a request breaks. */
export function broken(rules: readonly Rule[], request: Request): Rule | undefined {
  const targets = readings(request.target);
  return rules.find((rule) => breaks(rule, request, targets));
}

function breaks(rule: Rule, request: Request, targets: readonly string[]): boolean {
  const { text } = rule;
  if (text.method !== undefined && text.method.toUpperCase() !== request.method.toUpperCase()) {
    return false;
  }
  if (rule.target !== undefined && !targets.some((t) => (rule.target as RegExp).test(t))) {
    return false;
  }
  const query = request.target.indexOf("?");
  const queryLength = query === -1 ? 0 : request.target.length - query - 1;
  if (text.query_longer !== undefined && queryLength <= text.query_longer) return false;
  if (text.target_longer !== undefined && request.target.length <= text.target_longer) return false;
  const { header, header_longer: longer } = text;
  if (header === undefined && rule.value === undefined && longer === undefined) return true;
  return request.headers.some(([name, value]) =>
    (header === undefined || name === header.toLowerCase()) &&
    (rule.value === undefined || rule.value.test(value)) &&
    (longer === undefined || value.length > longer)
  );
}
