/**
 * bind() with a pinhole under `diaper run --trace seccomp`, beside the preloaded agent and no diaper at all,
 * in the same run: what the supervisor adds.
 *
 * @module
 */
import { loadOnce, type LoadResult, PORT } from "../../tests/lab/bind_load.ts";
import { DiaperHost } from "../../tests/lab/diaper.ts";
import { Lab } from "../../tests/lab/lab.ts";
import { median, quantile, report } from "./report.ts";

const BINDS = 3000;
const ROUNDS = 5;
const TRACE = ["--trace", "seccomp"];

const lab = await Lab.create({
  outside: [{ name: "out", addresses: ["198.51.100.7"] }],
  inside: [{ name: "in", addresses: ["192.0.2.1"] }],
});
try {
  const diaper = await DiaperHost.up(lab, lab.host("in"), {
    policy: ["allow bench root tcp 198.51.100.7 * 192.0.2.1 1024-65535"],
    openPorts: [`tcp/${PORT}`],
  });
  const native: number[] = [];
  const preloaded: number[] = [];
  const traced: number[] = [];
  const storms: number[] = [];
  // Code is compiled as it is used; a daemon that has served for a while is what is measured.
  for (const options of [[], TRACE]) await run(diaper, "latency", BINDS, options);
  for (let i = 0; i < ROUNDS; i++) {
    native.push(...(await run(undefined, "latency", BINDS)).bind_ns);
    preloaded.push(...(await run(diaper, "latency", BINDS)).bind_ns);
    traced.push(...(await run(diaper, "latency", BINDS, TRACE)).bind_ns);
    storms.push(1000 / ((await run(diaper, "storm", 1000, TRACE)).wall_ns / 1e9));
  }
  const ms = (ns: number) => ns / 1e6;
  const base = ms(median(preloaded));
  report("trace", "bind() without diaper, median", ms(median(native)), "ms", {
    target: "for comparison",
    met: true,
  });
  report("trace", "bind() with a pinhole, supervised, median", ms(median(traced)), "ms", {
    baseline: base,
    target:
      "at most 3x the preloaded agent: two changes of process more, and a look at the sockets",
    met: ms(median(traced)) <= 3 * base,
  });
  report("trace", "bind() with a pinhole, supervised, p99", ms(quantile(traced, 0.99)), "ms", {
    target: "at most 5 ms",
    met: ms(quantile(traced, 0.99)) <= 5,
  });
  report("trace", "1,000 supervised processes at once, pinholes a second", median(storms), "1/s", {
    target: "at least 1,000: one supervisor makes the calls of all, one after the other",
    met: median(storms) >= 1_000,
  });
  await diaper.stop();
} finally {
  await lab.close();
}

function run(
  diaper: DiaperHost | undefined,
  mode: "latency" | "storm",
  count: number,
  options: readonly string[] = [],
): Promise<LoadResult> {
  return loadOnce(lab, lab.host("out"), lab.host("in"), diaper, mode, count, options);
}
