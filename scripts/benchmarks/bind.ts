/**
 * bind() with a pinhole, from the agent to nftables and back, on one host with policy, ledger and audit
 * trail; beside it the same single `add element` through libnftables, in the same run.
 *
 * @module
 */
import { DiaperHost } from "../../tests/lab/diaper.ts";
import type { Host } from "../../tests/lab/host.ts";
import { Lab } from "../../tests/lab/lab.ts";
import { loadOnce, type LoadResult, PORT } from "../../tests/lab/bind_load.ts";
import { median, quantile, report } from "./report.ts";

const BINDS = 3000;
const ROUNDS = 7;
const STORMS = 3;

const lab = await Lab.create({
  outside: [{ name: "out", addresses: ["198.51.100.7"] }],
  inside: [{ name: "in", addresses: ["192.0.2.1"] }],
});
try {
  const inside = lab.host("in");
  const diaper = await DiaperHost.up(lab, inside, {
    policy: ["allow bench root tcp 198.51.100.7 * 192.0.2.1 1024-65535"],
    openPorts: [`tcp/${PORT}`],
  });
  const native: number[] = [];
  const held: number[] = [];
  const library: number[] = [];
  const storms: number[] = [];
  const stormed: number[] = [];
  // Code is compiled as it is used; a daemon that has served for a while is what is measured.
  await run(diaper, "latency", BINDS);
  await run(diaper, "storm", 1000);
  for (let i = 0; i < ROUNDS; i++) {
    native.push(...(await run(undefined, "latency", BINDS)).bind_ns);
    library.push(...await libnftables(inside));
    held.push(...(await run(diaper, "latency", BINDS)).bind_ns);
    // A storm is over so soon that chance has a large part in it: several for each of the others.
    for (let k = 0; k < STORMS; k++) {
      const { wall_ns, bind_ns } = await run(diaper, "storm", 1000);
      storms.push(1000 / (wall_ns / 1e9));
      stormed.push(...bind_ns);
    }
  }
  const ms = (ns: number) => ns / 1e6;
  const base = ms(median(library));
  report("bind", "bind() without diaper, median", ms(median(native)), "ms", {
    target: "for comparison",
    met: true,
  });
  report("bind", "bind() with a pinhole, median", ms(median(held)), "ms", {
    baseline: base,
    target: "at most 0.6 ms and 4x one add element through libnftables",
    met: ms(median(held)) <= 0.6 && ms(median(held)) <= 4 * base,
  });
  report("bind", "bind() with a pinhole, p99", ms(quantile(held, 0.99)), "ms", {
    target: "at most 5 ms",
    met: ms(quantile(held, 0.99)) <= 5,
  });
  report("bind", "1,000 processes at once, pinholes a second", median(storms), "1/s", {
    target: "at least 10,000",
    met: median(storms) >= 10_000,
  });
  report("bind", "bind() of 1,000 processes at once, p99", ms(quantile(stormed, 0.99)), "ms", {
    target: "for information",
    met: true,
  });
  await diaper.stop();
} finally {
  await lab.close();
}

function run(
  diaper: DiaperHost | undefined,
  mode: "latency" | "storm",
  count: number,
): Promise<LoadResult> {
  return loadOnce(lab, lab.host("out"), lab.host("in"), diaper, mode, count);
}

/** Times of single `add element` calls through libnftables, nanoseconds. */
async function libnftables(host: Host): Promise<number[]> {
  const program = new URL("libnftables_add.ts", import.meta.url).pathname;
  const out = await host.must(Deno.execPath(), ["run", "-A", program, "2000"]);
  return JSON.parse(out) as number[];
}
