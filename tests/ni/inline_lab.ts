/**
 * A lab with an NI: a host's only link goes through it to the network.
 *
 * @module
 */
import { DIAPER_BINARY } from "../lab/diaper.ts";
import type { Host } from "../lab/host.ts";
import { Lab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";

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
    const ni = this.box.spawn(DIAPER_BINARY, [
      ...["ni", "--host", "porth", "--net", "portn", "--json"],
      ...args,
    ]);
    await ni.waitForLine(/NI between porth and portn/, 60_000);
    return ni;
  }

  /** Starts an NI with a configuration and waits until it forwards. */
  async startWith(config: string): Promise<LabProcess> {
    const ni = this.box.spawn(DIAPER_BINARY, ["ni", "--config", config, "--json"]);
    await ni.waitForLine(/NI between porth and portn/, 60_000);
    return ni;
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
