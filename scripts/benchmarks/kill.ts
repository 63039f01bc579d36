/**
 * kill -9 in the middle of a transfer: how long a pinhole outlives the last process that had its socket.
 *
 * Of each program the process that asked for the pinhole, and all processes at once. Time is from the signal to
 * the enforcer's word that the entry is gone. Then the kernel's own list must be empty. With --write the table
 * goes to docs/evaluation/kill.md.
 *
 * @module
 */
import { CASES } from "../../tests/matrix/cases.ts";
import type { MatrixCase } from "../../tests/matrix/case.ts";
import { CaseRun } from "../../tests/matrix/case_run.ts";
import { Field } from "../../tests/matrix/field.ts";
import { KILLED, type Killed, killOnce, type Victim } from "../../tests/matrix/kill.ts";
import { machine } from "../matrix_table.ts";
import { median, report } from "./report.ts";

const ROUNDS = 3;
// Run by itself, it takes names of cases.
const wanted = Deno.args.filter((word) => !word.startsWith("-"));

const times: number[] = [];
const rows: { name: string; victim: Victim; found: readonly number[] }[] = [];
let left = 0;
{
  await using field = await Field.create();
  for (const name of KILLED) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const found = CASES.find((c) => c.name === name);
    if (found === undefined) throw new Error(`There is no case ${name}`);
    times.push(...await measure(field, found, "the one that asked"));
    times.push(...await measure(field, found, "all"));
    // A session may go on without the others; only that nothing is left counts then.
    left += (await round(field, found, "the others")).remaining;
    // After each, since a run is long and may be ended.
    if (Deno.args.includes("--write")) Deno.writeTextFileSync("docs/evaluation/kill.md", page());
  }
}
report("kill", `pinhole after kill -9, median of ${times.length}`, median(times), "ms", {
  target: "at most 100 ms",
  met: median(times) <= 100,
});
report("kill", "pinhole after kill -9, worst", Math.max(...times), "ms", {
  target: "at most 1000 ms",
  met: Math.max(...times) <= 1000,
});
report("kill", "pinholes left in the kernel", left, "pinholes", {
  target: "none",
  met: left === 0,
});
async function measure(field: Field, matrixCase: MatrixCase, victim: Victim): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const { closed, remaining } = await round(field, matrixCase, victim);
    found.push(...closed);
    left += remaining;
  }
  rows.push({ name: matrixCase.name, victim, found });
  report("kill", `${matrixCase.name}: ${victim}, median`, median(found), "ms", {
    target: "at most 100 ms",
    met: median(found) <= 100,
  });
  return found;
}

async function round(field: Field, matrixCase: MatrixCase, victim: Victim): Promise<Killed> {
  await field.begin(matrixCase.name);
  const run = new CaseRun(field, matrixCase, await matrixCase.prepare(field));
  await run.close();
  const killed = await killOnce(field, run, victim);
  await run.daemon.stop();
  return killed;
}

function page(): string {
  const lines = rows.map(({ name, victim, found }) =>
    `| ${name} | ${victim} | ${median(found)} | ${Math.max(...found)} |`
  );
  return `# kill -9 in the middle of a transfer

Written by \`scripts/bench kill --write\` on ${machine()}.

Milliseconds from the signal until the enforcer has confirmed that the pinhole is gone; ${ROUNDS} times each. Of all
${times.length}: median **${median(times)} ms**, worst **${
    Math.max(...times)
  } ms** (to be: 100 ms and 1 s). Pinholes left in the
kernel, also after every process but the one that asked was killed: **${left}**.

| program | killed | median, ms | worst, ms |
| --- | --- | --- | --- |
${lines.join("\n")}
`;
}
