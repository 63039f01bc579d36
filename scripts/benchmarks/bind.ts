/**
 * bind() with a pinhole, from the agent to nftables and back, on one host with policy, ledger and audit
 * trail; beside it the same single `add element` through libnftables, in the same run.
 *
 * @module
 */
import { DiaperHost } from "../../tests/lab/diaper.ts";
import type { Host } from "../../tests/lab/host.ts";
import { Lab } from "../../tests/lab/lab.ts";
import { median, quantile, report } from "./report.ts";

const PORT = 2121;
const BINDS = 3000;
const ROUNDS = 7;

/** What bind_load prints. */
interface LoadResult {
  readonly wall_ns: number;
  readonly bind_ns: readonly number[];
}

const lab = await Lab.create({
  outside: [{ name: "out", addresses: ["198.51.100.7"] }],
  inside: [{ name: "in", addresses: ["192.0.2.1"] }],
});
try {
  const outside = lab.host("out");
  const inside = lab.host("in");
  const load = lab.path("bind_load");
  const source = new URL("bind_load.c", import.meta.url).pathname;
  await inside.must("cc", ["-O2", "-o", load, source]);
  const diaper = await DiaperHost.up(lab, inside, {
    policy: ["allow bench root tcp 198.51.100.7 * 192.0.2.1 1024-65535"],
    openPorts: [`tcp/${PORT}`],
  });
  const native: number[] = [];
  const held: number[] = [];
  const library: number[] = [];
  const storms: number[] = [];
  // Code is compiled as it is used; a daemon that has served for a while is what is measured.
  await run(outside, inside, load, diaper, "latency", BINDS);
  await run(outside, inside, load, diaper, "storm", 1000);
  for (let i = 0; i < ROUNDS; i++) {
    native.push(...(await run(outside, inside, load, undefined, "latency", BINDS)).bind_ns);
    library.push(...await libnftables(inside));
    held.push(...(await run(outside, inside, load, diaper, "latency", BINDS)).bind_ns);
    storms.push(1000 / ((await run(outside, inside, load, diaper, "storm", 1000)).wall_ns / 1e9));
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
  await diaper.stop();
} finally {
  await lab.close();
}

async function run(
  outside: Host,
  inside: Host,
  load: string,
  diaper: DiaperHost | undefined,
  mode: string,
  count: number,
): Promise<LoadResult> {
  const args = [inside.address(4), String(PORT), mode, String(count)];
  const server = diaper === undefined ? inside.spawn(load, args) : diaper.run("bench", load, args);
  await server.waitForLine(/^ready$/);
  await outside.tryConnect(inside.address(4), PORT);
  const line = (await server.waitForLine(/^\{.*\}$/, 60_000))[0];
  await server.stop("SIGKILL");
  return JSON.parse(line) as LoadResult;
}

/** Times of single `add element` calls through libnftables, nanoseconds. */
async function libnftables(host: Host): Promise<number[]> {
  const program = new URL("libnftables_add.ts", import.meta.url).pathname;
  const out = await host.must(Deno.execPath(), ["run", "-A", program, "2000"]);
  return JSON.parse(out) as number[];
}
