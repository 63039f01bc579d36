/** Local authentication by the setuid wrapper: the way that works, and the attacks on it. */
import assert from "node:assert/strict";
import { runInside } from "./namespace.ts";

const MODULES = {
  "install.ts": "diaper wrap installs, lists and removes",
  "lftp.ts": "lftp, active, wrapped: end to end",
  "server.ts": "servers of root that drop their rights",
  "attacks.ts": "attacks on local authentication are refused and reported",
};

for (const [module, title] of Object.entries(MODULES)) {
  Deno.test({
    name: `wrap: ${title} (needs root)`,
    ignore: Deno.uid() !== 0,
    async fn(t) {
      const results = Object.entries(await runInside(module));
      assert.ok(results.length > 0);
      for (const [name, result] of results) {
        await t.step(name, () => assert.equal(result, "ok"));
      }
    },
  });
}

Deno.test("wrap: docs/evaluation/attacks.md names tests that there are", () => {
  const file = (path: string) => Deno.readTextFileSync(new URL(path, import.meta.url));
  const tests = ["attacks.ts", "lftp.ts"].map(file).join("");
  const rows = file("../../docs/evaluation/attacks.md").split("\n").filter((l) =>
    /^\| [^-a]|^\| a /.test(l)
  );
  assert.ok(rows.length > 20);
  for (const row of rows) {
    const name = row.split("|").at(-2)?.trim() ?? "";
    assert.ok(tests.includes(`async "${name}"()`), name);
  }
});
