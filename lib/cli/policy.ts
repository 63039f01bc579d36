/**
 * `diaper policy check`, `explain` and `test`.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { type Endpoint, parseEndpoint } from "../pinhole/endpoint.ts";
import type { Protocol } from "../pinhole/pinhole.ts";
import {
  checkPolicy,
  compilePolicy,
  durationText,
  parseCases,
  type PolicyExplanation,
  type PolicyProblem,
  readMoment,
  ruleName,
  type RuleVerdict,
  runCase,
} from "../pinhole/policy.ts";
import { CliError, EXIT } from "./exit.ts";
import { printJson, printLine, style, visible } from "./output.ts";
import {
  plural,
  readLimited,
  readPolicy,
  readValidPolicy,
  refuseErrors,
  showProblems,
} from "./policy_files.ts";

interface ExplainOptions {
  readonly delegate: string;
  readonly user: string;
  readonly proto: Protocol;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly at?: number;
  readonly open: number;
  readonly rate: number;
  readonly all?: boolean;
  readonly json?: boolean;
}

/** Adds the verb. */
export function register(parent: Command): void {
  const policy = parent.command("policy")
    .description("Check a policy, say why a request is allowed or not, run a policy's own tests.");
  policy.command("check")
    .description("Read policies and show every error and warning as FILE:LINE:COLUMN.")
    .argument("<file...>", "policy files")
    .option("--strict", "warnings are errors")
    .option("--json", "print one JSON object")
    .action(check);
  policy.command("explain")
    .description("Say whether a policy permits a pinhole, and what each rule says to it.")
    .argument("<file>", "policy file")
    .requiredOption("--delegate <name>", "the delegate in whose name is asked")
    .requiredOption("--user <name>", "the end user")
    .addOption(
      new Option("--proto <protocol>", "the protocol").choices(["tcp", "udp"])
        .makeOptionMandatory(),
    )
    .requiredOption("--source <ip[:port]>", "the external host; without port: any", endpoint)
    .requiredOption("--destination <ip:port>", "the internal host and port", destination)
    .option("--at <time>", "when, RFC 3339 (default: now)", moment)
    .option("--open <n>", "pinholes that the user has open", count, 0)
    .option("--rate <n>", "requests of the user in the last minute", count, 0)
    .option("--all", "show all rules, not only those that match or nearly do")
    .option("--json", "print one JSON object")
    .action(explain);
  policy.command("test")
    .description("Run the test cases that are kept beside a policy.")
    .argument("<file>", "policy file")
    .argument("[cases]", "file of cases (default: FILE.test)")
    .option("--json", "print one JSON object")
    .action(test);
}

async function check(
  files: readonly string[],
  options: { readonly strict?: boolean; readonly json?: boolean },
): Promise<void> {
  const reports = [];
  let invalid = false;
  for (const file of files) {
    const { rules, problems } = await readPolicy(file);
    const broken = problems.some((p) => p.severity === "error");
    // With rules missing, what the others leave over cannot be told.
    const all = broken ? problems : [...problems, ...checkPolicy(rules, Date.now())]
      .sort((a, b) => a.line - b.line);
    const bad = broken || (options.strict === true && all.length > 0);
    invalid ||= bad;
    reports.push({ file, ok: !bad, rules: rules.length, problems: all.map(problemJson) });
    if (options.json === true) continue;
    showProblems(all);
    if (!broken) printLine(`${file}: ${plural(rules.length, "rule")}, ${problemCount(all)}`);
  }
  if (options.json === true) printJson({ ok: !invalid, files: reports });
  if (!invalid) return;
  const bad = reports.filter((r) => !r.ok);
  const total = bad.reduce((sum, r) => sum + r.problems.length, 0);
  throw new CliError(
    EXIT.INVALID,
    `${bad.map((r) => r.file).join(", ")}: ${plural(total, "problem")}`,
    "mend the places above and check again; the language is in diaper-policy(5)",
  );
}

async function explain(file: string, options: ExplainOptions): Promise<void> {
  const { rules } = await readValidPolicy(file);
  const explanation = compilePolicy(rules).explain({
    delegate: options.delegate,
    user: options.user,
    protocol: options.proto,
    source: options.source.address,
    sourcePort: options.source.port,
    destination: options.destination.address,
    destinationPort: options.destination.port,
    at: options.at ?? Date.now(),
  }, { openPinholes: () => options.open, recentRequests: () => options.rate });
  if (options.json === true) printJson(explanationJson(explanation));
  else printExplanation(explanation, options.all === true);
  if (!explanation.permitted) Deno.exitCode = EXIT.NOT_PERMITTED;
}

async function test(
  file: string,
  cases: string | undefined,
  options: { readonly json?: boolean },
): Promise<void> {
  const casesFile = cases ?? `${file}.test`;
  const policy = compilePolicy((await readValidPolicy(file)).rules);
  const parsed = parseCases(await readLimited(casesFile), casesFile);
  refuseErrors(casesFile, parsed.problems);
  if (parsed.cases.length === 0) {
    const next = "write for example: permit ftp alice tcp 192.0.2.1 198.51.100.7:50000";
    throw new CliError(EXIT.INVALID, `${casesFile} has no cases`, next);
  }
  const now = Date.now();
  const results = parsed.cases.map((test) => ({ test, result: runCase(policy, test, now) }));
  const failures = results.filter(({ result }) => !result.passed);
  const passed = results.length - failures.length;
  if (options.json === true) {
    const list = failures.map(({ test, result }) => ({
      file: test.file,
      line: test.line,
      text: test.text,
      message: result.message,
    }));
    printJson({ ok: failures.length === 0, passed, failed: failures.length, failures: list });
  } else {
    for (const { test, result } of failures) {
      printLine(style("red", visible(`${test.file}:${test.line}: ${result.message}`)));
      printLine(`  ${visible(test.text)}`);
    }
    printLine(`${casesFile}: ${passed} passed, ${failures.length} failed`);
  }
  if (failures.length > 0) Deno.exitCode = EXIT.FAILED;
}

function printExplanation(explanation: PolicyExplanation, all: boolean): void {
  const { permitted, why, ttlSeconds, idleSeconds } = explanation;
  printLine(style(permitted ? "green" : "red", permitted ? "permitted" : "not permitted"));
  printLine(`  ${visible(why)}`);
  if (ttlSeconds !== undefined) printLine(`  for at most ${durationText(ttlSeconds)}`);
  if (idleSeconds !== undefined) printLine(`  until idle for ${durationText(idleSeconds)}`);
  const fewest = Math.min(...explanation.rules.map((v) => v.matched ? Infinity : v.missed.length));
  const shown = explanation.rules.filter((v) =>
    all || v.matched || v.missed.length <= Math.min(fewest, 2)
  ).slice(0, all ? undefined : 20);
  for (const verdict of shown) printLine(verdictLine(verdict));
  const hidden = explanation.rules.length - shown.length;
  if (hidden > 0) printLine(`  ${plural(hidden, "further rule")} (--all shows them)`);
}

function verdictLine({ rule, matched, missed }: RuleVerdict): string {
  const verdict = matched ? "matches" : `no match: ${missed.join(", ")}`;
  return `  ${visible(ruleName(rule))}: ${verdict}\n    ${visible(rule.text)}`;
}

function explanationJson(e: PolicyExplanation): Record<string, unknown> {
  return {
    permitted: e.permitted,
    why: e.why,
    ...(e.ttlSeconds === undefined ? {} : { ttl: e.ttlSeconds }),
    ...(e.idleSeconds === undefined ? {} : { idle: e.idleSeconds }),
    rules: e.rules.map(({ rule, matched, missed }) => ({
      line: rule.line,
      effect: rule.effect,
      matched,
      text: rule.text,
      ...(matched ? {} : { missed }),
      ...(rule.keys.id === undefined ? {} : { id: rule.keys.id }),
    })),
  };
}

function problemJson(p: PolicyProblem): Record<string, unknown> {
  return { line: p.line, column: p.column, severity: p.severity, message: p.message };
}

function problemCount(problems: readonly PolicyProblem[]): string {
  return problems.length === 0 ? "no problems" : plural(problems.length, "warning");
}

function endpoint(text: string): Endpoint {
  const found = parseEndpoint(text);
  if (found !== undefined) return found;
  throw new InvalidArgumentError(
    "Write ADDRESS or ADDRESS:PORT, IPv6 with port as [ADDRESS]:PORT.",
  );
}

function destination(text: string): Endpoint {
  const found = endpoint(text);
  if (found.port !== 0) return found;
  throw new InvalidArgumentError("The port is missing: write ADDRESS:PORT or [ADDRESS]:PORT.");
}

function moment(text: string): number {
  try {
    return readMoment(text);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}

function count(text: string): number {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Give a number, 0 or more.");
}
