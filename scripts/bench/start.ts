/**
 * How long dist/diaper takes to start, against a plain `deno run` of the bundle in the same run.
 * Prints one JSON object a line: the median and the 99th percentile.
 *
 * @module
 */
import { Buffer } from "node:buffer";

const ROUNDS = Number(Deno.args[0] ?? 60);
const TARGET = 2;
const root = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const subject = [`${root}dist/diaper`, "version"];
const baseline = [Deno.execPath(), "run", "--allow-all", `${root}dist/diaper.js`, "version"];

/** Milliseconds from before the start until after the end of a program. */
async function time(command: readonly string[]): Promise<number> {
  const [program = "", ...args] = command;
  const begin = performance.now();
  const { success } = await new Deno.Command(program, { args, stdout: "null", stderr: "inherit" })
    .spawn().status;
  if (!success) throw new Error(`Failed: ${command.join(" ")}; run scripts/build first`);
  return performance.now() - begin;
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? NaN;
}

const times: { subject: number[]; baseline: number[] } = { subject: [], baseline: [] };
await time(subject); // unpacks
await time(baseline); // fills Deno's own cache
for (let i = 0; i < ROUNDS; i++) {
  times.baseline.push(await time(baseline));
  times.subject.push(await time(subject));
}
times.baseline.sort((a, b) => a - b);
times.subject.sort((a, b) => a - b);
const round = (value: number) => Math.round(value * 100) / 100;
for (const [metric, q] of [["median", 0.5], ["p99", 0.99]] as const) {
  const value = quantile(times.subject, q);
  const plain = quantile(times.baseline, q);
  const line = {
    bench: "start",
    metric,
    value: round(value),
    unit: "ms",
    baseline: round(plain),
    ratio: round(value / plain),
    target: TARGET,
    met: value / plain < TARGET,
  };
  Deno.stdout.writeSync(Buffer.from(JSON.stringify(line) + "\n"));
}
