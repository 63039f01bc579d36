/**
 * Runs the benchmarks of one host several times, one run after the other, and writes every figure of every
 * run as a table: docs/evaluation/one-host.md. A quarter of an hour or less; needs root.
 *
 *   deno run --allow-all scripts/one_host.ts [RUNS]
 *
 * @module
 */
import { cpus, loadavg, release, totalmem } from "node:os";
import type { Figure } from "./benchmarks/report.ts";

const FILE = "docs/evaluation/one-host.md";
const BENCHES = ["start", "bind", "scale", "nftables"];

interface Run {
  /** Programs that wanted a processor in the minute before it. */
  readonly load: number;
  readonly figures: readonly Figure[];
}

async function run(): Promise<Run> {
  const load = loadavg()[0] ?? 0;
  const child = new Deno.Command("scripts/bench", {
    args: [...BENCHES, "--json"],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  });
  const { success, stdout } = await child.output();
  if (!success) throw new Error("A benchmark failed; see above");
  const lines = new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
  return { load, figures: lines.map((line) => JSON.parse(line) as Figure) };
}

function cell(figure: Figure | undefined): string {
  if (figure === undefined) return "–";
  const ratio = figure.ratio === null ? "" : ` (${figure.ratio}x of ${figure.baseline})`;
  return `${figure.value} ${figure.unit}${ratio}`.trim();
}

function table(runs: readonly Run[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const rows = (runs[0]?.figures ?? []).map(({ bench, metric, target }) => {
    const all = runs.map((r) => r.figures.find((f) => f.bench === bench && f.metric === metric));
    const met = all.filter((f) => f?.met === true).length;
    return line([
      `${bench}: ${metric}`,
      target,
      ...all.map(cell),
      met === runs.length ? "yes" : `in ${met} of ${runs.length}`,
    ]);
  });
  return [
    line(["figure", "target", ...runs.map((_, i) => `run ${i + 1}`), "met"]),
    line(["---", "---", ...runs.map(() => "---"), "---"]),
    ...rows,
  ].join("\n");
}

function page(runs: readonly Run[]): string {
  const loads = runs.map((r) => r.load.toFixed(1)).join(", ");
  const memory = Math.round(totalmem() / 2 ** 30);
  return `# Speed of one host

Written by \`deno run --allow-all scripts/one_host.ts ${runs.length}\`, which runs \`scripts/bench ${
    BENCHES.join(" ")
  }\` as often. Each figure is the median of its run unless it says p99, and each ratio is of
one run, against a baseline that took turns with it.

Machine: ${cpus().length} processors (${
    cpus()[0]?.model ?? "unknown"
  }), ${memory} GiB, Linux ${release()},
Deno ${Deno.version.deno}. Load of the machine in the minute before each run, from whatever else it did: ${loads}.

The paper has 29 to 31 ms for a \`bind\` with a pinhole, and 10,000 updates a second for
Iptables, fewer from some thousand entries on.

${table(runs)}
`;
}

const runs: Run[] = [];
for (let i = 0; i < Number(Deno.args[0] ?? 3); i++) runs.push(await run());
Deno.writeTextFileSync(FILE, page(runs));
const missed = runs.flatMap((r) => r.figures).filter((figure) => !figure.met);
const said = missed.map(({ bench, metric, value, unit, target }) =>
  `missed: ${bench}: ${metric}: ${value} ${unit} (target: ${target})\n`
);
Deno.stderr.writeSync(new TextEncoder().encode(said.join("")));
Deno.exit(missed.length === 0 ? 0 : 1);
