/**
 * A lab with an NI: a host's only link goes through it to the network.
 *
 * @module
 */
import { DIAPER_BINARY } from "../lab/diaper.ts";
import type { Host } from "../lab/host.ts";
import { Lab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";

/** Datagrams on their way there and back; UDP to and from port 9000. */
export interface Echo {
  /** Ends it, and tells how many were not answered, and how many answers came more than once. */
  stop(): Promise<{ sent: number; lost: number; twice: number }>;
}

const ECHO = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s.bind(("", 9000)); print("listening")
while True: s.sendto(*s.recvfrom(100))
`;
const ASK = `
import json, select, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s.connect((sys.argv[1], 9000)); s.setblocking(False)
sent = 0; came = {}
def receive():
    while True:
        try: n = int(s.recv(100))
        except BlockingIOError: return
        came[n] = came.get(n, 0) + 1
        if len(came) == 1 and came[n] == 1: print("first")
end = time.time() + 60
while time.time() < end and not select.select([sys.stdin], [], [], 0.0005)[0]:
    s.send(b"%d" % sent); sent += 1; receive()
last = time.time() + 2
while len(came) < sent and time.time() < last: time.sleep(0.001); receive()
print(json.dumps({"sent": sent, "lost": sent - len(came), "twice": sum(n > 1 for n in came.values())}))
`;

/** A host, the network, and the NI between them, on a link of their own. */
export class NiLab {
  readonly lab: Lab;
  readonly host: Host;
  readonly net: Host;
  readonly box: Host;
  /** Addresses on the link behind the NI. */
  readonly hostAddress = "203.0.113.1";
  readonly netAddress = "203.0.113.2";

  private constructor(lab: Lab) {
    this.lab = lab;
    this.host = lab.host("host");
    this.net = lab.host("net");
    this.box = lab.host("box");
  }

  /** Builds it. */
  static async create(): Promise<NiLab> {
    const lab = await Lab.create({
      outside: [{ name: "net", addresses: ["198.51.100.2"] }],
      inside: [
        { name: "host", addresses: ["192.0.2.1"] },
        { name: "box", addresses: ["192.0.2.2"] },
      ],
    });
    const self = new NiLab(lab);
    for (const [port, peer] of [["porth", self.host], ["portn", self.net]] as const) {
      await self.box.must("ip", [
        "link",
        "add",
        port,
        "type",
        "veth",
        "peer",
        "name",
        "ni0",
        "netns",
        peer.namespace,
      ]);
      await self.box.must("ip", ["link", "set", port, "up"]);
    }
    for (
      const [peer, address] of [[self.host, self.hostAddress], [self.net, self.netAddress]] as const
    ) {
      await peer.must("ip", ["addr", "add", `${address}/24`, "dev", "ni0"]);
      await peer.must("ip", [
        "addr",
        "add",
        `2001:db8:77::${address.at(-1)}/64`,
        "dev",
        "ni0",
        "nodad",
      ]);
      await peer.must("ip", ["link", "set", "ni0", "up"]);
    }
    return self;
  }

  /** Starts an NI on the box and waits until it forwards. */
  async start(...args: string[]): Promise<LabProcess> {
    return await this.run("--host", "porth", "--net", "portn", "--run-dir", this.runDir, ...args);
  }

  /** Starts an NI with a configuration, lines of YAML without links and run_dir, and waits until it forwards. */
  async startWith(config: string, ...args: string[]): Promise<LabProcess> {
    await this.configure(config);
    return await this.run("--config", this.config, ...args);
  }

  /** Writes the configuration that {@link startWith} names. */
  async configure(config: string): Promise<void> {
    const links = "links: {host: porth, net: portn}";
    await Deno.writeTextFile(this.config, `${links}\nrun_dir: ${this.runDir}\n${config}`);
  }

  /** Starts an NI in a way of its own. */
  async run(...args: string[]): Promise<LabProcess> {
    const ni = this.box.spawn(DIAPER_BINARY, ["ni", "--json", ...args]);
    await ni.waitForLine(/NI (between porth and portn|before porth)/, 60_000);
    return ni;
  }

  /** What `diaper status --json` says of the NI. */
  async status(): Promise<Record<string, unknown>> {
    const daemon = this.lab.path("diaper.yaml");
    await Deno.writeTextFile(daemon, `run_dir: ${this.runDir}\n`);
    const args = ["status", "--json", "--config", daemon];
    const { ni } = JSON.parse(await this.box.must(DIAPER_BINARY, args));
    return ni[0];
  }

  /** Where the NI has its control socket. */
  get runDir(): string {
    return this.lab.path("run");
  }

  /** The configuration. */
  get config(): string {
    return this.lab.path("ni.yaml");
  }

  /** Sends numbered datagrams from the host, two thousand a second, to somebody who sends them back, until it is told to stop. */
  async echo(): Promise<Echo> {
    const server = this.net.spawn("python3", ["-u", "-c", ECHO]);
    await server.waitForLine(/listening/);
    const client = this.host.spawn("python3", ["-u", "-c", ASK, this.netAddress]);
    await client.waitForLine(/first/);
    return {
      stop: async () => {
        await client.closeInput();
        const [line] = await client.waitForLine(/^\{.*/, 20_000);
        await server.stop();
        return JSON.parse(line);
      },
    };
  }

  /** Pings from the host; how many of `count` were answered, and how many answers came twice. */
  async ping(count: number, ...args: string[]): Promise<{ answered: number; twice: number }> {
    const { stdout } = await this.host.run("ping", ["-q", "-c", String(count), "-W", "1", ...args]);
    const found = / (\d+) received(?:, \+(\d+) duplicates)?/.exec(stdout);
    if (found === null) throw new Error(`ping said: ${stdout}`);
    return { answered: Number(found[1]), twice: Number(found[2] ?? 0) };
  }

  /** Removes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab.close();
  }
}
