import assert from "node:assert/strict";
import { RunningTool, runTool, runToolSync, ToolMissing } from "../../lib/sys/tool.ts";

Deno.test("tool: input, output, messages and exit code", async () => {
  const result = await runTool("sh", ["-c", 'cat; echo " oh " >&2; exit 3'], "a\nb\n");
  assert.deepEqual(result, { code: 3, stdout: "a\nb\n", stderr: "oh" });
  assert.deepEqual(runToolSync("sh", ["-c", "echo x; exit 1"]), {
    code: 1,
    stdout: "x\n",
    stderr: "",
  });
});

Deno.test("tool: one that takes too long is ended, and its result is unknown", async () => {
  const result = await runTool("sh", ["-c", "echo begun; exec sleep 600"], "", 0.3);
  assert.deepEqual(result, { code: undefined, stdout: "begun\n", stderr: "" });
});

Deno.test("tool: one that does not read its input is no error, and much output is all there", async () => {
  const large = "x".repeat(4_000_000);
  assert.equal((await runTool("true", [], large)).code, 0);
  assert.equal((await runTool("cat", [], large)).stdout.length, large.length);
});

Deno.test("tool: it gets nothing of this process' environment", async () => {
  Deno.env.set("DIAPER_TOOL_TEST", "secret");
  try {
    const { stdout } = await runTool("env", []);
    assert.ok(!stdout.includes("secret"), stdout);
    assert.match(stdout, /^LC_ALL=C$/m);
  } finally {
    Deno.env.delete("DIAPER_TOOL_TEST");
  }
});

Deno.test("tool: one that is not installed is told by name", async () => {
  assert.throws(() => new RunningTool("diaper-no-such-tool", [], 1), ToolMissing);
  assert.throws(
    () => runToolSync("diaper-no-such-tool", []),
    /diaper-no-such-tool is not installed/,
  );
  await assert.rejects(async () => await runTool("diaper-no-such-tool", []), ToolMissing);
});
