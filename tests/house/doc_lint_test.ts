import assert from "node:assert/strict";

const script = decodeURIComponent(new URL("../../scripts/doc_lint.ts", import.meta.url).pathname);

async function lint(source: string): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "diaper-doc-lint-" });
  try {
    await Deno.writeTextFile(`${directory}/sample.ts`, source);
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--no-config", script, `${directory}/sample.ts`],
      cwd: directory,
    }).output();
    const text = new TextDecoder().decode(stdout);
    assert.equal(code, text === "" ? 0 : 1);
    return text.replaceAll(directory, "");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("documentation: exported things without a comment are found", async () => {
  const source =
    "/** It. */\nexport interface A {\n  b: number;\n}\n\nexport const c: number = 1;\n";
  assert.equal(await lint(source), "/sample.ts:6: missing-jsdoc\n");
});

Deno.test("documentation: a missing return type is found", async () => {
  assert.match(
    await lint("/** It. */\nexport function f() { return Math.sin(1); }\n"),
    /:2: missing/,
  );
});

Deno.test("documentation: a file that does not parse is found", async () => {
  assert.notEqual(await lint("export const = ;\n"), "");
});

Deno.test("documentation: a documented module is clean", async () => {
  assert.equal(await lint("/** It. */\nexport const c: number = 1;\n"), "");
});
