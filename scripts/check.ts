/**
 * Runs every check and test, says which failed or were skipped, and closes with the plain line
 * `N passed, N failed`. Called by scripts/test.
 *
 * @module
 */
import { existsSync } from "node:fs";
import type { TestCase } from "./junit.ts";
import { print } from "./stdout.ts";
import { runTests, type TestResult } from "./test_pool.ts";

/** More failures than this are no chance: they are not tried again. */
const MOST_AGAIN = 3;

/** A check that is a command. It passes when the command succeeds. */
interface Check {
  readonly name: string;
  readonly command: readonly string[];
}

/** All TypeScript below the directories. A room that nobody has moved into yet is not there. */
function sources(directories: readonly string[]): string[] {
  return directories.filter((directory) => existsSync(directory)).flatMap((directory) =>
    [...Deno.readDirSync(directory)].flatMap((entry) => {
      const path = `${directory}/${entry.name}`;
      if (entry.isDirectory) return sources([path]);
      return entry.name.endsWith(".ts") ? [path] : [];
    })
  ).sort();
}

function checks(): Check[] {
  const deno = Deno.execPath();
  return [
    { name: "build, C warnings as errors", command: ["scripts/build"] },
    { name: "format", command: [deno, "fmt", "--quiet", "--check"] },
    { name: "lint", command: [deno, "lint", "--quiet"] },
    {
      name: "types",
      command: [
        deno,
        "check",
        "--quiet",
        ...["main.ts", "lib/admin/page/main.tsx"],
        ...sources(["lib", "drivers", "niapp", "scripts", "tests"]),
      ],
    },
    {
      name: "documentation",
      command: [
        ...[deno, "run", "--quiet", "--allow-all", "scripts/doc_lint.ts"],
        ...sources(["lib", "drivers", "niapp"]),
      ],
    },
  ];
}

async function passes(check: Check): Promise<boolean> {
  const [program = "", ...args] = check.command;
  const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
  print(`${success ? "ok    " : "FAILED"} ${check.name}\n`);
  if (!success) {
    print(stdout);
    print(stderr);
  }
  return success;
}

/**
 * Runs the files of failed tests once more, by themselves: what then passes was disturbed by other work on the machine,
 * is told as unsteady, and is worth mending all the same. What is broken fails again.
 */
async function steadied(first: TestResult): Promise<TestResult> {
  const failed = first.cases.filter((test) => test.outcome === "failed");
  if (failed.length === 0 || failed.length > MOST_AGAIN || first.broken) return first;
  const files = [...new Set(failed.map((test) => test.file))];
  print(`\nOnce more, by themselves: ${files.join(" ")}\n`);
  const second = await runTests(files, 1);
  const passed = (test: TestCase) =>
    second.cases.some((again) =>
      again.file === test.file && again.name === test.name && again.outcome === "passed"
    );
  const cases = first.cases.map((test) => {
    if (test.outcome !== "failed" || !passed(test)) return test;
    print(`unsteady ${test.file}: ${test.name}\n`);
    return { ...test, outcome: "passed" as const };
  });
  return { cases, broken: second.broken };
}

const paths = Deno.args;
const failed: string[] = [];
let passed = 0;
async function runCheck(check: Check): Promise<void> {
  if (await passes(check)) passed++;
  else failed.push(check.name);
}

const [build, ...rest] = checks() as [Check, ...Check[]];
// The tests need what it makes; the other checks go on beside them.
await runCheck(build);
const [firstRun] = await Promise.all([
  runTests(paths.length === 0 ? ["tests"] : paths),
  (async () => {
    if (paths.length > 0) return;
    for (const check of rest) await runCheck(check);
  })(),
]);
const { cases, broken } = await steadied(firstRun);
const skipped = cases.filter((test) => test.outcome === "skipped");
passed += cases.filter((test) => test.outcome === "passed").length;
for (const test of cases) {
  if (test.outcome === "failed") failed.push(`${test.file}: ${test.name}`);
}
if (broken) failed.push("deno test (see above: a test file did not load, or the run was ended)");

print("\n");
for (const test of skipped) print(`skipped ${test.file}: ${test.name}\n`);
for (const name of failed) print(`FAILED ${name}\n`);
print(
  `${passed} passed, ${failed.length} failed` +
    (skipped.length === 0 ? "\n" : `, ${skipped.length} skipped\n`),
);
Deno.exit(failed.length === 0 ? 0 : 1);
