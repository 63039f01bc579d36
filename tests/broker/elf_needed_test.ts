import assert from "node:assert/strict";
import fc from "fast-check";
import { ElfError, withNeeded } from "../../lib/broker/elf_needed.ts";

const LIBRARY = "/lib/x86_64-linux-gnu/libutil.so.1";
const PROGRAMS = ["/usr/bin/env", "/bin/ls", "/usr/bin/find"];

async function run(command: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

async function withCopy(library: string, work: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    for (const program of PROGRAMS) {
      await Deno.writeFile(path, withNeeded(await Deno.readFile(program), library));
      await Deno.chmod(path, 0o755);
      await work(path);
    }
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("a program that was made to need a library loads it first, and works", async () => {
  await withCopy(LIBRARY, async (path) => {
    assert.match((await run("ldd", path)).split("\n")[1] ?? "", new RegExp(`^\\s*${LIBRARY} `));
    assert.match(await run(path, "--version"), /GNU/);
  });
});

Deno.test("it does not run without the library", async () => {
  await withCopy("/nowhere/agent.so", async (path) => {
    const { code, stderr } = await new Deno.Command(path, { args: ["--version"] }).output();
    assert.equal(code, 127);
    assert.match(new TextDecoder().decode(stderr), /\/nowhere\/agent.so: cannot open/);
  });
});

Deno.test("what is no program, or a damaged one, is refused and not changed", () => {
  const program = Deno.readFileSync("/usr/bin/env");
  const refused = (bytes: Uint8Array) => assert.throws(() => withNeeded(bytes, LIBRARY), ElfError);
  refused(new Uint8Array());
  refused(new TextEncoder().encode("#!/bin/sh\n" + "x".repeat(100)));
  refused(program.subarray(0, 2000));
  const before = program.slice();
  withNeeded(program, LIBRARY);
  assert.deepEqual(program, before);
  // Whatever is damaged in headers and dynamic section ends in an answer or in that one error.
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(1000), fc.nat(255)), { maxLength: 8 }), (changes) => {
      const bytes = program.slice();
      for (const [at, value] of changes) bytes[at] = value;
      try {
        withNeeded(bytes, LIBRARY);
      } catch (error) {
        assert.ok(error instanceof ElfError, String(error));
      }
    }),
    { numRuns: 300 },
  );
});
