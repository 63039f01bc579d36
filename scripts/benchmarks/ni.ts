/**
 * The NI kernel between two hosts of a lab: throughput and round trip, with the offloads that hosts have and without any,
 * against a direct link, a Linux bridge and a forwarder in C. All in one run, in turns; medians.
 *
 * @module
 */
import { NiLab } from "../../tests/ni/inline_lab.ts";
import type { LabProcess } from "../../tests/lab/process.ts";
import { median, report } from "./report.ts";

const ROUNDS = 5;
const SECONDS = 2;
const PINGS = 200;
const root = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/** One way to get from the host to the network. */
interface Path {
  readonly name: string;
  /** Puts it in place; the result takes it away. */
  readonly up: (lab: NiLab) => Promise<() => Promise<void>>;
}

interface Sample {
  readonly gigabits: number;
  readonly rtt: number;
}

const forwarder = await Deno.makeTempFile();
{
  const { success, stderr } = await new Deno.Command("gcc", {
    args: ["-O2", "-o", forwarder, `${root}scripts/benchmarks/peers/forwarder.c`],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

function program(start: (lab: NiLab) => Promise<LabProcess>): Path["up"] {
  return async (lab) => {
    const process = await start(lab);
    return async () => {
      await process.stop();
    };
  };
}

const PATHS: readonly Path[] = [
  {
    name: "Linux bridge",
    up: async ({ box }) => {
      await box.must("ip", ["link", "add", "name", "bench", "type", "bridge"]);
      for (const port of ["porth", "portn"]) {
        await box.must("ip", ["link", "set", port, "master", "bench"]);
      }
      await box.must("ip", ["link", "set", "bench", "up"]);
      return async () => {
        await box.must("ip", ["link", "del", "bench"]);
      };
    },
  },
  {
    name: "forwarder in C",
    up: program(async ({ box }) => {
      const process = box.spawn(forwarder, ["porth", "portn"]);
      await process.waitForLine(/ready/);
      return process;
    }),
  },
  { name: "NI, no scanner", up: program((lab) => lab.start()) },
  { name: "NI, all in user space", up: program((lab) => lab.start("--user-space")) },
];

async function measure(lab: NiLab): Promise<Sample> {
  const { host, netAddress } = lab;
  const ping = await host.must("ping", ["-q", "-f", "-c", String(PINGS), netAddress]);
  const rtt = Number(/= [\d.]+\/([\d.]+)\//.exec(ping)?.[1]) * 1000;
  const text = await host.must("iperf3", ["-c", netAddress, "-t", String(SECONDS), "-J"]);
  const { end } = JSON.parse(text) as { end: { sum_received: { bits_per_second: number } } };
  return { gigabits: end.sum_received.bits_per_second / 1e9, rtt };
}

async function offloads(lab: NiLab, state: "on" | "off"): Promise<void> {
  const features = ["tx", "rx", "tso", "gso", "gro"].flatMap((name) => [name, state]);
  for (
    const [host, device] of [[lab.host, "ni0"], [lab.net, "ni0"], [lab.box, "porth"], [
      lab.box,
      "portn",
    ]] as const
  ) {
    await host.must("ethtool", ["-K", device, ...features]);
  }
}

const samples = new Map<string, Sample[]>();
await using lab = await NiLab.create();
lab.net.spawn("iperf3", ["-s"]);
await lab.net.waitForListener("tcp", 5201);
for (const state of ["on", "off"] as const) {
  await offloads(lab, state);
  for (let round = 0; round < ROUNDS; round++) {
    for (const { name, up } of PATHS) {
      const down = await up(lab);
      try {
        await lab.ping(3, "-i", "0.2", lab.netAddress); // addresses are learned
        const key = `${name}, offloads ${state}`;
        samples.set(key, [...samples.get(key) ?? [], await measure(lab)]);
      } finally {
        await down();
      }
    }
  }
}
await Deno.remove(forwarder);

const of = (name: string, what: keyof Sample) =>
  median((samples.get(name) ?? []).map((s) => s[what]));
const rate = (name: string, baseline: string, least: number) => {
  const value = of(name, "gigabits");
  const against = of(baseline, "gigabits");
  report("ni", `${name}, against ${baseline.split(",")[0]}`, value, "Gbit/s", {
    baseline: against,
    target: `at least ${least}`,
    met: value >= least * against,
  });
};
rate("NI, no scanner, offloads on", "Linux bridge, offloads on", 0.9);
rate("NI, no scanner, offloads off", "Linux bridge, offloads off", 1);
rate("NI, all in user space, offloads on", "forwarder in C, offloads on", 0.75);
rate("NI, all in user space, offloads off", "forwarder in C, offloads off", 0.75);
for (const state of ["on", "off"]) {
  const value = of(`NI, no scanner, offloads ${state}`, "rtt");
  const bridge = of(`Linux bridge, offloads ${state}`, "rtt");
  report("ni", `round trip, no scanner, offloads ${state}`, value, "us", {
    baseline: bridge,
    target: "at most 1.2 of the bridge's",
    met: value <= 1.2 * bridge,
  });
}
