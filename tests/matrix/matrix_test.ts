/**
 * A part of the matrix of real programs, one case for each kind; scripts/matrix runs all of them.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { labPossible } from "../lab/lab.ts";
import { CASES } from "./cases.ts";
import { runCase } from "./engine.ts";
import { Field, HOSTS } from "./field.ts";

/** Names of cases, and their clients: each client inside is started by a `diaper run` of its own. */
const PART: readonly (readonly [name: string, clients: number])[] = [
  ["vsftpd-passive", HOSTS],
  ["pyftpdlib-multiplexed-epoll-tls", 10],
  ["globus-up-p4", 5],
  ["iperf3-udp", 5],
  ["tftp-hpa-client", 5],
  ["lftp-active-tls", 5],
];

const chosen = PART.map(([name, clients]) => {
  const found = CASES.find((c) => c.name === name);
  if (found === undefined) throw new Error(`There is no case ${name}`);
  return { matrixCase: found, clients };
});
const absent = chosen.flatMap(({ matrixCase }) => matrixCase.files).filter((f) => !existsSync(f));

Deno.test({
  name:
    "matrix: real programs behind a closed perimeter, one client and many at once, every pinhole " +
    `for the right host and none left (needs root${
      absent.length === 0 ? "" : `; not here: ${absent.join(", ")}`
    })`,
  ignore: !labPossible || absent.length > 0,
  fn: async (t) => {
    await using field = await Field.create();
    for (const { matrixCase, clients } of chosen) {
      await t.step(`${matrixCase.name}, ${clients} at once`, async () => {
        const result = await runCase(field, matrixCase, clients);
        assert.deepEqual(result.problems, []);
        assert.ok(result.ok);
      });
    }
  },
});

Deno.test("matrix: names of cases differ and can be typed", () => {
  const names = CASES.map((c) => c.name);
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^[a-z0-9]+(-[a-z0-9]+)*$/);
});
