import assert from "node:assert/strict";
import { Command, Option } from "commander";
import { complete } from "../../lib/cli/completions.ts";

const root = decodeURIComponent(new URL("../../", import.meta.url).pathname);

function program(): Command {
  const result = new Command("diaper").helpCommand("help [verb]", "show help for a verb");
  result.command("run").description("run a program").argument("<program>").argument("[args...]")
    .option("-d, --delegate <name>", "account").option("--learn", "print rules");
  const policy = result.command("policy").description("policies");
  policy.command("explain").description("say why").argument("<file>")
    .addOption(new Option("--proto <p>", "the protocol").choices(["tcp", "udp"]))
    .addOption(new Option("--json", "print JSON"));
  result.command("secret", { hidden: true });
  return result;
}

function values(...words: string[]): string[] {
  const { candidates, otherwise } = complete(program(), words);
  return [...candidates.map((c) => c.value), ...(otherwise === undefined ? [] : [`:${otherwise}`])];
}

const CASES: [string[], string[]][] = [
  [[""], ["run", "policy", "help"]],
  [["po"], ["policy"]],
  [["help", "po"], ["policy"]],
  [["policy", ""], ["explain", "help"]],
  [["policy", "explain", ""], [":files"]],
  [["policy", "explain", "--"], ["--proto", "--json", "--help"]],
  [["policy", "explain", "--proto", ""], ["tcp", "udp"]],
  [["policy", "explain", "--proto", "u"], ["udp"]],
  [["policy", "explain", "--proto=t"], ["--proto=tcp"]],
  [["policy", "explain", "--proto", "tcp", "f", "--j"], ["--json"]],
  [["policy", "explain", "--json", "--proto", ""], ["tcp", "udp"]],
  [["run", "-d", ""], [":files"]],
  [["run", ""], [":command"]],
  [["run", "--", ""], [":command"]],
  [["run", "--learn", "vs"], [":command"]],
  [["run", "--", "ls", "--"], [":files"]],
  [["run", "ls", "--le"], [":files"]],
  [["nonsense", ""], []],
  [[], ["run", "policy", "help"]],
];

for (const [words, expected] of CASES) {
  Deno.test(`completions: ${JSON.stringify(words)}`, () => {
    assert.deepEqual(values(...words), expected);
  });
}

Deno.test("completions: the bash script works in bash", async () => {
  const script = `
    diaper() { deno run -A "$MAIN" "$@"; }
    source <(diaper completions bash)
    try() {
      COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
      _diaper 2>/dev/null
      echo "\${COMPREPLY[*]}"
    }
    try diaper versi
    try diaper completions ""
    try diaper version --js
    try diaper nonsense ""
  `;
  const { stdout, stderr, success } = await new Deno.Command("bash", {
    args: ["-c", script],
    env: { MAIN: `${root}main.ts` },
    cwd: root,
  }).output();
  const decoder = new TextDecoder();
  assert.ok(success, decoder.decode(stderr));
  assert.deepEqual(decoder.decode(stdout).split("\n"), [
    "version",
    "bash zsh fish",
    "--json",
    "",
    "",
  ]);
});
