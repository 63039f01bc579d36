/**
 * Measures an enforcer: how long updates take one by one and in batches, by the size of the batch and by
 * how many pinholes there are already (the paper's figures 6 to 9).
 *
 * @module
 */
import { parseIp } from "../lib/net/ip.ts";
import type { FiveTuple } from "../lib/pinhole/pinhole.ts";
import { type Enforcer, type EnforcerChange, EnforcerError } from "./enforcer.ts";

/** Updates made one after the other. */
export interface SequentialPoint {
  readonly count: number;
  readonly seconds: number;
}

/** One batch of openings, with so many pinholes there before it. The middle of several rounds. */
export interface BatchPoint {
  readonly batch: number;
  readonly existing: number;
  readonly seconds: number;
  readonly updates_per_second: number;
}

/** What was measured, as `diaper calibrate --json` prints it. */
export interface Calibration {
  readonly enforcer: string;
  /** The smallest batch that comes within 5% of the best rate. */
  readonly optimal_batch: number;
  /** Pinholes that fit, for each address family. */
  readonly capacity: number;
  /** Fewest existing pinholes at which the rate was less than half of the rate with none; null: none such. */
  readonly degrades_at: number | null;
  readonly sequential: readonly SequentialPoint[];
  readonly batched: readonly BatchPoint[];
}

/** How much is to be measured. */
export interface CalibrationOptions {
  /** Seconds for each of the three series; one that takes longer is cut short. */
  readonly seconds: number;
  /** Most pinholes to have open. */
  readonly most: number;
  /** Times that each point is measured, if there is the time. */
  readonly rounds: number;
  /** The clock, in milliseconds. */
  readonly now?: () => number;
  /** Told what is measured now. */
  readonly progress?: (text: string) => void;
}

/** 1, 2, 5, 10, ... and what the paper found best. */
const SIZES = [1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10_000, 20_000];
const EXISTING = [0, 10, 100, 1000, 10_000, 100_000, 1_000_000];
/** Pinholes opened at once to fill the enforcer, where its best batch is smaller. */
const FILL = 5000;
/** Share of a series' time after which a point gets no further round. */
const SHARE = 0.02;
/** Seconds that the kernel would keep what a measurement left behind. */
const LEASE = 3600;

/**
 * Measures an enforcer that is connected and holds no pinholes of ours. What it opens it closes.
 *
 * @throws {EnforcerError} when the enforcer holds something, or refuses what must be possible.
 */
export async function calibrate(
  enforcer: Enforcer,
  options: CalibrationOptions,
): Promise<Calibration> {
  if ((await enforcer.list()).length > 0) {
    throw new EnforcerError(
      `${enforcer.name} holds pinholes: a measurement would not be one, and would close them`,
      "Measure an enforcer that is not in use.",
    );
  }
  const meter = new Meter(enforcer, options);
  const { capacity } = enforcer.capabilities;
  const most = Math.min(options.most, capacity);
  await meter.warmUp(Math.min(most, 100));
  const sequential = await meter.sequential(SIZES.filter((size) => size <= most));
  const sizes = await meter.sizes(SIZES.filter((size) => size <= most));
  const best = Math.max(...sizes.map((point) => point.updates_per_second));
  const optimal = sizes.find((point) => point.updates_per_second >= 0.95 * best)?.batch ?? 1;
  const existing = await meter.existing(
    EXISTING.filter((count) => count > 0 && count + optimal <= most),
    optimal,
  );
  const first = sizes.find((point) => point.batch === optimal)?.updates_per_second ?? 0;
  return {
    enforcer: enforcer.name,
    optimal_batch: optimal,
    capacity,
    degrades_at: existing.find((p) => p.updates_per_second < first / 2)?.existing ?? null,
    sequential,
    batched: [...sizes, ...existing],
  };
}

class Meter {
  readonly #enforcer: Enforcer;
  readonly #options: CalibrationOptions;
  readonly #now: () => number;

  constructor(enforcer: Enforcer, options: CalibrationOptions) {
    this.#enforcer = enforcer;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Code is compiled and memory is got before anything is measured. */
  async warmUp(count: number): Promise<void> {
    for (let round = 0; round < 3; round++) {
      await this.#apply(changes(0, count, "open"));
      await this.#apply(changes(0, count, "close"));
    }
  }

  /** Figure 6. All points are moments of one run. */
  async sequential(counts: readonly number[]): Promise<SequentialPoint[]> {
    this.#options.progress?.("updates one by one");
    const points: SequentialPoint[] = [];
    const end = this.#end();
    let spent = 0;
    let done = 0;
    for (const count of counts) {
      if (this.#now() > end) break;
      for (; done < count && this.#now() <= end; done++) {
        spent += await this.#timed(changes(done, 1, "open"));
      }
      if (done < count) break;
      points.push({ count, seconds: digits(spent) });
    }
    await this.#drain(0, done);
    return points;
  }

  /** Figures 7 and 8. */
  async sizes(sizes: readonly number[]): Promise<BatchPoint[]> {
    const points: BatchPoint[] = [];
    const end = this.#end();
    for (const size of sizes) {
      if (this.#now() > end) break;
      points.push(await this.#point(size, 0));
    }
    return points;
  }

  /** Figure 9. */
  async existing(counts: readonly number[], batch: number): Promise<BatchPoint[]> {
    const points: BatchPoint[] = [];
    const end = this.#end();
    let held = 0;
    for (const count of counts) {
      if (this.#now() > end) break;
      while (held < count && this.#now() <= end) {
        const more = Math.min(count - held, Math.max(FILL, batch));
        await this.#apply(changes(held, more, "open"));
        held += more;
      }
      if (held < count) break;
      points.push(await this.#point(batch, count));
    }
    await this.#drain(0, held);
    return points;
  }

  async #point(batch: number, existing: number): Promise<BatchPoint> {
    this.#options.progress?.(`batches of ${batch} with ${existing} open`);
    const times: number[] = [];
    // A slow device gets fewer rounds, and more points instead.
    const end = this.#now() + this.#options.seconds * 1000 * SHARE;
    for (let round = 0; round < this.#options.rounds; round++) {
      if (round > 0 && this.#now() > end) break;
      times.push(await this.#timed(changes(existing, batch, "open")));
      await this.#apply(changes(existing, batch, "close"));
    }
    const seconds = times.sort((a, b) => a - b)[times.length >> 1] as number;
    return {
      batch,
      existing,
      seconds: digits(seconds),
      updates_per_second: digits(batch / seconds),
    };
  }

  async #drain(from: number, count: number): Promise<void> {
    for (let at = from; at < from + count; at += FILL) {
      await this.#apply(changes(at, Math.min(FILL, from + count - at), "close"));
    }
  }

  async #timed(batch: readonly EnforcerChange[]): Promise<number> {
    const start = this.#now();
    await this.#apply(batch);
    return (this.#now() - start) / 1000;
  }

  async #apply(batch: readonly EnforcerChange[]): Promise<void> {
    for (const result of await this.#enforcer.apply(batch)) {
      if (!result.ok) {
        throw new EnforcerError(
          `${this.#enforcer.name} refused a pinhole while it was measured: ${result.message}`,
          "Give a smaller --most.",
        );
      }
    }
  }

  #end(): number {
    return this.#now() + this.#options.seconds * 1000;
  }
}

function changes(from: number, count: number, action: "open" | "close"): EnforcerChange[] {
  return Array.from(
    { length: count },
    (_, i) => ({ action, tuple: tuple(from + i), id: from + i + 1, lease: LEASE }),
  );
}

/** The i-th pinhole; addresses for benchmarks (RFC 2544) that nobody has. */
function tuple(i: number): FiveTuple {
  // As on a busy server: hosts all over, ports of the range that programs get when they ask for any.
  const host = (i * 2_654_435_761) % 131_072;
  return {
    protocol: "tcp",
    source: address(`198.${18 + (host >> 16)}.${(host >> 8) & 255}.${host & 255}`),
    sourcePort: 0,
    destination: address(`192.0.2.${1 + Math.floor(i / 28_232) % 250}`),
    destinationPort: 32_768 + i % 28_232,
  };
}

function address(text: string): NonNullable<ReturnType<typeof parseIp>> {
  return parseIp(text) as NonNullable<ReturnType<typeof parseIp>>;
}

/** Four significant digits: more would be noise. */
function digits(value: number): number {
  return Number(value.toPrecision(4));
}
