/**
 * Runs one case of the matrix: without the agent, with one client, with twenty at once; and says what
 * came through the perimeter and what did not.
 *
 * @module
 */
import type { MatrixCase } from "./case.ts";
import { CaseRun, type NeighbourResult, type Phase } from "./case_run.ts";
import type { Field } from "./field.ts";

/** A case's result. */
export interface CaseResult {
  /** The case's name. */
  readonly name: string;
  /** Everything was as it must be. */
  readonly ok: boolean;
  /** Without the agent the perimeter stopped the session; undefined where it would not. */
  readonly denied: boolean | undefined;
  /** One client. */
  readonly one: Phase | undefined;
  /** Twenty at once. */
  readonly many: Phase | undefined;
  /** The neighbour's attempts over both. */
  readonly neighbour: NeighbourResult;
  /** Everything that is not as it must be, in words. */
  readonly problems: readonly string[];
}

/** Milliseconds after which a session with neither agent nor perimeter has failed for good. */
const BROKEN_AFTER = 10_000;

/**
 * Runs a case.
 *
 * @param clients hosts in the second phase
 */
export async function runCase(
  field: Field,
  matrixCase: MatrixCase,
  clients: number,
): Promise<CaseResult> {
  if (matrixCase.broken !== undefined) return await proveBroken(field, matrixCase);
  await field.begin(matrixCase.name);
  const play = await matrixCase.prepare(field);
  const run = new CaseRun(field, matrixCase, play);
  const problems: string[] = [];
  let denied: boolean | undefined;
  let one: Phase | undefined;
  let many: Phase | undefined;
  try {
    await run.start();
    denied = await run.withoutAgent();
    if (denied === false) problems.push("without the agent the session got through all the same");
    await run.listen(clients);
    one = await run.phase(1);
    many = await run.phase(clients);
    problems.push(...one.problems, ...many.problems, ...await run.end());
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error));
  }
  const neighbour = await run.neighbourResult();
  if (neighbour.passed > 0) {
    problems.push(`${neighbour.passed} packets of the neighbour got through`);
  }
  const opened = (one?.opened ?? 0) + (many?.opened ?? 0);
  if (opened > 0 && neighbour.tried === 0) {
    problems.push("the neighbour could not try a pinhole while it was open");
  }
  return {
    name: matrixCase.name,
    ok: problems.length === 0,
    denied,
    one,
    many,
    neighbour,
    problems,
  };
}

async function proveBroken(field: Field, matrixCase: MatrixCase): Promise<CaseResult> {
  const impatient = { ...matrixCase, patience: BROKEN_AFTER };
  const { problems } = await runNatively(field, impatient, 1);
  return {
    name: matrixCase.name,
    ok: problems.length > 0,
    denied: undefined,
    one: undefined,
    many: undefined,
    neighbour: { tried: 0, passed: 0 },
    problems: problems.length > 0 ? [] : ["the program can do it by itself: take the case in"],
  };
}

/**
 * Runs a case's sessions with neither agent nor perimeter: whether the programs by themselves can do it.
 *
 * @returns seconds from the start of the first session to the end of the last, and what failed.
 */
export async function runNatively(
  field: Field,
  matrixCase: MatrixCase,
  clients: number,
): Promise<{ seconds: number; problems: string[] }> {
  await field.begin(matrixCase.name);
  const run = new CaseRun(field, matrixCase, await matrixCase.prepare(field));
  return await run.natively(clients);
}
