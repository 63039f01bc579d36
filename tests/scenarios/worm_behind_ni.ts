/**
 * The union of both systems: an FTPS server that its own perimeter guards and that stands behind an NI begins to scan
 * like Code-Red. Its NI finds that, the console is told and tells the server's controller, whose policy says what is
 * done: the server's pinholes are closed, it gets no new ones, and its NI slows it.
 *
 * @module
 */
import { statSync } from "node:fs";
import type { Capture } from "../lab/capture.ts";
import { LabConsole } from "../lab/console.ts";
import { type AuditLine, DIAPER_BINARY, DiaperHost } from "../lab/diaper.ts";
import { startTransfer } from "../lab/ftp_clients.ts";
import { type FtpsSite, makeFtpsSite } from "../lab/ftps.ts";
import type { Host } from "../lab/host.ts";
import { Lab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";

/** Size of the file that is being fetched when the worm comes, and how fast. */
const BYTES = 40_000_000;
const RATE = 2_000_000;
/** Random addresses that each worm tries, and how many a second. */
const ATTEMPTS = 200;
const ATTEMPTS_A_SECOND = 50;
/** Where the worm looks for victims: a network for benchmarks (RFC 2544) that nobody has. */
const VICTIMS = "198.18.0.0/15";

const [SERVER, SERVER_NET] = ["203.0.113.1", "203.0.113.2"];
const [DESK, DESK_NET] = ["203.0.113.129", "203.0.113.130"];

/** Code-Red's way: random addresses, one SYN each to port 80, without a name ever being looked up. */
const WORM = `
import random, select, socket, sys, time
random.seed(int(sys.argv[1])); made = []
for i in range(${ATTEMPTS}):
    s = socket.socket(); s.setblocking(False)
    s.connect_ex(("198.%d.%d.%d" % (random.choice((18, 19)), random.randrange(256), random.randrange(1, 255)), 80))
    made.append(s); time.sleep(1 / ${ATTEMPTS_A_SECOND})
`;

/** What a worm at one host came to. Times in milliseconds since the epoch. */
export interface WormStory {
  readonly host: string;
  /** The first SYN of the worm, as the network saw it. */
  readonly began: number;
  /** The scanner's alert. */
  readonly found: number;
  /** The console had ordered, and the NI has answered. */
  readonly ordered: number;
  readonly slowed: number;
  readonly order: { readonly owner: string; readonly reason: string; readonly until: number };
  /** SYNs of the worm that came out of the NI, of those that it tried. */
  readonly escaped: number;
  readonly tried: number;
}

/** What became of the transfer that went on meanwhile. */
export interface CutTransfer {
  readonly port: number;
  readonly opened: number;
  readonly closed: number;
  readonly why: string;
  /** Bytes that the client had when the pinhole was closed, and at the end. */
  readonly atClose: number;
  readonly atEnd: number;
  readonly bytes: number;
}

/** The scenario, for `await using`. */
export class WormScenario {
  readonly bytes = BYTES;
  readonly rate = RATE;
  readonly server: Host;
  readonly desk: Host;
  readonly net: Host;
  readonly console: LabConsole;
  readonly #lab: Lab;
  readonly #site: FtpsSite;
  readonly #gate: DiaperHost;
  readonly #nis: { readonly server: LabProcess; readonly desk: LabProcess };
  readonly #captures: readonly Capture[];
  #transfers = 0;

  private constructor(
    lab: Lab,
    console: LabConsole,
    site: FtpsSite,
    gate: DiaperHost,
    nis: { readonly server: LabProcess; readonly desk: LabProcess },
    captures: readonly Capture[],
  ) {
    this.#lab = lab;
    this.console = console;
    this.#site = site;
    this.#gate = gate;
    this.#nis = nis;
    this.#captures = captures;
    [this.server, this.desk, this.net] = [lab.host("server"), lab.host("desk"), lab.host("net")];
  }

  /** Addresses: the server's, and the other host's. */
  get addresses(): { readonly server: string; readonly desk: string } {
    return { server: SERVER, desk: DESK };
  }

  /** Builds the network, starts console, NIs and the server's own perimeter, and serves. */
  static async create(): Promise<WormScenario> {
    const lab = await Lab.create({
      outside: [{ name: "net", addresses: ["198.51.100.2"] }],
      inside: [
        { name: "server", addresses: ["192.0.2.1"] },
        { name: "desk", addresses: ["192.0.2.3"] },
        { name: "box", addresses: ["192.0.2.2"] },
      ],
    });
    try {
      return await WormScenario.#build(lab);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  static async #build(lab: Lab): Promise<WormScenario> {
    const [server, desk, net, box] = ["server", "desk", "net", "box"].map((n) => lab.host(n)) as [
      ...[Host, Host, Host, Host],
    ];
    await link(box, "s", server, SERVER, net, SERVER_NET);
    await link(box, "d", desk, DESK, net, DESK_NET);
    const management = net.address(4);
    const console = await LabConsole.start(lab, net, management, [
      "name: console",
      "outbreak: { hosts: 2, within: 10m }",
    ]);
    const nis = {
      server: await ni(
        lab,
        box,
        "s",
        await console.admit("ni-server", management, "hosts=" + SERVER),
      ),
      desk: await ni(lab, box, "d", await console.admit("ni-desk", management, "hosts=" + DESK)),
    };
    const gateFile = await console.admit(
      "gate",
      management,
      "role=controller hosts=203.0.113.0/24 orders=slow longest=1h",
    );
    const site = await makeFtpsSite(lab, server, { bigBytes: BYTES, names: [SERVER] });
    const gate = await DiaperHost.up(lab, server, {
      policy: [
        `allow ftpd nobody tcp 203.0.113.0/25 * ${SERVER} 1024-65535`,
        "react codered 203.0.113.0/24 for=10m at-ni=slow connections=1 id=worm",
      ],
      openPorts: ["tcp/21"],
      settings: [`console: ${gateFile}`],
    });
    for (const name of ["ni-server", "ni-desk", "gate"]) await console.connected(name);
    const served = gate.run("ftpd", "vsftpd", [site.config]);
    const listening = server.waitForListener("tcp", site.port).then(() => undefined);
    if (await Promise.race([listening, served.status]) !== undefined) {
      await listening.catch(() => undefined); // says less than the program itself
      throw new Error(`vsftpd ended:\n${served.output().join("\n")}`);
    }
    const captures = await Promise.all(
      ["nis", "nid"].map((device) =>
        net.capture(device, `tcp[tcpflags] = tcp-syn and dst net ${VICTIMS}`)
      ),
    );
    return new WormScenario(lab, console, site, gate, nis, captures);
  }

  /** Begins to fetch the file; resolves when its data flows. */
  async fetch(): Promise<
    { readonly process: LabProcess; readonly opened: AuditLine; file: string }
  > {
    const since = this.#gate.events().length;
    const file = this.#lab.path(`fetched-${++this.#transfers}`);
    const process = startTransfer(this.net, this.#site, {
      ...{ client: "curl", direction: "fetch", remote: "big.bin", local: file, rate: RATE },
      server: SERVER,
    });
    const opened = await until(
      () => this.#gate.events().slice(since).find((e) => e.event_type === "pinhole.opened"),
      "pinhole of the transfer",
    );
    await until(() => size(file) > RATE / 4, "data of the transfer");
    return { process, opened, file };
  }

  /** A fetch that must get no data port: what the audit trail says about its request. */
  async fetchRefused(): Promise<{ readonly code: number; readonly why: string; at: number }> {
    const since = this.#gate.events().length;
    const process = startTransfer(this.net, this.#site, {
      ...{ client: "curl", direction: "fetch", remote: "big.bin", connectTimeout: 2 },
      local: this.#lab.path("refused"),
      server: SERVER,
    });
    const { code } = await process.status;
    const refused = this.#gate.events().slice(since).find((e) =>
      e.event_type === "pinhole.refused"
    );
    return {
      code,
      why: String(refused?.["why"] ?? ""),
      at: refused === undefined ? NaN : Date.parse(refused.timestamp),
    };
  }

  /** A worm begins at a host; what it came to. */
  async worm(which: "server" | "desk"): Promise<WormStory> {
    const host = which === "server" ? SERVER : DESK;
    const worm = this[which].spawn("python3", ["-c", WORM, which === "server" ? "1" : "2"]);
    await this.#nis[which].waitForLine(new RegExp(`slow ${host.replaceAll(".", "\\.")} until`));
    await worm.status;
    const sent = this.#captures.flatMap((c) => c.packets()).filter((p) => p.source === host);
    const [alert] = await this.#alerts(host);
    const audit = await this.console.ask<ConsoleLine>("console", "audit");
    const given = audit.find((l) => l.what === "order.slow" && l.detail["host"] === host);
    const done = audit.find((l) =>
      l.what === "order.done" && l.detail["id"] === given?.detail["id"]
    );
    const [order] = (await this.console.ask<OrderLine>("console", "orders"))
      .filter((o) => o.order.host === host);
    return {
      host,
      began: sent[0]?.time ?? NaN,
      found: Date.parse(alert?.timestamp ?? ""),
      ordered: given?.at ?? NaN,
      slowed: done?.at ?? NaN,
      order: {
        owner: order?.order.owner ?? "",
        reason: order?.order.reason ?? "",
        until: order?.until ?? NaN,
      },
      escaped: new Set(sent.map((p) => p.destination)).size,
      tried: ATTEMPTS,
    };
  }

  /** What became of a transfer whose pinhole the worm closed. */
  async cut(
    { process, opened, file }: { process: LabProcess; opened: AuditLine; file: string },
  ): Promise<CutTransfer> {
    const closed = await this.#gate.waitForEvent((e) =>
      e.event_type === "pinhole.closed" && e["id"] === opened["id"]
    );
    const atClose = size(file);
    process.kill("SIGKILL");
    await process.status;
    return {
      port: Number(opened["destination_port"]),
      opened: Date.parse(opened.timestamp),
      closed: Date.parse(closed.timestamp),
      why: String(closed["why"] ?? ""),
      atClose,
      atEnd: size(file),
      bytes: BYTES,
    };
  }

  /** Lets a host go, as an administrator does. */
  async allow(host: string, why: string): Promise<void> {
    await this.console.ask("allow", host, "--why", why);
    // The controller has answered when this returns; its policy is loaded right after.
    await until(
      () => this.#gate.daemon.output().some((l) => l.includes(`allow ${host}: ${why}`)),
      "the controller's answer",
    );
  }

  /** How an NI says that it stands. */
  async contained(which: "server" | "desk"): Promise<{ verb: string; dropped: number }[]> {
    const ni = this.#nis[which];
    const before = ni.output().filter((l) => l.startsWith('{"links"')).length;
    ni.kill("SIGUSR2");
    const line = await until(
      () => ni.output().filter((l) => l.startsWith('{"links"'))[before],
      "the NI's status",
    );
    return (JSON.parse(line) as { contained: { verb: string; dropped: number }[] }).contained;
  }

  /** Pinholes that the console lists, once it lists any. */
  async pinholes(): Promise<number> {
    return await until(
      async () => (await this.console.ask("console", "pinholes")).length || undefined,
      "pinhole at the console",
    );
  }

  /** Hosts of the console's outbreak. */
  async outbreak(): Promise<readonly string[]> {
    const [outbreak] = await until(async () => {
      const all = await this.console.ask<{ kind: string; hosts: string[] }>("console", "outbreaks");
      return all.length > 0 ? all : undefined;
    }, "outbreak");
    return outbreak?.hosts ?? [];
  }

  /** Removes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lab.close();
  }

  async #alerts(host: string): Promise<{ timestamp: string; src_ip: string }[]> {
    return await until(async () => {
      const alerts = await this.console.ask<{ timestamp: string; src_ip: string }>(
        ...["alerts", "--scanner", "codered", "--host", host],
      );
      return alerts.length > 0 ? alerts : undefined;
    }, `alert about ${host}`);
  }
}

interface ConsoleLine {
  readonly at: number;
  readonly what: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

interface OrderLine {
  readonly order: { readonly host: string; readonly owner: string; readonly reason: string };
  readonly until: number;
}

/** A link from a host through the box to the network. */
async function link(
  box: Host,
  letter: string,
  host: Host,
  address: string,
  net: Host,
  netAddress: string,
): Promise<void> {
  const ends = [["h", host, address, "ni0"], ["n", net, netAddress, `ni${letter}`]] as const;
  for (const [side, peer, own, device] of ends) {
    const port = `port${side}${letter}`;
    await box.must("ip", [
      ...["link", "add", port, "type", "veth", "peer", "name", device, "netns", peer.namespace],
    ]);
    await box.must("ip", ["link", "set", port, "up"]);
    await peer.must("ip", ["addr", "add", `${own}/25`, "dev", device]);
    await peer.must("ip", ["link", "set", device, "up"]);
  }
  await host.must("ip", ["route", "add", VICTIMS, "via", netAddress]);
}

async function ni(lab: Lab, box: Host, letter: string, file: string): Promise<LabProcess> {
  const process = box.spawn(DIAPER_BINARY, [
    ...["ni", "--json", "--host", `porth${letter}`, "--net", `portn${letter}`],
    ...["--run-dir", lab.path("run"), "--scanner", "codered", "--console", file],
  ]);
  await process.waitForLine(/NI between/, 60_000);
  return process;
}

function size(file: string): number {
  try {
    return statSync(file).size;
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return 0;
    throw error;
  }
}

/** Looks again and again. @throws {Error} when it does not come. */
async function until<T>(
  look: () => Promise<T | undefined> | T | undefined | false,
  what: string,
  timeout = 20_000,
): Promise<T> {
  const end = performance.now() + timeout;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`No ${what} in ${timeout / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
