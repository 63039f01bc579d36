/**
 * Runs test files with `deno test`, several runners side by side: most tests wait for a program, a device or the
 * kernel, and one runner would leave processors idle.
 *
 * @module
 */
import { readJunit, type TestCase } from "./junit.ts";
import { print } from "./stdout.ts";

const REPORTS = "dist/junit";
/** A test that hangs must not hang whoever waits for the result. */
const LIMIT_MINUTES = 40;
/** Files a runner takes at a time: few enough that the runners end together, enough that starting one costs little. */
const FILES_AT_A_TIME = 5;
/** Rooms whose tests take longest, begun first, so that no runner is left alone with one of them at the end. */
const LONGEST_FIRST = ["tests/scenarios", "tests/matrix", "tests/controller", "tests/drivers"];

/** What the runners found: the test cases, and whether every runner did what it should. */
export interface TestResult {
  readonly cases: TestCase[];
  /** A file did not load, or a runner was ended: there may be tests that are not among the cases. */
  readonly broken: boolean;
}

/** The test files at or below the paths. */
function testFiles(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    if (Deno.statSync(path).isFile) return [path];
    return [...Deno.readDirSync(path)].flatMap((entry) =>
      entry.isDirectory
        ? testFiles([`${path}/${entry.name}`])
        : entry.name.endsWith("_test.ts")
        ? [`${path}/${entry.name}`]
        : []
    );
  });
}

function rank(file: string): number {
  const at = LONGEST_FIRST.findIndex((room) => file.startsWith(`${room}/`));
  return at < 0 ? LONGEST_FIRST.length : at;
}

/** Files in the order in which the runners take them, in portions. */
function portions(files: readonly string[]): string[][] {
  const ordered = [...files].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  return Array.from(
    { length: Math.ceil(ordered.length / FILES_AT_A_TIME) },
    (_, index) => ordered.slice(index * FILES_AT_A_TIME, (index + 1) * FILES_AT_A_TIME),
  );
}

/** Runs one portion; its output is shown whole when it ends, so that runners do not speak into each other's lines. */
async function runPortion(
  files: readonly string[],
  report: string,
  signal: AbortSignal,
): Promise<TestResult> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "--allow-all", "--no-check", `--junit-path=${report}`, ...files],
    stdout: "piped",
    stderr: "piped",
    signal,
  }).output();
  print(stdout);
  print(stderr);
  try {
    const cases = readJunit(Deno.readTextFileSync(report));
    // A test file that does not load fails the run without being a test case.
    return { cases, broken: !success && !cases.some((test) => test.outcome === "failed") };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { cases: [], broken: true };
  }
}

/**
 * Runs the test files at or below the paths.
 *
 * @param runners how many at a time; one for a run that nothing may disturb
 */
export async function runTests(
  paths: readonly string[],
  // One more than there are processors: most tests wait for something else most of the time.
  runners: number = navigator.hardwareConcurrency + 1,
): Promise<TestResult> {
  await Deno.remove(REPORTS, { recursive: true }).catch((error: unknown) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  await Deno.mkdir(REPORTS, { recursive: true });
  const limit = AbortSignal.timeout(LIMIT_MINUTES * 60_000);
  const waiting = portions(testFiles(paths)).entries();
  const results: TestResult[] = [];
  await Promise.all(Array.from({ length: runners }, async () => {
    // The runners share one iterator: each takes the next portion when it is done with the last.
    for (const [index, files] of waiting) {
      results.push(await runPortion(files, `${REPORTS}/${index}.xml`, limit));
    }
  }));
  if (limit.aborted) print(`The tests were ended after ${LIMIT_MINUTES} minutes\n`);
  return {
    cases: results.flatMap((result) => result.cases),
    broken: results.some((result) => result.broken),
  };
}
