/**
 * Measures all enforcers and writes the page and the figures of docs/evaluation. Called by
 * scripts/evaluate_enforcers.
 *
 * @module
 */
import { calibrate, type Calibration } from "../drivers/calibration.ts";
import { deviceSchema } from "../drivers/device_options.ts";
import type { Enforcer } from "../drivers/enforcer.ts";
import { createEnforcer } from "../drivers/registry.ts";
import { calibrationCharts } from "../lib/cli/calibrate_charts.ts";
import { capacityCharts } from "../lib/cli/capacity_charts.ts";
import { DEVICE_NAMES, type DeviceName } from "../lib/devices/mod.ts";
import { demandOf, longestWait } from "../lib/net/demand.ts";
import { MultiportMeter } from "../lib/net/multiport.ts";
import { Packet } from "../lib/net/packet.ts";
import { enterOwnNetwork } from "../lib/sys/namespace.ts";
import { driverWith } from "../tests/drivers/devices.ts";
import { startDevice } from "./device_process.ts";
import { ftpTrace, PUBLISHED } from "../tests/net/ftp_trace.ts";

/** What the paper measured, updates a second and at which batch. */
const PAPER: Readonly<Record<string, string>> = {
  "iptables (nft)": "10000 at 200",
  "iptables (legacy)": "10000 at 200",
  ios: "1220 at 300",
  ftos: "445 at 1000",
  ironware: "1070 at 5000",
  junos: "446 at 4200",
};
/** Seconds for each series; devices take their time, and Junos two seconds for one commit. */
const SECONDS = { host: 6, device: 20, junos: 100 } as const;
/** Pinholes that devices have room for here, so that their best batches fit. */
const DEVICE_ROOM = 12_000;

const say = (text: string) => Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));

async function measure(
  name: string,
  enforcer: Enforcer,
  kind: "host" | "device",
): Promise<Calibration> {
  await enforcer.connect();
  const result = await calibrate(enforcer, {
    seconds: name === "junos" ? SECONDS.junos : SECONDS[kind],
    most: kind === "host" ? 120_000 : DEVICE_ROOM - 500,
    rounds: kind === "host" ? 7 : 3,
  });
  say(`${name}: best batch ${result.optimal_batch}`);
  return { ...result, enforcer: name };
}

async function measureDevice(name: DeviceName): Promise<Calibration> {
  const device = await startDevice(name, DEVICE_ROOM);
  const config = deviceSchema.parse({
    host: "127.0.0.1",
    port: device.port,
    user: "diaper",
    host_key: device.host_key,
    capacity: DEVICE_ROOM,
    timeout: 300,
  });
  const enforcer = driverWith(name, config, { password: "diaper" });
  try {
    return await measure(name, enforcer, "device");
  } finally {
    await enforcer.close();
    await device.stop();
  }
}

/** In a namespace of its own: to be called after everything that needs the loopback of this one. */
async function measureHosts(): Promise<Calibration[]> {
  enterOwnNetwork();
  const results: Calibration[] = [];
  for (
    const [title, name, options] of [
      ["nftables", "nftables", {}],
      ["iptables (nft)", "iptables", { backend: "nft", capacity: 120_000 }],
      ["iptables (legacy)", "iptables", { backend: "legacy", capacity: 120_000 }],
      ["ipset", "ipset", {}],
    ] as const
  ) {
    const enforcer = await createEnforcer(name, options);
    results.push(await measure(title, enforcer, "host"));
    await enforcer.remove();
    await enforcer.close();
  }
  return results;
}

function trace(): MultiportMeter {
  const meter = new MultiportMeter();
  const packet = new Packet();
  for (const { time, frame } of ftpTrace({ scale: 1, seed: 1 })) {
    meter.packet(packet.decode(frame, 0, frame.length), time);
  }
  return meter;
}

/** A Markdown table. */
function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, i) => i === 0 ? "---" : "---:")), ...rows.map(line)]
    .join("\n");
}

function rate(value: number | undefined): string {
  return value === undefined ? "-" : String(Number(value.toPrecision(3)));
}

function bestRate(c: Calibration, existing = 0): number | undefined {
  return c.batched.find((p) => p.batch === c.optimal_batch && p.existing === existing)
    ?.updates_per_second;
}

function page(all: readonly Calibration[], meter: MultiportMeter): string {
  const demand = demandOf(meter.pinholes, meter.first ?? 0, meter.last);
  const last = (c: Calibration) => c.sequential.at(-1);
  return `# Enforcers: updates, batches, and what a site needs

Made by \`scripts/evaluate_enforcers\`, which anyone can run. nftables, iptables (over both of its back
ends) and ipset are measured on the real tools in a network namespace of the machine at hand; the network devices
are simulated (\`diaper lab device\`) at the pace that the paper (Dynamic Perimeter Enforcement, section 5.1)
published for the real ones, with room for ${DEVICE_ROOM} entries, so that their figures show what the driver adds
to the device, and nothing about a device that the paper did not say. NX-OS and EOS were not in the paper; their
pace is that of its Catalyst. One number is the middle of several rounds. Machines differ:
\`diaper calibrate --enforcer NAME\` measures yours, and the controller uses the result. A series that
runs out of its time ends early: the largest batches of Junos are missing. The figures here are from a virtual
machine with two processors that had nothing else to do.

## Updates (figures 6 to 9)

${
    table(
      [
        "enforcer",
        "best batch",
        "updates/s",
        "paper",
        "one by one",
        "with 1000 open",
        "with 10000 open",
        "with 100000 open",
      ],
      all.map((c) => [
        c.enforcer,
        c.optimal_batch,
        rate(bestRate(c)),
        PAPER[c.enforcer] ?? "-",
        rate((last(c)?.count ?? 0) / (last(c)?.seconds ?? 1)),
        rate(bestRate(c, 1000)),
        rate(bestRate(c, 10_000)),
        rate(bestRate(c, 100_000)),
      ]),
    )
  }

![Sequential update times](enforcers-6.svg)
![Batch update times](enforcers-7.svg)
![Batch update rates](enforcers-8.svg)
![Update rates with pinholes open](enforcers-9.svg)

## What a site needs (figures 10 and 11)

The paper held packet traces of FTP at the Lawrence Berkeley National Laboratory against its enforcers. They are
not to be had here; the trace is synthetic, with their published figures (${PUBLISHED.controls} control and
${PUBLISHED.data} data connections, ${PUBLISHED.servers} servers, ${PUBLISHED.clients} clients,
${PUBLISHED.packets} packets, 10 days; \`scripts/ftp_trace.ts\` writes it as a capture). What \`diaper capacity\`
finds in it: ${meter.controls} control connections, ${demand.pinholes} pinholes, at most ${demand.most_open} open
at once and ${demand.mean_open} on average; ${demand.updates} updates, at most
${demand.most_updates_per_second} in a second.

${
    table(
      ["enforcer", "capacity", "updates/s", "longest wait of an update"],
      all.map((c) => {
        const speed = bestRate(c) ?? 1;
        return [
          c.enforcer,
          c.capacity,
          rate(speed),
          `${rate(longestWait(meter.pinholes, speed) * 1000)} ms`,
        ];
      }),
    )
  }

![Open pinholes](enforcers-10.svg)
![Updates of pinholes](enforcers-11.svg)
`;
}

const [directory = "docs/evaluation"] = Deno.args;
say("devices, Junos beside the others: it waits more than it works");
const junos = measureDevice("junos");
const others: Calibration[] = [];
for (const name of DEVICE_NAMES.filter((n) => n !== "junos")) {
  others.push(await measureDevice(name));
}
const devices = [...others, await junos];
const all = [...await measureHosts(), ...devices];
say("the trace of ten days");
const meter = trace();
const limits = all.map((c) => ({ ...c, updates_per_second: bestRate(c) ?? 0 }));
Deno.mkdirSync(directory, { recursive: true });
Deno.writeTextFileSync(`${directory}/enforcers.md`, page(all, meter));
for (
  const [figure, svg] of [
    ...calibrationCharts(all),
    ...capacityCharts(meter.pinholes, limits, meter.first ?? 0, meter.last),
  ]
) {
  Deno.writeTextFileSync(`${directory}/enforcers-${figure}.svg`, svg);
}
