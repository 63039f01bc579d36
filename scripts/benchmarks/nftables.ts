/**
 * Measures the nftables driver in a network namespace of its own: updates a second, the time of one
 * update, both with a million pinholes open, and counters. The baseline is libnftables, fed the same
 * elements as text in the same run. Needs root.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type { EnforcerChange } from "../../drivers/enforcer.ts";
import { createNftables } from "../../drivers/nftables.ts";
import { type IpAddress, parseIp } from "../../lib/net/ip.ts";
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";
import { Libnftables } from "../../lib/sys/libnftables.ts";
import { median, quantile, report } from "./report.ts";

const BENCH = "nftables";
const TABLE = "diaper_bench";
const MILLION = 1_000_000;
const BATCH = 1000;
const BATCHES = 100;
const SINGLES = 2000;
const LEASE = 3600;

async function main(): Promise<number> {
  if (Deno.args.includes("--inside")) {
    await measure();
    return 0;
  }
  const self = fileURLToPath(import.meta.url);
  const child = new Deno.Command("unshare", {
    args: ["--net", Deno.execPath(), "run", "-A", self, "--inside", ...Deno.args],
    stdin: "null",
  }).spawn();
  return (await child.status).code;
}

async function measure(): Promise<void> {
  const driver = createNftables({ table: TABLE, capacity: 2 * MILLION });
  const nft = new Libnftables();
  await driver.connect();
  try {
    const apply = async (batch: readonly EnforcerChange[]) => {
      for (const result of await driver.apply(batch)) {
        if (!result.ok) throw new Error(result.message);
      }
    };
    const none = await rates(apply);
    await settled();
    const text = await textRates(nft);
    report(BENCH, "one update, median", none.single.median, "ms", {
      baseline: text.single.median,
      target: "at most 0.1 ms",
      met: none.single.median <= 0.1,
    });
    report(BENCH, "one update, p99", none.single.p99, "ms", {
      baseline: text.single.p99,
      target: "at most 1 ms",
      met: none.single.p99 <= 1,
    });
    report(BENCH, `adds in batches of ${BATCH}`, none.adds, "1/s", {
      baseline: text.adds,
      target: "at least 400000/s and 4 times libnftables",
      met: none.adds >= 400_000 && none.adds >= 4 * text.adds,
    });
    report(BENCH, `removals in batches of ${BATCH}`, none.removals, "1/s", {
      target: "at least 400000/s",
      met: none.removals >= 400_000,
    });
    await fill(apply, driver);
    const full = await rates(apply);
    report(BENCH, "one update with 1000000 open, median", full.single.median, "ms", {
      baseline: none.single.median,
      target: "at most 1.15 times the time with none",
      met: full.single.median <= 1.15 * none.single.median,
    });
    report(BENCH, `adds in batches of ${BATCH} with 1000000 open`, full.adds, "1/s", {
      baseline: none.adds,
      target: "at least 0.85 of the rate with none",
      met: full.adds >= 0.85 * none.adds,
    });
  } finally {
    nft.close();
    await driver.remove();
    await driver.close();
  }
}

/** Opens a million pinholes, and reads counters of 100,000 and of all. */
async function fill(
  apply: (batch: readonly EnforcerChange[]) => Promise<void>,
  driver: ReturnType<typeof createNftables>,
): Promise<void> {
  const tuples = Array.from({ length: MILLION }, (_, i) => tuple(i));
  const start = performance.now();
  for (let i = 0; i < MILLION; i += 10 * BATCH) {
    await apply(tuples.slice(i, i + 10 * BATCH).map(opening));
  }
  const seconds = (performance.now() - start) / 1000;
  report(BENCH, "opening 1000000", seconds, "s", {
    target: "at most 10 s",
    met: seconds <= 10,
  });
  for (const [count, most] of [[100_000, 1], [MILLION, 20]] as const) {
    const asked = tuples.slice(0, count);
    const begin = performance.now();
    const found = await driver.counters(asked);
    const took = (performance.now() - begin) / 1000;
    if (found.some((counters) => counters === undefined)) throw new Error("a counter is missing");
    report(BENCH, `counters of ${count} with 1000000 open`, took, "s", {
      target: `at most ${most} s`,
      met: took <= most,
    });
  }
}

/** Rates on top of what is open; leaves it as it was. */
async function rates(
  apply: (batch: readonly EnforcerChange[]) => Promise<void>,
): Promise<{ single: Spread; adds: number; removals: number }> {
  const batches = Array.from(
    { length: BATCHES },
    (_, b) => Array.from({ length: BATCH }, (_, i) => tuple(MILLION + b * BATCH + i)),
  );
  const adds: number[] = [];
  const removals: number[] = [];
  // The first round warms up: compiled code, and memory that the kernel had to get.
  for (let round = 0; round < 4; round++) {
    await settled();
    for (const [changes, times] of [[opening, adds], [closing, removals]] as const) {
      for (const batch of batches.map((tuples) => tuples.map(changes))) {
        const start = performance.now();
        await apply(batch);
        if (round > 0) times.push(performance.now() - start);
      }
    }
  }
  await settled();
  const single: number[] = [];
  for (let i = 0; i < SINGLES; i++) {
    const batch = [opening(tuple(MILLION + i))];
    const start = performance.now();
    await apply(batch);
    single.push(performance.now() - start);
  }
  await apply(Array.from({ length: SINGLES }, (_, i) => closing(tuple(MILLION + i))));
  const perSecond = (times: number[]) => BATCH / (spread(times).median / 1000);
  return { single: spread(single), adds: perSecond(adds), removals: perSecond(removals) };
}

/** The same elements as text through libnftables. */
async function textRates(nft: Libnftables): Promise<{ single: Spread; adds: number }> {
  const run = (commands: string): number => {
    const start = performance.now();
    const result = nft.run(commands);
    const took = performance.now() - start;
    if (!result.ok) throw new Error(result.error);
    return took;
  };
  const command = (verb: string, from: number, count: number) => {
    const lease = verb === "add" ? ` timeout ${LEASE}s` : "";
    const elements = Array.from({ length: count }, (_, i) => {
      const t = tuple(from + i);
      return `${t.protocol} . ${t.source.text} . ${t.destination.text} . ${t.destinationPort}${lease}`;
    });
    return `${verb} element inet ${TABLE} ph4 { ${elements.join(", ")} }`;
  };
  const times: number[] = [];
  for (let round = 0; round < 3; round++) {
    await settled();
    for (let b = 0; b < 20; b++) {
      const took = run(command("add", MILLION + b * BATCH, BATCH));
      if (round > 0) times.push(took);
    }
    for (let b = 0; b < 20; b++) run(command("delete", MILLION + b * BATCH, BATCH));
  }
  const single: number[] = [];
  for (let i = 0; i < SINGLES; i++) single.push(run(command("add", MILLION + i, 1)));
  run(command("delete", MILLION, SINGLES));
  return { single: spread(single), adds: BATCH / (spread(times).median / 1000) };
}

interface Spread {
  readonly median: number;
  readonly p99: number;
}

function spread(times: readonly number[]): Spread {
  return { median: median(times), p99: quantile(times, 0.99) };
}

/** The kernel frees what was removed later, on another processor; a second is plenty for it. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1000));
}

const DESTINATION = address("10.0.0.1");
const sources = new Map<number, IpAddress>();

/** The i-th of up to two thousand million different tuples. */
function tuple(i: number): FiveTuple {
  const host = i >> 15;
  let source = sources.get(host);
  if (source === undefined) {
    source = address(`198.${18 + (host >> 8)}.${host & 255}.1`);
    sources.set(host, source);
  }
  return {
    protocol: "tcp",
    source,
    sourcePort: 0,
    destination: DESTINATION,
    destinationPort: 1024 + (i & 0x7fff),
  };
}

function opening(t: FiveTuple): EnforcerChange {
  return { action: "open", tuple: t, id: 0, lease: LEASE };
}

function closing(t: FiveTuple): EnforcerChange {
  return { action: "close", tuple: t, id: 0, lease: 0 };
}

function address(text: string): IpAddress {
  const found = parseIp(text);
  if (found === undefined) throw new Error(`Not an address: ${text}`);
  return found;
}

Deno.exit(await main());
