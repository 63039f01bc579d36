/**
 * Runs benchmarks several times, one run after the other, and makes a page of every figure of every run.
 *
 * @module
 */
import { cpus, loadavg, release, totalmem } from "node:os";
import type { Figure } from "./benchmarks/report.ts";

/** A page of figures. */
export interface FiguresPage {
  /** The file that is written. */
  readonly file: string;
  readonly title: string;
  /** The script that writes it. */
  readonly script: string;
  /** Names, as scripts/bench takes them. */
  readonly benches: readonly string[];
  /** What is said before the table, as Markdown. */
  readonly words: string;
}

interface Run {
  /** Programs that wanted a processor in the minute before it. */
  readonly load: number;
  readonly figures: readonly Figure[];
}

async function run(benches: readonly string[]): Promise<Run> {
  const load = loadavg()[0] ?? 0;
  const child = new Deno.Command("scripts/bench", {
    args: [...benches, "--json"],
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

function text({ title, script, benches, words }: FiguresPage, runs: readonly Run[]): string {
  const loads = runs.map((r) => r.load.toFixed(1)).join(", ");
  const memory = Math.round(totalmem() / 2 ** 30);
  return `# ${title}

Written by \`deno run --allow-all ${script} ${runs.length}\`, which runs \`scripts/bench ${
    benches.join(" ")
  }\` as often. Each figure is the median of its run unless it says p99, and each ratio is of
one run, against a baseline that took turns with it.

Machine: ${cpus().length} processors (${
    cpus()[0]?.model ?? "unknown"
  }), ${memory} GiB, Linux ${release()},
Deno ${Deno.version.deno}. Load of the machine in the minute before each run, from whatever else it did: ${loads}.

${words}

${table(runs)}
`;
}

/** Writes a page, and says which targets were missed. Ends the process: with 1 when there are any. */
export async function writeFigures(page: FiguresPage): Promise<never> {
  const runs: Run[] = [];
  for (let i = 0; i < Number(Deno.args[0] ?? 3); i++) runs.push(await run(page.benches));
  Deno.writeTextFileSync(page.file, text(page, runs));
  const missed = runs.flatMap((r) => r.figures).filter((figure) => !figure.met);
  const said = missed.map(({ bench, metric, value, unit, target }) =>
    `missed: ${bench}: ${metric}: ${value} ${unit} (target: ${target})\n`
  );
  Deno.stderr.writeSync(new TextEncoder().encode(said.join("")));
  Deno.exit(missed.length === 0 ? 0 : 1);
}
