/**
 * Reconstructed streams: throughput of putting together and passing everything, against all frames through user space without
 * that and against Suricata, with the offloads that hosts have and without any; and memory of ten thousand connections.
 * All in one run, in turns; medians. With --write the table in docs/evaluation/streams.md is written too.
 *
 * @module
 */
import { NiLab } from "../../tests/ni/inline_lab.ts";
import type { Host } from "../../tests/lab/host.ts";
import { barChart } from "./ni/bars.ts";
import { type Path, paths, preparePrograms } from "./ni/paths.ts";
import { median, report, round } from "./report.ts";

const ROUNDS = 5;
const SECONDS = 2;
/** Seconds before that, which do not count. */
const WARM = 1;
const PINGS = 200;
const CONNECTIONS = 10_000;
const RECONSTRUCT = "NI, streams put together";
const FRAMES = "NI, all in user space";
const SURICATA = "Suricata, one rule";
const STATES = ["on", "off"] as const;

/** Two ends of many connections that stay. */
const ENDS = `
import resource, select, socket, sys
role, count = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
text = b"0123456789" * 100
def whole(c):
    n = 0
    while n < len(text): n += len(c.recv(4096))
kept = []
if role == "server":
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", 7777)); s.listen(1024); print("listening", flush=True)
    for _ in range(count):
        c, _ = s.accept(); whole(c); c.sendall(text); kept.append(c)
else:
    for _ in range(count):
        c = socket.create_connection((role, 7777), timeout=30); c.sendall(text); whole(c); kept.append(c)
    print("open", flush=True)
sys.stdin.read()
`;

await using lab = await NiLab.create();
const programs = await preparePrograms();
const ways: Path[] = [
  ...paths(programs).filter(({ name }) => name === FRAMES || name === SURICATA),
  {
    name: RECONSTRUCT,
    address: ({ netAddress }) => netAddress,
    up: async (lab) => {
      const ni = await lab.start("--user-space", "--reconstruct", "tcp");
      return async () => {
        await ni.stop();
      };
    },
  },
];

/** Lines of the table, for --write. */
const rows: string[] = [];
const PAGE = decodeURIComponent(
  new URL("../../docs/evaluation/streams.md", import.meta.url).pathname,
);

function figure(
  metric: string,
  value: number,
  unit: string,
  options: { baseline: number; target: string; met: boolean },
): void {
  report("streams", metric, value, unit, options);
  const ratio = round(value / options.baseline);
  rows.push(
    `| ${metric} | ${round(value)} ${unit} | ${
      round(options.baseline)
    } ${unit} | ${ratio} | ${options.target} |`,
  );
}

const samples = new Map<string, { gigabits: number; rtt: number }[]>();
const of = (key: string, what: "gigabits" | "rtt") =>
  median((samples.get(key) ?? []).map((sample) => sample[what]));

async function measure(): Promise<{ gigabits: number; rtt: number }> {
  const ping = await lab.host.must("ping", ["-q", "-f", "-c", String(PINGS), lab.netAddress]);
  const rtt = Number(/= [\d.]+\/([\d.]+)\//.exec(ping)?.[1]) * 1000;
  // What a program does for the first time is left out: it runs for months.
  const text = await lab.host.must("iperf3", [
    ...["-c", lab.netAddress, "-O", String(WARM), "-t", String(SECONDS), "-J"],
  ]);
  const { end, error } = JSON.parse(text) as {
    end: { sum_received?: { bits_per_second: number } };
    error?: string;
  };
  if (end.sum_received === undefined) throw new Error(`iperf3: ${error}`);
  return { gigabits: end.sum_received.bits_per_second / 1e9, rtt };
}

async function offloads(state: "on" | "off"): Promise<void> {
  const features = ["tx", "rx", "tso", "gso", "gro"].flatMap((name) => [name, state]);
  const devices: [Host, string][] = [
    [lab.host, "ni0"],
    [lab.net, "ni0"],
    [lab.box, "porth"],
    [lab.box, "portn"],
  ];
  for (const [host, device] of devices) await host.must("ethtool", ["-K", device, ...features]);
}

lab.net.spawn("iperf3", ["-s"]);
await lab.net.waitForListener("tcp", 5201);
for (const state of STATES) {
  await offloads(state);
  for (let round = 0; round < ROUNDS; round++) {
    for (const { name, up, withoutOffloads } of ways) {
      if (withoutOffloads === true && state === "on") continue;
      const down = await up(lab);
      try {
        await lab.ping(3, "-i", "0.2", lab.netAddress); // addresses are learned
        const key = `${name}, offloads ${state}`;
        samples.set(key, [...samples.get(key) ?? [], await measure()]);
      } finally {
        await down();
      }
    }
  }
  const value = of(`${RECONSTRUCT}, offloads ${state}`, "gigabits");
  const frames = of(`${FRAMES}, offloads ${state}`, "gigabits");
  figure(`put together and passed, offloads ${state}, against frames`, value, "Gbit/s", {
    baseline: frames,
    target: "at least 0.8",
    met: value >= 0.8 * frames,
  });
  const rtt = of(`${RECONSTRUCT}, offloads ${state}`, "rtt");
  const baseline = of(`${FRAMES}, offloads ${state}`, "rtt");
  figure(`round trip, put together, offloads ${state}`, rtt, "us", {
    baseline,
    target: "at most 1.5 of frames'",
    met: rtt <= 1.5 * baseline,
  });
  if (state === "on") continue;
  const suricata = of(`${SURICATA}, offloads ${state}`, "gigabits");
  figure("put together and passed, offloads off, against Suricata", value, "Gbit/s", {
    baseline: suricata,
    target: "more",
    met: value > suricata,
  });
}
await Deno.remove(programs.directory, { recursive: true });
await memory();
if (Deno.args.includes("--write")) write();

/** Replaces what stands between the figures' heading and the next one, and draws the throughput. */
function write(): void {
  for (const state of STATES) {
    const bars = ways.map(({ name }) => ({
      name,
      value: of(`${name}, offloads ${state}`, "gigabits"),
    }))
      .filter(({ value }) => value > 0);
    Deno.writeTextFileSync(
      PAGE.replace(".md", `-${state}.svg`),
      barChart(`Throughput of one TCP connection, offloads ${state}`, "Gbit/s", bars),
    );
  }
  const page = Deno.readTextFileSync(PAGE);
  const [before, after] = [page.indexOf("## Figures"), page.indexOf("## Against tshark")];
  const table = [
    "## Figures",
    "",
    "Written by `scripts/bench streams --write`, on two processors that also run both hosts: ratios of one run count.",
    "The baseline is all frames through user space, of memory the NI without connections.",
    "",
    "| what | measured | baseline | ratio | target |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
    "",
    ...STATES.map((s) => `![Throughput of one TCP connection, offloads ${s}](streams-${s}.svg)\n`),
    "",
  ].join("\n");
  Deno.writeTextFileSync(PAGE, page.slice(0, before) + table + page.slice(after));
  new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", PAGE] }).outputSync();
}

/** Opens connections that stay, and have sent something each way. */
async function memory(): Promise<void> {
  const ni = await lab.start("--reconstruct", "tcp port 7777");
  const server = lab.net.spawn("python3", ["-c", ENDS, "server", String(CONNECTIONS)]);
  await server.waitForLine(/listening/, 20_000);
  const before = await resident(ni.pid);
  const client = lab.host.spawn("python3", ["-c", ENDS, lab.netAddress, String(CONNECTIONS)]);
  await client.waitForLine(/open/, 120_000);
  const after = await resident(ni.pid);
  ni.kill("SIGUSR2");
  const [line] = await ni.waitForLine(/^\{"links".*/);
  const { streams } = JSON.parse(line) as { streams: { open: number } };
  await client.stop();
  await server.stop();
  await ni.stop();
  figure(`memory with ${CONNECTIONS} connections (${streams.open} open)`, after, "MB", {
    baseline: before,
    target: "at most 300 MB",
    met: after <= 300 && streams.open >= CONNECTIONS,
  });
}

/** Megabytes that a process has in memory. */
async function resident(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}
