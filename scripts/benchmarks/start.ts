/**
 * How long dist/diaper takes to start, against a plain `deno run` of the
 * bundle in the same run.
 *
 * @module
 */
import { median, quantile, report } from "./report.ts";

const ROUNDS = 60;
const root = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const binary = [`${root}dist/diaper`, "version"];
const plain = [Deno.execPath(), "run", "--allow-all", `${root}dist/diaper.js`, "version"];

/** Milliseconds from before the start until after the end of a program. */
async function time(command: readonly string[]): Promise<number> {
  const [program = "", ...args] = command;
  const begin = performance.now();
  const child = new Deno.Command(program, { args, stdout: "null", stderr: "inherit" }).spawn();
  const { success } = await child.status;
  if (!success) throw new Error(`Failed: ${command.join(" ")}; run scripts/build first`);
  return performance.now() - begin;
}

const values: number[] = [];
const baselines: number[] = [];
await time(binary); // the first start unpacks,
await time(plain); // and fills Deno's cache of compiled code
for (let i = 0; i < ROUNDS; i++) {
  baselines.push(await time(plain));
  values.push(await time(binary));
}
for (const [metric, of] of [["median", median], ["p99", p99]] as const) {
  const value = of(values);
  const baseline = of(baselines);
  report("start", metric, value, "ms", {
    baseline,
    target: "under 2x a plain deno run",
    met: value < 2 * baseline,
  });
}

function p99(samples: readonly number[]): number {
  return quantile(samples, 0.99);
}
