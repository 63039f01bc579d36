/**
 * Runs `deno doc --lint` and shows what it found, except for two things that would only make noise:
 *
 * - fields and methods without a comment, when their interface or class has one: most names say it all;
 * - types of packages and types computed by `typeof`, which it takes for private ones.
 *
 * @module
 */

/** One thing that the linter found. */
export interface Finding {
  /** The linter's name for it, such as `missing-jsdoc`. */
  readonly kind: string;
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

/** The findings in the linter's output (without colour). */
export function readFindings(output: string): Finding[] {
  return [...output.matchAll(/^error\[([a-z-]+)\].*\n\s*--> (.+):(\d+):\d+$/gm)].map((match) => ({
    kind: match[1] ?? "",
    file: match[2] ?? "",
    line: Number(match[3]),
  }));
}

/** True for findings that count; `text` is the source line that it points to. */
export function counts(finding: Finding, text: string): boolean {
  if (finding.kind === "private-type-ref") return false;
  return finding.kind !== "missing-jsdoc" || text.startsWith("export ");
}

if (import.meta.main) {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--quiet", "--lint", ...Deno.args],
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  const output = decoder.decode(stderr) + decoder.decode(stdout);
  const findings = readFindings(output);
  const bad = findings.filter((finding) => {
    const text = Deno.readTextFileSync(finding.file).split("\n")[finding.line - 1] ?? "";
    return counts(finding, text);
  });
  const report = success || findings.length > 0
    ? bad.map(({ kind, file, line }) => `${file}:${line}: ${kind}\n`).join("")
    : output; // it failed in another way
  await Deno.stdout.write(new TextEncoder().encode(report));
  Deno.exit(report === "" ? 0 : 1);
}
