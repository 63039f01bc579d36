/**
 * The main job on one host: a real FTPS server behind a closed perimeter, served to two real clients.
 * What the demo shows and what the tests check.
 *
 * @module
 */
import { existsSync, mkdirSync, rmSync } from "node:fs";
import type { Capture } from "../lab/capture.ts";
import { DiaperHost } from "../lab/diaper.ts";
import { fetchSmallFiles, type FtpClient, startTransfer } from "../lab/ftp_clients.ts";
import { type FtpsSite, makeFtpsSite, sha256File } from "../lab/ftps.ts";
import type { ConnectOutcome, Host } from "../lab/host.ts";
import { Lab } from "../lab/lab.ts";
import { listenOn } from "../lab/listener.ts";
import { RemoteSite, type SshKind } from "../lab/remote.ts";
import { concerns, type PinholeKey, type Timeline, timelineOf } from "./timeline.ts";

/** Sizes. */
export interface FtpsScenarioSpec {
  /** Size of the file that is fetched and stored, in bytes; well over what socket buffers hold. */
  readonly bytes: number;
  /** Small files fetched one after the other, for the distribution of opening times. */
  readonly smallFiles: number;
}

/** An attempt to transfer that must fail. */
export interface DeniedTransfer {
  /** The program. */
  readonly client: FtpClient;
  /** The client got in by the control connection and was given this data port. */
  readonly port: number | undefined;
  /** A packet to that port arrived at the server's device, and the transfer failed all the same. */
  readonly denied: boolean;
}

/** An attempt of somebody to reach a data port by TCP. */
export interface Attempt {
  /** Address of who tried. */
  readonly from: string;
  /** What became of it. */
  readonly outcome: ConnectOutcome;
  /** The attempt says something: whoever could pass the perimeter would have been connected. */
  readonly valid: boolean;
}

/** A transfer that must succeed, and what others could do meanwhile and afterwards. */
export interface Transfer {
  /** The program. */
  readonly client: FtpClient;
  /** `fetch` is a download. */
  readonly direction: "fetch" | "store";
  /** Address family. */
  readonly family: 4 | 6;
  /** Size of the file. */
  readonly bytes: number;
  /** From start to end of the client. */
  readonly seconds: number;
  /** What arrived is what was sent. */
  readonly sha256_match: boolean;
  /** The data port's pinhole. */
  readonly timeline: Timeline;
  /** The neighbour of the client, at the same port during the transfer. */
  readonly third: Attempt | undefined;
  /** Pinholes that diaper listed and that the kernel held meanwhile; 1 of each when all is well. */
  readonly held: { readonly listed: number; readonly kernel: number } | undefined;
  /** The client itself, at the same port after the pinhole was closed. */
  readonly after: Attempt | undefined;
  /** Last messages of a client that failed. */
  readonly failure: readonly string[];
}

const CLIENTS: readonly FtpClient[] = ["curl", "lftp"];
/** First packets of TCP connections and their answers; pcap-filter's tcp[] knows IPv4 only. */
const SYN = "tcp[tcpflags] & tcp-syn != 0 or (ip6 and ip6[6] = 6 and ip6[53] & 2 != 0)";
/** Milliseconds without an answer after which an attempt has failed; a SYN is repeated after a second. */
const PATIENCE = 1_200;
/** Seconds that a transfer is stretched to, so that others can try while it goes on. */
const STRETCH = 3;

/** The scenario's network and what runs in it, for `await using`. */
export class FtpsScenario {
  /** The outside host that transfers. */
  readonly client: Host;
  /** An outside host of the same prefixes. */
  readonly neighbour: Host;
  /** The inside host and its own perimeter. */
  readonly server: Host;
  /** The server's files. */
  readonly site: FtpsSite;
  /** The daemon that holds the perimeter: on the server itself, or a controller at the router. */
  readonly diaper: DiaperHost;
  /** The daemon that agents on the server ask. */
  readonly broker: DiaperHost;
  readonly #lab: Lab;
  readonly #capture: Capture;
  readonly #spec: FtpsScenarioSpec;

  private constructor(
    lab: Lab,
    spec: FtpsScenarioSpec,
    site: FtpsSite,
    diaper: DiaperHost,
    broker: DiaperHost,
    capture: Capture,
  ) {
    this.broker = broker;
    this.#lab = lab;
    this.#spec = spec;
    this.#capture = capture;
    this.site = site;
    this.diaper = diaper;
    [this.client, this.neighbour] = [lab.host("client"), lab.host("neighbour")];
    this.server = lab.host("server");
  }

  /**
   * Builds the network, makes the server's files, and closes the perimeter: the server's own by `diaper up`,
   * or that of the router by `diaper controller`, which the server's broker asks over SSH.
   *
   * @param command the diaper to use; the built binary without it
   * @param remote the SSH server of a controller at the router; without it the server is its own perimeter
   */
  static async create(
    spec: FtpsScenarioSpec,
    command?: string,
    remote?: SshKind,
  ): Promise<FtpsScenario> {
    const lab = await Lab.create({
      // Client and neighbour are in the same prefixes: what tells them apart is the pinhole alone.
      outside: [
        { name: "client", addresses: ["198.51.100.10", "2001:db8:1::10"] },
        { name: "neighbour", addresses: ["198.51.100.66", "2001:db8:1::66"] },
      ],
      inside: [{ name: "server", addresses: ["192.0.2.10", "2001:db8:3::10"] }],
    });
    try {
      const server = lab.host("server");
      const { bytes: bigBytes, smallFiles } = spec;
      const site = await makeFtpsSite(lab, server, { bigBytes, smallFiles });
      const policy = [
        "# effect delegate user protocol sources source-ports destinations destination-ports",
        "allow ftpd nobody tcp 198.51.100.0/24 * 192.0.2.10 1024-65535",
        "allow ftpd nobody tcp 2001:db8:1::/48 * 2001:db8:3::10 1024-65535",
      ];
      if (remote !== undefined) {
        const there = await RemoteSite.start(
          lab,
          { server: remote, policy, delegates: ["ftpd"] },
          ["client", "neighbour"],
        );
        const broker = await there.broker(server, "ftpd");
        const capture = await lab.perimeter.capture("client", SYN);
        return new FtpsScenario(lab, spec, site, there.controller, broker, capture);
      }
      const diaper = await DiaperHost.up(lab, server, {
        policy,
        openPorts: ["tcp/21"],
        ...(command === undefined ? {} : { command }),
      });
      const capture = await server.capture("eth0", SYN);
      return new FtpsScenario(lab, spec, site, diaper, diaper, capture);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** Serves without the agent: the perimeter is closed, and nobody opens it. */
  async withoutDiaper(): Promise<DeniedTransfer[]> {
    const server = this.server.spawn("vsftpd", [this.site.config]);
    await this.server.waitForListener("tcp", this.site.port);
    const results: DeniedTransfer[] = [];
    for (const client of CLIENTS) {
      const started = Date.now();
      const local = this.#lab.path(`denied-${client}`);
      const transfer = startTransfer(this.client, this.site, {
        ...{ client, direction: "fetch", remote: "big.bin", local, connectTimeout: 2 },
        server: this.server.address(4),
      });
      const { code } = await transfer.status;
      const loggedIn = /230 Login successful/.test(transfer.output().join("\n"));
      const since = this.#capture.packets().filter((p) => p.time >= started);
      const asked = since.find((p) => p.destinationPort !== this.site.port && p.flags === "S");
      const answered = since.some((p) => p.sourcePort === asked?.destinationPort);
      const denied = code !== 0 && loggedIn && asked !== undefined && !answered;
      results.push({ client, port: asked?.destinationPort, denied });
    }
    await server.stop();
    return results;
  }

  /** Starts the server under the agent. */
  async serve(): Promise<void> {
    const server = this.broker.run("ftpd", "vsftpd", [this.site.config]);
    const listening = this.server.waitForListener("tcp", this.site.port).then(() => undefined);
    const status = await Promise.race([listening, server.status]);
    if (status === undefined) return;
    await listening.catch(() => undefined); // says less than the program itself
    throw new Error(`diaper run ended with code ${status.code}:\n${server.output().join("\n")}`);
  }

  /** Fetches or stores the big file; while a fetch goes on and after it, others try its port. */
  async transfer(
    client: FtpClient,
    direction: "fetch" | "store",
    family: 4 | 6,
  ): Promise<Transfer> {
    const started = Date.now();
    const fetching = direction === "fetch";
    const name = `${client}-${family}`;
    const local = fetching ? this.#lab.path(name) : this.site.bigFile;
    const process = startTransfer(this.client, this.site, {
      ...{ client, direction, local, server: this.server.address(family) },
      remote: fetching ? "big.bin" : `upload/${name}`,
      ...(fetching ? { rate: Math.ceil(this.#spec.bytes / STRETCH) } : {}),
    });
    let third: Attempt | undefined;
    let held: Transfer["held"];
    if (fetching) {
      const syn = await this.#firstSyn(started, family).catch(() => undefined);
      if (syn !== undefined) {
        held = await this.#held();
        const outcome = await this.#try(this.neighbour, family, syn);
        const valid = process.running && await this.#listens(syn);
        third = { from: this.neighbour.address(family), outcome, valid };
      }
    }
    const { code } = await process.status;
    const seconds = (Date.now() - started) / 1000;
    const key = this.#key(started, family);
    const arrived = fetching ? local : `${this.site.uploads}/${name}`;
    const match = code === 0 && existsSync(arrived) &&
      await sha256File(arrived) === this.site.bigSha256;
    if (existsSync(arrived)) rmSync(arrived);
    const closed = key !== undefined && await this.#closed(key);
    return {
      ...{ client, direction, family, seconds, third, held, bytes: this.#spec.bytes },
      sha256_match: match,
      timeline: timelineOf(
        key ?? { source: "", destination: "", port: 0, since: started },
        this.diaper.events(),
        this.#capture.packets(),
      ),
      after: fetching && closed ? await this.#afterwards(key.port, family) : undefined,
      failure: code === 0 ? [] : process.output().slice(-5),
    };
  }

  /** Fetches the small files. */
  async fetchSmall(): Promise<void> {
    const directory = this.#lab.path("small");
    mkdirSync(directory);
    const process = fetchSmallFiles(this.client, this.site, this.server.address(4), directory);
    const { code } = await process.status;
    rmSync(directory, { recursive: true });
    if (code !== 0) {
      throw new Error(
        `lftp could not fetch the small files:\n${process.output().slice(-5).join("\n")}`,
      );
    }
  }

  /** Opening times of all pinholes so far, in milliseconds. */
  openTimes(): number[] {
    return this.diaper.events().filter((e) => e.event_type === "pinhole.opened")
      .map((e) => Number(e["open_ms"]));
  }

  /** Waits until every opened pinhole was closed, then counts those that diaper or the kernel still hold. */
  async leaked(): Promise<number> {
    const opened = this.diaper.events().filter((e) => e.event_type === "pinhole.opened");
    for (const event of opened) {
      await this.diaper.waitForEvent((e) =>
        e.event_type === "pinhole.closed" && e["id"] === event["id"]
      ).catch(() => undefined); // one that stays is counted below
    }
    const { listed, kernel } = await this.#held();
    return Math.max(listed, kernel);
  }

  /** Removes everything. */
  async close(): Promise<void> {
    await this.#lab.close();
  }

  /** As {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #firstSyn(since: number, family: 4 | 6): Promise<number> {
    const source = this.client.address(family);
    const syn = await this.#capture.waitFor((p) =>
      p.time >= since && p.source === source && p.flags === "S" &&
      p.destinationPort !== this.site.port
    );
    return syn.destinationPort;
  }

  /** The pinhole of a transfer that is over; undefined when its client never tried a data port. */
  #key(since: number, family: 4 | 6): PinholeKey | undefined {
    const source = this.client.address(family);
    const syn = this.#capture.packets().find((p) =>
      p.time >= since && p.source === source && p.destinationPort !== this.site.port
    );
    if (syn === undefined) return undefined;
    const destination = this.server.address(family);
    return { source, destination, port: syn.destinationPort, since };
  }

  async #closed(key: PinholeKey): Promise<boolean> {
    const event = await this.diaper.waitForEvent((e) =>
      e.event_type === "pinhole.closed" && concerns(e, key)
    ).catch(() => undefined);
    return event !== undefined;
  }

  /** The client again, with a plain server on the very port: only the perimeter can stop it now. */
  async #afterwards(port: number, family: 4 | 6): Promise<Attempt> {
    const plain = await listenOn(this.server, port);
    try {
      const inside = await this.#try(this.server, family, port);
      const outcome = await this.#try(this.client, family, port);
      return { from: this.client.address(family), outcome, valid: inside === "connected" };
    } finally {
      await plain.stop();
    }
  }

  async #try(from: Host, family: 4 | 6, port: number): Promise<ConnectOutcome> {
    return await from.tryConnect(this.server.address(family), port, PATIENCE);
  }

  async #held(): Promise<{ listed: number; kernel: number }> {
    const [listed, kernel] = [await this.diaper.pinholes(), await this.diaper.kernelPinholes()];
    return { listed: listed.length, kernel: kernel.length };
  }

  async #listens(port: number): Promise<boolean> {
    return (await this.server.sockets("tcp")).some((s) => s.listening && s.localPort === port);
  }
}
