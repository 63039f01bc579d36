/**
 * kill -9 of real programs in the middle of a transfer: their pinholes end, whoever had asked for them. How
 * soon is measured by `scripts/bench kill`.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { labPossible } from "../lab/lab.ts";
import { CaseRun } from "./case_run.ts";
import { CASES } from "./cases.ts";
import { Field } from "./field.ts";
import { KILLED, killOnce, type Victim } from "./kill.ts";

const PART: readonly (readonly [name: string, victim: Victim])[] = [
  ["vsftpd-passive", "the one that asked"],
  ["pyftpdlib-threaded-epoll-tls", "all"],
  ["pureftpd-passive", "the others"],
  ["nuttcp-client-udp", "the one that asked"],
];

const chosen = PART.map(([name, victim]) => {
  const found = CASES.find((c) => c.name === name);
  if (found === undefined) throw new Error(`There is no case ${name}`);
  return { matrixCase: found, victim };
});
const absent = chosen.flatMap(({ matrixCase }) => matrixCase.files).filter((f) => !existsSync(f));

Deno.test({
  name: "matrix: kill -9 of real programs leaves no pinhole (needs root" +
    `${absent.length === 0 ? "" : `; not here: ${absent.join(", ")}`})`,
  ignore: !labPossible || absent.length > 0,
  fn: async (t) => {
    await using field = await Field.create();
    for (const { matrixCase, victim } of chosen) {
      await t.step(`${matrixCase.name}: ${victim}`, async () => {
        await field.begin(matrixCase.name);
        const run = new CaseRun(field, matrixCase, await matrixCase.prepare(field));
        await run.close();
        const { closed, remaining } = await killOnce(field, run, victim);
        assert.equal(closed.length, 1, "it was closed once");
        assert.equal(remaining, 0);
        assert.deepEqual(await run.daemon.pinholes(), []);
        await run.daemon.stop();
      });
    }
  },
});

Deno.test("matrix: the killed programs are cases", () => {
  for (const name of KILLED) assert.ok(CASES.some((c) => c.name === name), name);
});
