/**
 * The ways from the host to the network that the benchmark of the NI compares, each put in place and taken away.
 *
 * @module
 */
import type { LabProcess } from "../../../tests/lab/process.ts";
import type { NiLab } from "../../../tests/ni/inline_lab.ts";
import { fillEnforcer } from "./enforcer.ts";
import type { Seen } from "./measure.ts";

/** Addresses of the link that goes past the NI's place. */
export const DIRECT = ["198.18.7.1", "198.18.7.2"] as const;
const HERE = decodeURIComponent(new URL(".", import.meta.url).pathname);
const ROOT = decodeURIComponent(new URL("../../../", import.meta.url).pathname);

/** One way to get from the host to the network. */
export interface Path {
  readonly name: string;
  /** The network's address by this way. */
  readonly address: (lab: NiLab) => string;
  /** Works only where hosts leave nothing to offloads. */
  readonly withoutOffloads?: boolean;
  /** What its scanner has seen so far. */
  readonly seen?: () => Promise<Seen>;
  /** Measurements in each round; 1 without it. */
  readonly times?: number;
  /** Puts it in place; the result takes it away. */
  readonly up: (lab: NiLab) => Promise<() => Promise<void>>;
}

/** Programs that were made for the benchmark. */
export interface Programs {
  readonly directory: string;
  readonly forwarder: string;
  readonly traffic: string;
  /** The scanner of scanner.ts as one file. */
  readonly scanner: string;
  /** The command that runs Suricata. */
  readonly suricata: readonly string[];
}

/** Compiles, bundles and fetches what is compared. */
export async function preparePrograms(): Promise<Programs> {
  const directory = await Deno.makeTempDir();
  await Deno.chmod(directory, 0o755);
  for (const name of ["forwarder", "traffic"]) await compilePeer(name, directory);
  const scanner = `${directory}/scanner.js`;
  await must(Deno.execPath(), [
    ...["bundle", "--quiet", "--platform", "deno", "--output", scanner, `${HERE}scanner.ts`],
  ]);
  await Deno.chmod(scanner, 0o644);
  const suricata = await must(`${HERE}../peers/suricata.sh`, []);
  return {
    directory,
    scanner,
    forwarder: `${directory}/forwarder`,
    traffic: `${directory}/traffic`,
    suricata: (suricata.trim().split("\n").at(-1) as string).split(" "),
  };
}

/** Compiles a program of scripts/benchmarks/peers. */
export async function compilePeer(name: string, directory: string): Promise<string> {
  const path = `${directory}/${name}`;
  await must("gcc", ["-O2", "-o", path, `${HERE}../peers/${name}.c`]);
  return path;
}

/** Lays the link that goes past the NI's place. */
export async function addDirectLink({ host, net }: NiLab): Promise<void> {
  await host.must("ip", [
    ...["link", "add", "direct", "type", "veth", "peer", "name", "direct", "netns", net.namespace],
  ]);
  for (const [end, address] of [[host, DIRECT[0]], [net, DIRECT[1]]] as const) {
    await end.must("ip", ["addr", "add", `${address}/24`, "dev", "direct"]);
    await end.must("ip", ["link", "set", "direct", "up"]);
  }
}

const through = ({ netAddress }: NiLab) => netAddress;

/** All ways, in the order of one round. */
export function paths(programs: Programs): Path[] {
  return [
    { name: "direct link", address: () => DIRECT[1], up: () => Promise.resolve(async () => {}) },
    { name: "Linux bridge", address: through, up: bridge },
    {
      name: "forwarder in C",
      address: through,
      up: started(async ({ box }) => {
        const process = box.spawn(programs.forwarder, ["porth", "portn"]);
        await process.waitForLine(/ready/);
        return process;
      }),
    },
    { name: "NI, no scanner", address: through, up: started((lab) => lab.start()) },
    {
      name: "NI, all in user space",
      address: through,
      up: started((lab) => lab.start("--user-space")),
    },
    ...[1, 100_000].map((pinholes) => ({
      name: `NI, enforcer, ${pinholes.toLocaleString("en")} pinhole${pinholes === 1 ? "" : "s"}`,
      address: through,
      // Two that are to be equal, and to be made takes longer than to be measured.
      times: 2,
      up: async (lab: NiLab) => {
        const ni = await lab.start();
        const remove = await fillEnforcer(lab, pinholes);
        return async () => {
          await remove();
          await ni.stop();
        };
      },
    })),
    scanned("NI, a scanner that reads all", "read", programs),
    scanned("NI, a scanner that holds all", "contain", programs),
    {
      name: "Suricata, one rule",
      address: through,
      withoutOffloads: true,
      up: started(async ({ box }) => {
        const [command = "", ...args] = programs.suricata;
        const process = box.spawn(command, [...args, ...await suricataArguments(programs)]);
        await process.waitForLine(/Engine started/, 60_000);
        return process;
      }),
    },
  ];
}

/** An NI with a scanner for all frames. */
function scanned(name: string, right: string, programs: Programs): Path {
  let ni: LabProcess | undefined;
  let asked = 0;
  return {
    name,
    address: through,
    up: async ({ box }) => {
      const process = box.spawn(Deno.execPath(), [
        ...["run", "--quiet", "--allow-all", `${HERE}scanned.ts`, right, programs.scanner],
      ]);
      await process.waitForLine(/subscribed/, 60_000);
      ni = process;
      asked = 0;
      return async () => {
        await process.closeInput();
        await process.status;
      };
    },
    seen: async () => {
      if (ni === undefined) throw new Error(`${name} is not in place`);
      await ni.write("\n");
      asked++;
      let answers = 0;
      return await ni.find((line) => {
        if (!line.startsWith('{"ports"') || ++answers < asked) return undefined;
        const { scanners: { bench } } = JSON.parse(line) as {
          scanners: { bench: { frames: number; lost: number } };
        };
        return { frames: bench.frames, missed: bench.lost };
      }, "what its scanner has seen");
    },
  };
}

function started(start: (lab: NiLab) => Promise<LabProcess>): Path["up"] {
  return async (lab) => {
    const process = await start(lab);
    return async () => {
      await process.stop();
    };
  };
}

/** A Linux bridge between the two ports. */
export async function bridge({ box }: NiLab): Promise<() => Promise<void>> {
  await box.must("ip", ["link", "add", "name", "bench", "type", "bridge"]);
  for (const port of ["porth", "portn"]) {
    await box.must("ip", ["link", "set", port, "master", "bench"]);
  }
  await box.must("ip", ["link", "set", "bench", "up"]);
  return async () => {
    await box.must("ip", ["link", "del", "bench"]);
  };
}

/** AF_PACKET inline between the two ports, one thread each, with the rule that the NI's scanner has too. */
async function suricataArguments({ directory }: Programs): Promise<string[]> {
  const port = (name: string, other: string, id: number) => `
  - interface: ${name}
    threads: 1
    cluster-id: ${id}
    cluster-type: cluster_flow
    defrag: yes
    use-mmap: yes
    copy-mode: ips
    copy-iface: ${other}`;
  await Deno.writeTextFile(
    `${directory}/suricata.yaml`,
    `%YAML 1.1
---
af-packet:${port("porth", "portn", 98)}${port("portn", "porth", 99)}
stats:
  enabled: no
outputs: []
unix-command:
  enabled: no
classification-file: ${ROOT}.tools/suricata/root/etc/suricata/classification.config
reference-config-file: ${ROOT}.tools/suricata/root/etc/suricata/reference.config
`,
  );
  await Deno.writeTextFile(
    `${directory}/one.rules`,
    'alert tcp any any -> any 23 (msg:"telnet"; flags:S; sid:1; rev:1;)\n',
  );
  return [
    ...["-c", `${directory}/suricata.yaml`, "-S", `${directory}/one.rules`, "--af-packet"],
    ...["-l", directory, "--runmode", "workers", "-v"],
  ];
}

async function must(command: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}
