/**
 * Measures the nftables driver in a network namespace of its own: updates a second, the time of one
 * update, both in an empty table and in one with a million pinholes open, and counters. The baseline
 * is libnftables, fed the same elements as text in the same run. Needs root.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type { EnforcerChange } from "../../drivers/enforcer.ts";
import { createNftables, type NftablesEnforcer } from "../../drivers/nftables.ts";
import { type IpAddress, parseIp } from "../../lib/net/ip.ts";
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";
import { Libnftables } from "../../lib/sys/libnftables.ts";
import { median, quantile, report } from "./report.ts";

const BENCH = "nftables";
const TABLE = "diaper_bench";
const MILLION = 1_000_000;
const BATCH = 1000;
/** Batches in a round. */
const BATCHES = 20;
const SINGLES = 250;
const ROUNDS = 10;
const WARM_UP = 3;
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
  const empty = createNftables({ table: TABLE, capacity: 2 * MILLION });
  const full = createNftables({ table: `${TABLE}_full`, capacity: 2 * MILLION });
  const nft = new Libnftables();
  try {
    await empty.connect();
    const none = new OverNetlink(empty);
    const text = new AsText(nft);
    await measureRates([none, text]);
    await full.connect();
    await fill(full);
    const many = new OverNetlink(full);
    await measureRates([many]);
    reportRates(none.samples, many.samples, text.samples);
  } finally {
    nft.close();
    for (const driver of [empty, full]) {
      await driver.remove();
      await driver.close();
    }
  }
}

/**
 * All that is compared takes turns, so that whatever else the machine does meets each alike. The first rounds warm up: compiled code, memory that the kernel had to get, hash tables that it is still resizing.
 */
async function measureRates(contestants: readonly Contestant[]): Promise<void> {
  for (let round = 0; round < WARM_UP + ROUNDS; round++) {
    if (round === WARM_UP) { for (const { samples } of contestants) samples.forget(); }
    await rates(contestants);
  }
}

function reportRates(none: Samples, many: Samples, text: Samples): void {
  const single = spread(none.single);
  const textSingle = spread(text.single);
  report(BENCH, "one update, median", single.median, "ms", {
    baseline: textSingle.median,
    target: "at most 0.1 ms",
    met: single.median <= 0.1,
  });
  report(BENCH, "one update, p99", single.p99, "ms", {
    baseline: textSingle.p99,
    target: "at most 1 ms",
    met: single.p99 <= 1,
  });
  const adds = perSecond(none.adds);
  const times = ratio(text.adds, none.adds);
  report(BENCH, `adds in batches of ${BATCH}`, adds, "1/s", {
    baseline: adds / times,
    target: "at least 400000/s and 4 times libnftables",
    met: adds >= 400_000 && times >= 4,
  });
  const removals = perSecond(none.removals);
  report(BENCH, `removals in batches of ${BATCH}`, removals, "1/s", {
    target: "at least 400000/s",
    met: removals >= 400_000,
  });
  const manySingle = spread(many.single);
  report(BENCH, `one update with ${MILLION} open, median`, manySingle.median, "ms", {
    baseline: single.median,
    target: "at most 0.1 ms and 1.15 times the time with none",
    met: manySingle.median <= 0.1 && manySingle.median <= 1.15 * single.median,
  });
  const manyAdds = perSecond(many.adds);
  report(BENCH, `adds in batches of ${BATCH} with ${MILLION} open`, manyAdds, "1/s", {
    baseline: adds,
    target: "at least 0.85 of the rate with none",
    met: manyAdds >= 0.85 * adds,
  });
}

/** Opens a million pinholes, and reads counters of 100,000 and of all. */
async function fill(driver: NftablesEnforcer): Promise<void> {
  const tuples = Array.from({ length: MILLION }, (_, i) => tuple(i));
  const start = performance.now();
  for (let i = 0; i < MILLION; i += 10 * BATCH) {
    await apply(driver, tuples.slice(i, i + 10 * BATCH).map(opening));
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

async function apply(driver: NftablesEnforcer, batch: readonly EnforcerChange[]): Promise<void> {
  for (const result of await driver.apply(batch)) {
    if (!result.ok) throw new Error(result.message);
  }
}

/** Something that opens and closes pinholes; what is prepared is not timed. */
interface Contestant {
  readonly samples: Samples;
  /** Prepares opening or closing of `count` pinholes from the `from`-th on. */
  prepare(action: "open" | "close", from: number, count: number): () => Promise<void> | void;
}

class OverNetlink implements Contestant {
  readonly samples = new Samples();
  readonly #driver: NftablesEnforcer;

  constructor(driver: NftablesEnforcer) {
    this.#driver = driver;
  }

  prepare(action: "open" | "close", from: number, count: number): () => Promise<void> {
    const change = action === "open" ? opening : closing;
    const batch = Array.from({ length: count }, (_, i) => change(tuple(MILLION + from + i)));
    return () => apply(this.#driver, batch);
  }
}

/** The same number of elements of the same kind as text through libnftables, in the table that is otherwise empty. */
class AsText implements Contestant {
  readonly samples = new Samples();
  readonly #nft: Libnftables;

  constructor(nft: Libnftables) {
    this.#nft = nft;
  }

  prepare(action: "open" | "close", from: number, count: number): () => void {
    const lease = action === "open" ? ` timeout ${LEASE}s` : "";
    const elements = Array.from({ length: count }, (_, i) => {
      const t = tuple(2 * MILLION + from + i);
      return `${t.protocol} . ${t.source.text} . ${t.destination.text} . ${t.destinationPort}${lease}`;
    });
    const verb = action === "open" ? "add" : "delete";
    const command = `${verb} element inet ${TABLE} ph4 { ${elements.join(", ")} }`;
    return () => {
      const result = this.#nft.run(command);
      if (!result.ok) throw new Error(result.error);
    };
  }
}

/** Times of one round on top of what is open; leaves that as it was. */
async function rates(contestants: readonly Contestant[]): Promise<void> {
  const series = async (
    action: "open" | "close",
    number: number,
    count: number,
    times: (samples: Samples) => number[],
  ) => {
    for (const contestant of contestants) {
      const runs = Array.from(
        { length: number },
        (_, i) => contestant.prepare(action, i * count, count),
      );
      await settled();
      for (const run of runs) {
        const start = performance.now();
        await run();
        times(contestant.samples).push(performance.now() - start);
      }
    }
  };
  await series("open", BATCHES, BATCH, ({ adds }) => adds);
  await series("close", BATCHES, BATCH, ({ removals }) => removals);
  await series("open", SINGLES, 1, ({ single }) => single);
  for (const contestant of contestants) await contestant.prepare("close", 0, SINGLES)();
}

/** Times in milliseconds: of whole batches, and of single updates. */
class Samples {
  adds: number[] = [];
  removals: number[] = [];
  single: number[] = [];

  forget(): void {
    [this.adds, this.removals, this.single] = [[], [], []];
  }
}

/** How many times as long the one took as the other, in the middle of all pairs of one round. */
function ratio(one: readonly number[], other: readonly number[]): number {
  return median(one.map((time, i) => time / (other[i] as number)));
}

function perSecond(times: readonly number[]): number {
  return BATCH / (median(times) / 1000);
}

interface Spread {
  readonly median: number;
  readonly p99: number;
}

function spread(times: readonly number[]): Spread {
  return { median: median(times), p99: quantile(times, 0.99) };
}

/** The kernel frees what was removed later, on another processor; this is plenty for it. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 300));
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
