/**
 * How fast a worm spreads, with and without the Code-Red scanner before its hosts: what the scanner lets through is
 * measured with the scanner itself, the spread is simulated. Writes docs/evaluation/worm.md and its figure.
 *
 *   deno run --allow-all scripts/worm_spread.ts
 *
 * @module
 */
import { chartSvg } from "../lib/cli/chart.ts";
import { TCP } from "../lib/net/packet.ts";
import { CodeRed } from "../niapp/codered/scanner.ts";
import { Session } from "../niapp/sdk/session.ts";
import { NiKernel } from "../lib/ni/kernel.ts";
import { FrameRef } from "../lib/ni/frame.ts";
import { USUAL_RIGHTS, usualRights } from "../lib/ni/catalogue.ts";
import { frameMemory } from "../lib/sys/packet_socket.ts";
import { frame as makeFrame } from "../tests/niapp/frames.ts";

/** Hosts that Code-Red v2 took over, and addresses that it scanned (paper, section 5.3). */
const VULNERABLE = 359_000;
const ADDRESSES = 2 ** 32;
const SCANS_A_SECOND = 10;
const RUNS = 21;
const FOLDER = decodeURIComponent(new URL("../docs/evaluation/", import.meta.url).pathname);

/** What leaves a host, in scans: so many at once, then so many a second. */
interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

/** Feeds the scanner an hour of a worm's SYNs through the NI kernel, by a clock of its own; counts what passes. */
function measuredRate(seconds: number): Rate {
  let passed = 0;
  const passedAt: number[] = [];
  const rights = { ...USUAL_RIGHTS, ...usualRights("codered"), holdLimit: 1e9 };
  const kernel = new NiKernel({
    linkType: 1,
    prevent: [],
    scanners: new Map([["codered", rights]]),
    hostNetworks: [],
  }, {
    forward: () => {
      passed++;
      passedAt.push(kernel.now);
    },
    event: () => {},
    broken: (_, why) => {
      throw new Error(String(why));
    },
  });
  const scanner = new Session(new CodeRed());
  const session = kernel.connect(kernel.slot("codered"));
  const talk = () => {
    for (let quiet = false; !quiet;) {
      quiet = session.out.length === 0;
      give(
        session.out.bytes.subarray(0, session.out.length),
        (n) => scanner.take(n),
        () => scanner.space(),
      );
      session.out.length = 0;
      const said = scanner.output();
      quiet &&= said.length === 0;
      give(said, (n) => session.take(n, kernel.now), () => session.space());
    }
    kernel.settle();
  };
  talk();
  const memory = frameMemory(4096);
  const ref = new FrameRef();
  const start = 1_700_000_000;
  const random = generator(1);
  for (let i = 0; i < seconds * SCANS_A_SECOND; i++) {
    const time = start + i / SCANS_A_SECOND;
    for (
      let wake = kernel.nextWake();
      wake !== undefined && wake <= time * 1000;
      wake = kernel.nextWake()
    ) {
      kernel.setTime(Math.floor(wake / 1000), Math.round((wake % 1000) * 1e6));
      kernel.wake();
      talk();
    }
    const address = Math.floor(random() * ADDRESSES);
    const bytes = makeFrame({
      source: "192.0.2.10",
      destination: [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join("."),
      sourcePort: 1024 + i % 60_000,
      destinationPort: 80,
      flags: TCP.SYN,
    });
    memory.data.set(bytes, 64);
    ref.data = memory.data;
    ref.start = 64;
    ref.end = 64 + bytes.length;
    ref.wireLength = bytes.length;
    ref.seconds = Math.floor(time);
    ref.nanoseconds = Math.round((time % 1) * 1e9);
    kernel.frame(memory, ref);
    talk();
  }
  const burst = passedAt.filter((at) => at < (start + 5) * 1000).length;
  return { burst, perSecond: (passed - burst) / (seconds - 5) };
}

function give(bytes: Uint8Array, take: (n: number) => void, space: () => Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    const room = space();
    const n = Math.min(room.length, bytes.length - at);
    room.set(bytes.subarray(at, at + n));
    take(n);
    at += n;
  }
}

/** Numbers from 0 to 1, the same each time. */
function generator(seed: number): () => number {
  let state = seed * 2654435761 >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** How many of `n` things of probability `p` happen. */
function binomial(n: number, p: number, random: () => number): number {
  const mean = n * p;
  if (mean < 50) { // Poisson: p is tiny
    const limit = Math.exp(-mean);
    let k = 0;
    for (let product = random(); product > limit; product *= random()) k++;
    return Math.min(n, k);
  }
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Math.max(0, Math.min(n, Math.round(mean + normal * Math.sqrt(mean * (1 - p)))));
}

/** Infected hosts over time, in hours; ends when all but a thousandth are. */
type Curve = [hours: number, infected: number][];

/**
 * One spread. Of the vulnerable hosts the share `covered` is behind an NI.
 *
 * @param slow what an NI lets through; others send everything.
 */
function spread(covered: number, slow: Rate, seed: number): Curve {
  const random = generator(seed);
  let [open, guarded] = [1, 0];
  let left = [VULNERABLE * (1 - covered) - 1, VULNERABLE * covered] as [number, number];
  if (covered === 1) {
    [open, guarded] = [0, 1];
    left = [0, VULNERABLE - 1];
  }
  const fastest = open + left[0] > 0 ? SCANS_A_SECOND : slow.perSecond;
  // A hundredth of the time in which the number of infected hosts grows by e.
  const step = ADDRESSES / VULNERABLE / fastest / 100;
  const curve: Curve = [[0, 1]];
  let bursts = guarded * slow.burst;
  for (let i = 1; open + guarded < VULNERABLE * 0.999; i++) {
    const scans = (open * SCANS_A_SECOND + guarded * slow.perSecond) * step + bursts;
    const hit = -Math.expm1(scans * Math.log1p(-1 / ADDRESSES));
    const fresh = left.map((n) => binomial(Math.round(n), hit, random)) as [number, number];
    open += fresh[0];
    guarded += fresh[1];
    left = [left[0] - fresh[0], left[1] - fresh[1]];
    bursts = fresh[1] * slow.burst;
    if (i % 10 === 0) curve.push([i * step / 3600, open + guarded]);
    if (i > 1_000_000) throw new Error("The spread does not end");
  }
  curve.push([curve.length * 10 * step / 3600, open + guarded]);
  return curve;
}

function hoursTo(curve: Curve, share: number): number {
  return (curve.find(([, n]) => n >= share * VULNERABLE) as Curve[number])[0];
}

const slow = measuredRate(3600);
const cases = [
  ["no NI", 0],
  ["half of the hosts behind an NI", 0.5],
  ["nine in ten", 0.9],
  ["all", 1],
].map(([name, covered]) => {
  const runs = Array.from({ length: RUNS }, (_, i) => spread(covered as number, slow, i + 1));
  const sorted = runs.toSorted((a, b) => hoursTo(a, 0.5) - hoursTo(b, 0.5));
  const times = (share: number) => {
    const all = runs.map((run) => hoursTo(run, share)).sort((a, b) => a - b);
    return all[RUNS >> 1] as number;
  };
  return {
    name: name as string,
    half: times(0.5),
    most: times(0.95),
    all: times(0.999),
    curve: sorted[RUNS >> 1] as Curve,
  };
});
const chart = chartSvg({
  title: "Spread of a worm like Code-Red v2",
  x: { title: "hours", scale: "log" },
  y: { title: "infected hosts", scale: "log" },
  lines: cases.map(({ name, curve }) => ({
    name,
    points: curve.filter(([hours], i) => hours > 0 && i % Math.ceil(curve.length / 200) === 0),
  })),
});
Deno.writeTextFileSync(`${FOLDER}worm.svg`, chart);
const time = (hours: number) =>
  hours < 72 ? `${hours.toFixed(1)} h` : `${(hours / 24).toFixed(1)} days`;
const rows = cases.map(({ name, half, most, all }) =>
  `| ${[name, time(half), time(most), time(all)].join(" | ")} |`
);
Deno.writeTextFileSync(
  `${FOLDER}worm.md`,
  `# Spread of a worm

Written by \`deno run --allow-all scripts/worm_spread.ts\`.

${
    VULNERABLE.toLocaleString("en")
  } vulnerable hosts among 2^32 addresses, ${SCANS_A_SECOND} scans a second from each infected host: Code-Red v2 as the
paper has it (section 5.3). One host is infected at the beginning. Each scan goes to a random address; ${RUNS} runs of each case,
medians.

What an NI lets through was measured with the scanner itself, an hour of such a worm through the NI kernel by a virtual
clock: ${slow.burst} at once, then ${
    slow.perSecond.toFixed(3)
  } a second in place of ${SCANS_A_SECOND}.

| hosts behind an NI | half infected | 95% | 99.9% |
| --- | --- | --- | --- |
${rows.join("\n")}

The paper has 14 hours without (what was seen of the real worm) and over a month with its scanner before every host; the
factor of 60 between 10 scans a second and one in six seconds is in both. An NI before only some hosts slows the spread by
about what it takes away from the worm's scans: the hosts without one go on at full speed.

![Infected hosts over time](worm.svg)
`,
);
