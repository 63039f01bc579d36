/**
 * Ways for mail between a host and its servers, side by side: each has a link of its own, so that all are there at the same
 * time and can be measured in turns, message by message.
 *
 * @module
 */
import { DIAPER_BINARY } from "../../tests/lab/diaper.ts";
import type { LabProcess } from "../../tests/lab/process.ts";
import type { NiLab } from "../../tests/ni/inline_lab.ts";

/** One way. */
export interface MailPath {
  readonly name: string;
  /** The servers' address on it. */
  readonly address: string;
  readonly smtpPort: number;
  /** Over which there is POP3 too. */
  readonly pop3: boolean;
}

/** Builds ways. */
export class MailPaths {
  readonly all: MailPath[] = [];
  readonly #lab: NiLab;
  readonly #processes: LabProcess[] = [];

  constructor(lab: NiLab) {
    this.#lab = lab;
  }

  /** A link with a Linux bridge in the NI's place. */
  async bridge(name: string): Promise<MailPath> {
    const { number, ports, path } = await this.#link(name);
    const { box } = this.#lab;
    await box.must("ip", ["link", "add", "name", `bridge${number}`, "type", "bridge"]);
    for (const port of ports) {
      await box.must("ip", ["link", "set", port, "master", `bridge${number}`]);
    }
    await box.must("ip", ["link", "set", `bridge${number}`, "up"]);
    return this.#add(path);
  }

  /** The same link as another way's, with a proxy for SMTP before the server. */
  proxy(name: string, { address }: MailPath, smtpPort: number): MailPath {
    return this.#add({ name, address, smtpPort, pop3: false });
  }

  /** A link with an NI, whose scanners are told in YAML. */
  async ni(name: string, scanners: string): Promise<MailPath> {
    const { number, ports: [host, net], path } = await this.#link(name);
    const config = this.#lab.lab.path(`ni${number}.yaml`);
    const run = this.#lab.lab.path(`run${number}`);
    Deno.writeTextFileSync(
      config,
      `links: { host: ${host}, net: ${net} }\nrun_dir: ${run}\nscanners:\n${scanners}`,
    );
    const ni = this.#lab.box.spawn(DIAPER_BINARY, ["ni", "--json", "--config", config]);
    this.#processes.push(ni);
    await ni.waitForLine(new RegExp(`NI between ${host} and ${net}`), 60_000);
    return this.#add(path);
  }

  /** Ends the NIs. */
  async stop(): Promise<void> {
    for (const process of this.#processes) await process.stop();
  }

  #add(path: MailPath): MailPath {
    this.all.push(path);
    return path;
  }

  async #link(name: string): Promise<{ number: number; ports: [string, string]; path: MailPath }> {
    const number = this.all.length;
    const { box, host, net } = this.#lab;
    const ports: [string, string] = [`h${number}`, `n${number}`];
    const link = `mail${number}`;
    // Addresses that are meant for benchmarks (RFC 2544).
    for (const [port, end, address] of [[ports[0], host, 1], [ports[1], net, 2]] as const) {
      await box.must("ip", [
        ...["link", "add", port, "type", "veth", "peer", "name", link, "netns", end.namespace],
      ]);
      await box.must("ip", ["link", "set", port, "up"]);
      await end.must("ip", ["addr", "add", `198.18.${number}.${address}/24`, "dev", link]);
      await end.must("ip", ["link", "set", link, "up"]);
    }
    return {
      number,
      ports,
      path: { name, address: `198.18.${number}.2`, smtpPort: 25, pop3: true },
    };
  }
}
