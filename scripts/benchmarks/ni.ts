/**
 * The NI kernel between two hosts of a lab: throughput, small frames, round trip and processor time, with the offloads
 * that hosts have and without any, against a direct link, a Linux bridge, a forwarder in C and Suricata. All in one run,
 * in turns; medians. `--write` writes docs/evaluation/ni.md and its figures.
 *
 * @module
 */
import { NiLab } from "../../tests/ni/inline_lab.ts";
import { measure, offloads, type Sample, startServers, warmUp } from "./ni/measure.ts";
import { writePage } from "./ni/page.ts";
import { addDirectLink, paths, preparePrograms } from "./ni/paths.ts";
import { median, report } from "./report.ts";

const ROUNDS = Number(Deno.env.get("NI_ROUNDS") ?? 5);
/** How long it may take. */
const SECONDS = Number(Deno.env.get("NI_SECONDS") ?? 270);

const programs = await preparePrograms();
const all = paths(programs);
let done = 0;
const samples = new Map<string, Sample[]>();
try {
  await using lab = await NiLab.create();
  await addDirectLink(lab);
  await startServers(lab, programs);
  const began = performance.now();
  for (let round = 0; round < ROUNDS; round++) {
    // A round that would not end in time is not begun: what is there counts.
    const each = (performance.now() - began) / Math.max(1, round);
    if (performance.now() - began + each > SECONDS * 1000) break;
    done++;
    for (const path of all) {
      const down = await path.up(lab);
      try {
        for (const state of ["off", "on"] as const) {
          if (state === "on" && path.withoutOffloads === true) continue;
          await offloads(lab, state);
          await lab.ping(3, "-i", "0.1", path.address(lab)); // addresses are learned
          if (state === "off") await warmUp(lab, path);
          const key = `${path.name}, offloads ${state}`;
          for (let i = 0; i < (path.times ?? 1); i++) {
            const sample = await measure(lab, programs, path);
            samples.set(key, [...samples.get(key) ?? [], sample]);
          }
        }
      } finally {
        await down();
      }
    }
  }
} finally {
  await Deno.remove(programs.directory, { recursive: true });
}

const READS = "NI, a scanner that reads all";

/** The median of one measure of one path; NaN when it was not measured. */
function of(name: string, state: string, what: keyof Sample): number {
  return median((samples.get(`${name}, offloads ${state}`) ?? []).map((s) => s[what]));
}

/** Reports a rate against another path's of the same run. */
function rate(
  name: string,
  baseline: string,
  state: "on" | "off",
  what: "gigabits" | "small",
  least: number,
): void {
  const value = of(name, state, what);
  const against = of(baseline, state, what);
  const words = what === "small" ? "64-byte frames, " : "";
  report(
    "ni",
    `${name}: ${words}offloads ${state}, against ${baseline}`,
    value,
    what === "small" ? "1/s" : "Gbit/s",
    { baseline: against, target: `at least ${least}`, met: value >= least * against },
  );
}

rate("NI, no scanner", "Linux bridge", "on", "gigabits", 0.9);
rate("NI, no scanner", "Linux bridge", "off", "gigabits", 1);
for (const state of ["on", "off"] as const) {
  const value = of("NI, no scanner", state, "rtt");
  const against = of("Linux bridge", state, "rtt");
  report("ni", `NI, no scanner: round trip, offloads ${state}`, value, "us", {
    baseline: against,
    target: "at most 1.2 of the bridge's",
    met: value <= 1.2 * against,
  });
}
for (const state of ["on", "off"] as const) {
  for (const what of ["gigabits", "small"] as const) {
    rate("NI, all in user space", "forwarder in C", state, what, 0.75);
  }
}
// The same within what two equal runs differ by: rounds of the bridge alone are a third apart at times.
for (const what of ["gigabits", "small"] as const) {
  for (const state of ["on", "off"] as const) {
    rate("NI, enforcer, 100,000 pinholes", "NI, enforcer, 1 pinhole", state, what, 0.9);
  }
}
rate("NI, a scanner that reads all", "Suricata, one rule", "off", "gigabits", 1);
report(
  "ni",
  "NI, a scanner that reads all: frames that it missed",
  of(READS, "off", "missed"),
  "",
  {
    target: "for information: it is not waited for",
    met: true,
  },
);
rate("NI, a scanner that holds all", "Suricata, one rule", "off", "gigabits", 0.5);
for (const [what, most] of [["rtt", 150], ["rtt99", 2000]] as const) {
  const of99 = what === "rtt99" ? ", p99" : "";
  for (const state of ["on", "off"] as const) {
    // A round trip is held twice.
    const value = (of("NI, a scanner that holds all", state, what) -
      of("Linux bridge", state, what)) / 2;
    report("ni", `added latency of a held frame, offloads ${state}${of99}`, value, "us", {
      target: `at most ${most} us`,
      met: value <= most,
    });
  }
}
if (Deno.args.includes("--write")) writePage(all.map(({ name }) => name), of, done);
