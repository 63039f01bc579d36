/**
 * Test cases that are kept beside a policy, one a line:
 * `permit|refuse DELEGATE USER tcp|udp SOURCE[:PORT] DESTINATION:PORT [at=T] [open=N] [rate=N] [by=RULE]`.
 *
 * @module
 */
import { type Endpoint, parseEndpoint } from "./endpoint.ts";
import { readProtocol } from "./policy_fields.ts";
import type { Policy } from "./policy_compile.ts";
import { readMoment } from "./policy_keys.ts";
import { ProblemList, readWordLines, type Word, type WordLine } from "./policy_lines.ts";
import { didYouMean, FieldError, type PolicyProblem, quote } from "./policy_problem.ts";
import type { PolicyDecision } from "./policy_question.ts";
import type { Protocol } from "./pinhole.ts";

/** One case: a question, the state, and the decision that is expected. */
export interface PolicyCase {
  /** Name of the file of cases. */
  readonly file: string;
  /** Line in it, from 1. */
  readonly line: number;
  /** The case as written, without comment. */
  readonly text: string;
  /** The decision that is expected. */
  readonly permitted: boolean;
  /** Who asks: the delegate. */
  readonly delegate: string;
  /** Who asks: the end user. */
  readonly user: string;
  /** Protocol of the pinhole. */
  readonly protocol: Protocol;
  /** External host; port 0 is any. */
  readonly source: Endpoint;
  /** Internal host and port. */
  readonly destination: Endpoint;
  /** Milliseconds since the epoch (a time without zone was local); `undefined` is now. */
  readonly at: number | undefined;
  /** Pinholes that the end user has open. */
  readonly open: number;
  /** Requests of the end user in the last minute. */
  readonly rate: number;
  /** Line or id of the rule that must decide. */
  readonly by: string | undefined;
}

/** Cases as read; with problems they are not to be run. */
export interface ParsedCases {
  /** The cases of lines without an error. */
  readonly cases: readonly PolicyCase[];
  /** What is wrong, in the order of the file. */
  readonly problems: readonly PolicyProblem[];
}

/** What became of a case; `message` says what was expected and what came, when it failed. */
export interface CaseResult {
  /** True when the decision was the expected one. */
  readonly passed: boolean;
  /** What the policy decided. */
  readonly decision: PolicyDecision;
  /** Empty for a case that passed. */
  readonly message: string;
}

const FIELDS = ["permit or refuse", "delegate", "user", "protocol", "source", "destination"];
const KEYS = ["at", "open", "rate", "by"];

/** Reads a file of cases. Never throws: everything wrong is a problem. */
export function parseCases(input: string | Uint8Array, file: string): ParsedCases {
  const list = new ProblemList(file);
  const cases: PolicyCase[] = [];
  for (const line of readWordLines(input, list)) {
    if (list.full) break;
    const found = readCase(line, file, list);
    if (found !== undefined) cases.push(found);
  }
  return { cases, problems: list.problems.sort((a, b) => a.line - b.line || a.column - b.column) };
}

/**
 * Puts a case to a policy.
 *
 * @param now the time for cases without `at=`, milliseconds since the epoch.
 */
export function runCase(policy: Policy, test: PolicyCase, now: number): CaseResult {
  const decision = policy.decide({
    delegate: test.delegate,
    user: test.user,
    protocol: test.protocol,
    source: test.source.address,
    sourcePort: test.source.port,
    destination: test.destination.address,
    destinationPort: test.destination.port,
    at: test.at ?? now,
  }, { openPinholes: () => test.open, recentRequests: () => test.rate });
  const { permitted, rule, why } = decision;
  if (permitted !== test.permitted) {
    const expected = test.permitted ? "permit" : "refuse";
    return { passed: false, decision, message: `Expected ${expected}, but it is ${why}` };
  }
  if (test.by !== undefined && test.by !== String(rule?.line) && test.by !== rule?.keys.id) {
    const message = `Expected rule ${quote(test.by)} to decide, but it is ${why}`;
    return { passed: false, decision, message };
  }
  return { passed: true, decision, message: "" };
}

function readCase(line: WordLine, file: string, list: ProblemList): PolicyCase | undefined {
  const { words } = line;
  let failed = false;
  const add = (index: number, message: string) => {
    failed = true;
    list.add(line.number, line.source, index, message);
  };
  const read = <T>(word: Word | undefined, reader: (text: string) => T): T | undefined => {
    if (word === undefined) return undefined;
    try {
      return reader(word.text);
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      add(word.index + error.index, error.message);
      return undefined;
    }
  };
  const firstKey = words.findIndex((w) => w.text.includes("="));
  const count = firstKey === -1 ? words.length : firstKey;
  if (count < FIELDS.length) {
    const missing = FIELDS.slice(count).join(", ");
    const end = (words[0]?.index ?? 0) + line.text.length;
    add(
      words[count]?.index ?? end,
      `A case has 6 fields and this one has ${count}: missing ${missing}`,
    );
  }
  const field = (n: number) => n < count ? words[n] : undefined;
  const permitted = read(words[0], readExpected);
  const delegate = field(1)?.text;
  const user = field(2)?.text;
  const protocol = read(field(3), (text) => {
    const value = readProtocol(text);
    if (value === "*") throw new FieldError("A case asks for one protocol: tcp or udp");
    return value;
  });
  const source = read(field(4), (text) => readEndpoint(text, false));
  const destination = read(field(5), (text) => readEndpoint(text, true));
  const keys = new Map<string, number | string>();
  for (const word of words.slice(Math.min(count, FIELDS.length))) {
    read(word, (text) => readCaseKey(text, keys));
  }
  if (failed || permitted === undefined || delegate === undefined || user === undefined) {
    return undefined;
  }
  if (protocol === undefined || source === undefined || destination === undefined) return undefined;
  const number = (key: string) => {
    const value = keys.get(key);
    return typeof value === "number" ? value : undefined;
  };
  return {
    file,
    line: line.number,
    text: line.text,
    permitted,
    delegate,
    user,
    protocol,
    source,
    destination,
    at: number("at"),
    open: number("open") ?? 0,
    rate: number("rate") ?? 0,
    by: keys.get("by")?.toString(),
  };
}

function readExpected(text: string): boolean {
  if (text === "permit" || text === "refuse") return text === "permit";
  const hint = didYouMean(text, ["permit", "refuse"]);
  throw new FieldError(`Unknown ${quote(text)}: a case begins with permit or refuse${hint}`);
}

function readEndpoint(text: string, needsPort: boolean): Endpoint {
  const endpoint = parseEndpoint(text);
  if (endpoint === undefined) {
    const message = `Bad endpoint ${quote(text)}: write ADDRESS:PORT, or [ADDRESS]:PORT for IPv6`;
    throw new FieldError(message);
  }
  if (needsPort && endpoint.port === 0) {
    throw new FieldError(`A destination port is missing behind ${quote(text)}`);
  }
  return endpoint;
}

function readCaseKey(word: string, keys: Map<string, number | string>): void {
  const equals = word.indexOf("=");
  const key = equals === -1 ? word : word.slice(0, equals);
  const value = word.slice(equals + 1);
  if (equals === -1 || !KEYS.includes(key)) {
    const hint = didYouMean(key, KEYS) || `: known are ${KEYS.join(", ")}`;
    throw new FieldError(`Unknown key ${quote(key)}${hint}`);
  }
  if (keys.has(key)) throw new FieldError(`Key ${quote(key)} is given twice`);
  if (key === "at") {
    try {
      keys.set(key, readMoment(value, true));
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      throw new FieldError(error.message, equals + 1 + error.index);
    }
  } else if (key === "by") {
    if (value === "") throw new FieldError("by= needs the line or the id of a rule");
    keys.set(key, value);
  } else {
    if (!/^[0-9]{1,9}$/.test(value)) {
      throw new FieldError(`Bad ${key} ${quote(value)}: a number of pinholes or requests`);
    }
    keys.set(key, Number(value));
  }
}
