/**
 * From a finding in real traffic to what is done about it: a host behind a real NI asks for a zone, its scanner tells
 * the console, the console tells the host's controller, whose policy closes the host's pinhole in nftables and has it
 * slowed at the NI. Each round is a host of its own, which is let go after it. Needs root.
 *
 *   --write   write the section of docs/evaluation/console.md
 *
 * @module
 */
import { askDaemon, askForOne } from "../../lib/cli/control_client.ts";
import { LabConsole } from "../../tests/lab/console.ts";
import { DIAPER_BINARY, diaperDirectory, DiaperHost } from "../../tests/lab/diaper.ts";
import { Lab } from "../../tests/lab/lab.ts";
import type { LabProcess } from "../../tests/lab/process.ts";
import { writeSection } from "./page_section.ts";
import { median, quantile, report, round } from "./report.ts";

/** Hosts, one a round, and rounds that only warm up. */
const HOSTS = 150;
const WARM = 10;
const PORT = 50_000;

/** Waits for an address, asks for a zone from there, and so on. */
const TRIGGER = `
import socket, sys
q = b"\\0\\1\\0\\0\\0\\1\\0\\0\\0\\0\\0\\0\\7example\\0\\0\\xfc\\0\\1"
print("ready", flush=True)
for line in sys.stdin:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((line.strip(), 0))
    s.sendto(q, ("203.0.113.254", 53)); s.close()
`;

const address = (i: number) => `203.0.113.${i + 1}`;

async function main(): Promise<void> {
  await using lab = await Lab.create({
    outside: [{ name: "net", addresses: ["198.51.100.2"] }],
    inside: [
      { name: "host", addresses: ["192.0.2.1"] },
      { name: "box", addresses: ["192.0.2.2"] },
    ],
  });
  const [host, net, box] = [lab.host("host"), lab.host("net"), lab.host("box")];
  for (const [port, peer] of [["porth", host], ["portn", net]] as const) {
    const ends = ["type", "veth", "peer", "name", "ni0", "netns", peer.namespace];
    await box.must("ip", ["link", "add", port, ...ends]);
    await box.must("ip", ["link", "set", port, "up"]);
    await peer.must("ip", ["link", "set", "ni0", "up"]);
  }
  await net.must("ip", ["addr", "add", "203.0.113.254/24", "dev", "ni0"]);
  for (let i = 0; i < HOSTS + WARM; i++) {
    await host.must("ip", ["addr", "add", `${address(i)}/24`, "dev", "ni0"]);
  }
  const console = await LabConsole.start(lab, net, net.address(4));
  const niFile = await console.admit("edge", net.address(4), "hosts=203.0.113.0/24");
  const settings = lab.path("ni.yaml");
  Deno.writeTextFileSync(
    settings,
    [
      "links: { host: porth, net: portn }",
      `run_dir: ${lab.path("run")}`,
      "scanners: { codered: { alerts_per_minute: 10000 } }",
      "",
    ].join("\n"),
    { mode: 0o600 },
  );
  const ni = box.spawn(DIAPER_BINARY, ["ni", "--json", "--config", settings, "--console", niFile]);
  await ni.waitForLine(/NI between/, 60_000);
  await ni.waitForLine(/scanner codered watches/, 60_000);
  const gateFile = await console.admit(
    "gate",
    net.address(4),
    "role=controller hosts=203.0.113.0/24 orders=slow",
  );
  const gate = await DiaperHost.up(lab, host, {
    policy: [
      "allow operator * * * * * *",
      'react codered 203.0.113.0/24 for=1h signature="zone transfer" at-ni=slow',
    ],
    openPorts: [],
    settings: [`console: ${gateFile}`],
  });
  for (const name of ["edge", "gate"]) await console.connected(name);
  const place = { run_dir: `${diaperDirectory(lab, host)}/run`, control_group: "root" };
  for (let i = 0; i < HOSTS + WARM; i++) {
    await askForOne(place, {
      op: "open",
      proto: "tcp",
      source: "198.51.100.2",
      source_port: 0,
      destination: address(i),
      destination_port: PORT,
      ttl: 3600,
    });
  }
  const monitor = host.spawn("nft", ["-n", "monitor", "destroy", "elements"]);
  await gate.verb("status");
  const trigger = host.spawn("python3", ["-u", "-c", TRIGGER]);
  await trigger.waitForLine(/ready/);
  await measure({ ni, monitor, trigger, gate: gate.daemon, place: console.place });
}

async function measure(
  lab: {
    readonly ni: LabProcess;
    readonly monitor: LabProcess;
    readonly trigger: LabProcess;
    readonly gate: LabProcess;
    readonly place: LabConsole["place"];
  },
): Promise<void> {
  const closed: number[] = [];
  const slowed: number[] = [];
  for (let i = 0; i < HOSTS + WARM; i++) {
    const text = address(i).replaceAll(".", "\\.");
    const began = performance.now();
    await lab.trigger.write(`${address(i)}\n`);
    const took = async (process: LabProcess, pattern: RegExp) => {
      await process.waitForLine(pattern);
      return performance.now() - began;
    };
    const [perimeter, atNi] = await Promise.all([
      took(lab.monitor, new RegExp(`delete element .* ${text} `)),
      took(lab.ni, new RegExp(`slow ${text} until`)),
    ]);
    const allow = { op: "order", verb: "allow", lifetime: 60, reason: "measured" } as const;
    for await (const _ of await askDaemon(lab.place, { ...allow, host: address(i) })) {
      // Both have answered when it ends.
    }
    await lab.gate.waitForLine(new RegExp(`allow ${text}: measured`));
    if (i < WARM) continue;
    closed.push(perimeter);
    slowed.push(atNi);
  }
  const rows: string[] = [];
  const figure = (what: string, value: number, most: number) => {
    const met = value <= most;
    report("reaction", `frame to: ${what}`, value, "ms", { target: `at most ${most} ms`, met });
    rows.push(`| ${what} | ${round(value)} ms | at most ${most} ms | ${met ? "yes" : "no"} |`);
  };
  figure("the pinhole is out of nftables, median", median(closed), 50);
  figure("the pinhole is out of nftables, p99", quantile(closed, 0.99), 500);
  // The NI is not the enforcer: two programs in its kernel are replaced. The story has a second for it.
  figure("the host is slowed at its NI, median", median(slowed), 1000);
  figure("the host is slowed at its NI, p99", quantile(slowed, 0.99), 1000);
  if (!Deno.args.includes("--write")) return;
  writeSection("docs/evaluation/console.md", "From a finding to what is done about it", [
    `By \`scripts/bench reaction --write\`: ${HOSTS} hosts, one after the other, each with an open pinhole. The time`,
    "is from before a host sends the frame that its NI's scanner finds to what a perimeter in the same",
    "machine has done; between are scanner, NI, its spool on the disk, console, its database, controller",
    "and policy, all of them real programs, over SSH.",
    "",
    "| what | measured | target | met |",
    "| --- | --- | --- | --- |",
    ...rows,
  ]);
}

await main();
