import assert from "node:assert/strict";
import { readJunit } from "../../scripts/junit.ts";

Deno.test("junit: outcomes and names are read as deno test wrote them", async () => {
  const directory = await Deno.makeTempDir({ prefix: "diaper-junit-" });
  try {
    await Deno.writeTextFile(
      `${directory}/sample_test.ts`,
      `Deno.test("steps", async (t) => { await t.step("inner", () => {}); });
       Deno.test({ name: 'not "run" <here> & now', ignore: true, fn() {} });
       Deno.test("bad", () => { throw new Error("</testcase> in a message"); });`,
    );
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "--no-config", "--no-lock", `--junit-path=${directory}/report.xml`, directory],
      cwd: directory,
    }).output();
    assert.equal(code, 1);
    const cases = readJunit(await Deno.readTextFile(`${directory}/report.xml`));
    const outcomes = Object.fromEntries(cases.map((c) => [c.name, c.outcome]));
    assert.deepEqual(outcomes, {
      "steps": "passed",
      "steps > inner": "passed",
      'not "run" <here> & now': "skipped",
      "bad": "failed",
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
