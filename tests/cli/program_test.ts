import assert from "node:assert/strict";
import { CliError, EXIT } from "../../lib/cli/exit.ts";

const program = new URL("../../lib/cli/program.ts", import.meta.url).href;
const root = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/** Runs a table of verbs in a process of its own and gives what it printed and how it ended. */
async function run(verbs: string, ...args: string[]): Promise<[number, string, string]> {
  const code = `
    import { runProgram } from ${JSON.stringify(program)};
    import { CliError, EXIT } from ${JSON.stringify(new URL("exit.ts", program).href)};
    import { printLine } from ${JSON.stringify(new URL("output.ts", program).href)};
    Deno.exit(await runProgram([${verbs}], Deno.args));`;
  const output = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--quiet",
      "--config",
      `${root}deno.json`,
      `data:text/typescript,${encodeURIComponent(code)}`,
      ...args,
    ],
    cwd: root,
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  return [output.code, decoder.decode(output.stdout), decoder.decode(output.stderr)];
}

function verb(name: string, action: string): string {
  return `{ name: ${JSON.stringify(name)}, summary: "does ${name}",
    load: async () => ({ register: (p) => { p.command(${
    JSON.stringify(name)
  }).action(${action}); } }) }`;
}

const BROKEN =
  `{ name: "broken", summary: "cannot load", load: () => Promise.reject(new Error("no library")) }`;

Deno.test("program: only the verb that was asked for is loaded", async () => {
  const verbs = `${BROKEN}, ${verb("good", '() => printLine("done")')}`;
  assert.deepEqual(await run(verbs, "good"), [0, "done\n", ""]);
  const [code, help] = await run(verbs, "--help");
  assert.equal(code, 0);
  assert.match(help, /broken +cannot load/);
  assert.match(help, /good +does good/);
  const [failed, stdout, stderr] = await run(verbs, "broken");
  assert.deepEqual([failed, stdout], [EXIT.FAILED, ""]);
  assert.match(stderr, /^diaper: no library\n {2}next: /);
});

Deno.test("program: without arguments it is status", async () => {
  assert.deepEqual(await run(verb("status", '() => printLine("fine")')), [0, "fine\n", ""]);
});

Deno.test("program: errors become exit codes, messages and advice", async () => {
  const fail = (code: string) =>
    `() => { throw new CliError(${code}, "bad \\x1b[1m", "mend it"); }`;
  for (const name of ["INVALID", "UNREACHABLE", "NOT_PERMITTED"] as const) {
    assert.deepEqual(await run(verb("v", fail(`EXIT.${name}`)), "v"), [
      EXIT[name],
      "",
      "diaper: bad \\x1b[1m\n  next: mend it\n",
    ]);
  }
  const [denied] = await run(
    verb("v", "() => { throw new Deno.errors.PermissionDenied('no'); }"),
    "v",
  );
  assert.equal(denied, EXIT.NOT_PERMITTED);
  const silent = verb("v", "() => { Deno.exitCode = 5; }");
  assert.deepEqual(await run(silent, "v"), [5, "", ""]);
});

Deno.test("program: wrong usage is exit code 2 and says what is possible", async () => {
  const verbs = verb("status", "() => {}");
  const cases: [string[], RegExp][] = [
    [["statsu"], /unknown command 'statsu' \(Did you mean status\?\)\n {2}next: diaper --help/],
    [["status", "--jso"], /unknown option '--jso'\n {2}next: diaper status --help/],
    [["status", "surplus"], /too many arguments.*\n {2}next: diaper status --help/],
    [["--bogus"], /unknown option '--bogus'/],
  ];
  for (const [args, expected] of cases) {
    const [code, stdout, stderr] = await run(verbs, ...args);
    assert.equal(code, 2, args.join(" "));
    assert.equal(stdout, "");
    assert.match(stderr, expected);
  }
});

Deno.test("program: a CliError keeps its cause", () => {
  const cause = new Error("why");
  assert.equal(new CliError(EXIT.FAILED, "what", undefined, { cause }).cause, cause);
});
