/**
 * The network of the matrix: twenty outside hosts, one neighbour of theirs, one inside host with its own
 * perimeter. What crosses it is counted by plain nftables tables that Diaper knows nothing of.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { diaperDirectory } from "../lab/diaper.ts";
import type { Host } from "../lab/host.ts";
import { Lab } from "../lab/lab.ts";
import type { Port } from "./case.ts";

/** Outside hosts. */
export const HOSTS = 20;
/** Bytes of a transfer: more than socket buffers hold, half a second on the slow link. */
const BYTES = 4_000_000;
/** Rate of the first outside host's link, so that a transfer lasts long enough to look at. */
const SLOW = "48mbit";

/**
 * `host`: IPv4, and the inside host is its own perimeter. `ipv6`: the same by IPv6. `router`: IPv4, and the
 * perimeter is the router between outside and inside, with a controller of its own.
 */
export type Network = "host" | "ipv6" | "router";

/** A flow that an outside host began towards an inside port. */
export interface Flow extends Port {
  /** Address outside. */
  readonly source: string;
  /** Packets of it that the router saw. */
  readonly packets: number;
}

/** The network and its directory, for `await using`. */
export class Field {
  /** The network. */
  readonly lab: Lab;
  /** Twenty hosts outside; the link of the first is slow. */
  readonly outside: readonly Host[];
  /** A host outside, of the same prefix. */
  readonly neighbour: Host;
  /** The host inside. */
  readonly inside: Host;
  /** Bytes of a transfer; some programs make it a share of that. */
  readonly bytes: number;
  /** What kind of network it is. */
  readonly network: Network;
  /** Its address family. */
  readonly family: 4 | 6;
  #directory = "";
  #certificate: { certificate: string; key: string } | undefined;

  private constructor(lab: Lab, bytes: number, network: Network) {
    this.lab = lab;
    this.network = network;
    this.family = familyOf(network);
    this.bytes = bytes;
    this.outside = Array.from({ length: HOSTS }, (_, i) => lab.host(`c${i + 1}`));
    this.neighbour = lab.host("neighbour");
    this.inside = lab.host("inside");
  }

  /** Builds the network. */
  static async create(bytes = BYTES, network: Network = "host"): Promise<Field> {
    const v6 = familyOf(network) === 6;
    const outside = (n: number) => [v6 ? `2001:db8:1::${n}` : `198.51.100.${n}`];
    const lab = await Lab.create({
      outside: [
        ...Array.from({ length: HOSTS }, (_, i) => ({
          name: `c${i + 1}`,
          addresses: outside(i + 1),
        })),
        { name: "neighbour", addresses: outside(66) },
      ],
      inside: [{ name: "inside", addresses: [v6 ? "2001:db8:2::10" : "192.0.2.10"] }],
    });
    try {
      const field = new Field(lab, bytes, network);
      for (const [host, device] of [[field.outside[0], "eth0"], [lab.perimeter, "c1"]] as const) {
        await host?.must("tc", [
          ...["qdisc", "add", "dev", device, "root", "tbf", "rate", SLOW],
          ...["burst", "64kb", "latency", "200ms"],
        ]);
      }
      return field;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** The inside host's address. */
  get address(): string {
    return this.inside.address(this.family);
  }

  /** The prefix of all outside hosts. */
  get prefix(): string {
    return PREFIX[this.family];
  }

  /** The host whose perimeter it is. */
  get guard(): Host {
    return this.network === "router" ? this.lab.perimeter : this.inside;
  }

  /** The address of an outside host, from 0. */
  source(host: number): string {
    return this.host(host).address(this.family);
  }

  /** An outside host, from 0. */
  host(host: number): Host {
    const found = this.outside[host];
    if (found === undefined) throw new Error(`There is no outside host ${host}`);
    return found;
  }

  /** Starts a case: ends what the one before has left, and makes an empty directory. */
  async begin(name: string): Promise<void> {
    await this.clear();
    if (this.#directory !== "") rmSync(this.#directory, { recursive: true });
    for (const host of [this.inside, this.lab.perimeter]) {
      rmSync(diaperDirectory(this.lab, host), { recursive: true });
    }
    this.#directory = this.lab.path(name);
    mkdirSync(this.#directory, { mode: 0o755 });
    await this.lab.perimeter.must("nft", ["-f", "-"], { input: routerTable(this.family) });
    const neighbour = this.neighbour.address(this.family);
    await this.inside.must("nft", ["-f", "-"], { input: insideTable(neighbour, this.family) });
  }

  /** A path in the case's directory. */
  path(name: string): string {
    return `${this.#directory}/${name}`;
  }

  /** Writes a file into the case's directory. */
  file(name: string, content: string | Uint8Array, mode = 0o644): string {
    const path = this.path(name);
    writeFileSync(path, content, { mode });
    return path;
  }

  /** Makes a directory in the case's directory. */
  directory(name: string, mode = 0o755): string {
    const path = this.path(name);
    mkdirSync(path, { mode });
    return path;
  }

  /** Writes a file of random bytes. */
  random(name: string, bytes: number): string {
    return this.file(name, randomBytes(bytes));
  }

  /** A self-signed certificate of the inside host and its key, made once. */
  async certificate(): Promise<{ certificate: string; key: string }> {
    if (this.#certificate !== undefined) return this.#certificate;
    const [certificate, key] = [this.lab.path("certificate.pem"), this.lab.path("key.pem")];
    const names = [this.inside, ...this.outside].map((host) => `IP:${host.address(this.family)}`)
      .join(",");
    await this.inside.must("openssl", [
      ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=inside"],
      ...["-addext", `subjectAltName=${names}`, "-keyout", key, "-out", certificate],
    ]);
    this.#certificate = { certificate, key };
    return this.#certificate;
  }

  /** A file of names for all hosts, for a command that asks for names. */
  hosts(): string {
    if (existsSync(this.path("hosts"))) return this.path("hosts"); // others may be reading it
    const lines = [this.inside, ...this.outside].map((h) =>
      `${h.address(this.family)} ${h.name}.example`
    );
    return this.file("hosts", ["127.0.0.1 localhost", ...lines, ""].join("\n"));
  }

  /** Flows that outside hosts have begun towards the inside, as the router has seen them. */
  async flows(): Promise<Flow[]> {
    const elements = await set(this.lab.perimeter, "seen");
    return elements.map(({ value: [protocol, source, port], packets }) => ({
      protocol: protocol as Flow["protocol"],
      source: String(source),
      port: Number(port),
      packets,
    }));
  }

  /** Starts {@link flows} anew. */
  async forgetFlows(): Promise<void> {
    await this.lab.perimeter.must("nft", ["flush", "set", "inet", WATCH, "seen"]);
  }

  /** Packets of the neighbour: those that came to the inside host, and those that its perimeter let in. */
  async neighbourPackets(): Promise<{ came: number; passed: number }> {
    const text = await this.inside.must("nft", ["-j", "list", "counters", "table", "inet", WATCH]);
    const { nftables } = JSON.parse(text) as {
      nftables: { counter?: { name: string; packets: number } }[];
    };
    const count = (name: string) =>
      nftables.find((object) => object.counter?.name === name)?.counter?.packets ?? NaN;
    return { came: count("came"), passed: count("passed") };
  }

  /** Packets that the perimeter has dropped. */
  async dropped(): Promise<number> {
    const text = await this.guard.must("nft", [
      ...["-j", "list", "counter", "inet", "diaper", "dropped"],
    ]);
    const { nftables } = JSON.parse(text) as {
      nftables: { counter?: { packets: number } }[];
    };
    return nftables.find((object) => object.counter !== undefined)?.counter?.packets ?? NaN;
  }

  /** Kills every program of the last case, and takes away the perimeter. */
  async clear(): Promise<void> {
    await this.kill([this.inside, ...this.outside, this.neighbour, this.lab.perimeter]);
    for (const host of [this.inside, this.lab.perimeter]) {
      await host.must("nft", ["flush", "ruleset"]);
    }
  }

  /** Process numbers of the hosts' programs, and of those that moved to a namespace of their own. */
  programs(hosts: readonly Host[]): number[] {
    const others = [this.inside, ...this.outside, this.neighbour, this.lab.perimeter]
      .filter((host) => !hosts.includes(host));
    return programsOf(this.lab.name, hosts, others);
  }

  /**
   * Kills the programs of hosts, and those of the lab that moved to a namespace of their own.
   *
   * @param but processes that may live
   */
  async kill(hosts: readonly Host[], but: readonly number[] = []): Promise<void> {
    for (let round = 0;; round++) {
      const pids = this.programs(hosts).filter((pid) => !but.includes(pid));
      if (pids.length === 0) return;
      if (round > 200) throw new Error(`Programs of the lab do not end: ${pids.join(", ")}`);
      for (const pid of pids) killProcess(pid);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Removes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab.close();
  }
}

const WATCH = "watch";

const PREFIX = { 4: "198.51.100.0/24", 6: "2001:db8:1::/64" } as const;

function familyOf(network: Network): 4 | 6 {
  return network === "ipv6" ? 6 : 4;
}

/** Counts what outside hosts begin and the router lets pass, by protocol, source and port. */
function routerTable(family: 4 | 6): string {
  const source = family === 4 ? "ip saddr" : "ip6 saddr";
  return `
table inet ${WATCH}
delete table inet ${WATCH}
table inet ${WATCH} {
  set seen {
    type inet_proto . ipv${family}_addr . inet_service
    size 65535
    flags dynamic
    counter
  }
  chain forward {
    type filter hook forward priority 300
    oifname "inside" ct direction original meta l4proto { tcp, udp } ${source} ${
    PREFIX[family]
  } update @seen { meta l4proto . ${source} . th dport }
  }
}
`;
}

/** Counts the neighbour's packets before and after the perimeter, whose chain has priority 0. */
function insideTable(neighbour: string, family: 4 | 6): string {
  const source = family === 4 ? "ip saddr" : "ip6 saddr";
  return `
table inet ${WATCH} {
  counter came { }
  counter passed { }
  chain before {
    type filter hook input priority -300
    ${source} ${neighbour} counter name came
  }
  chain after {
    type filter hook input priority 300
    ${source} ${neighbour} counter name passed
  }
}
`;
}

async function set(host: Host, name: string): Promise<{ value: unknown[]; packets: number }[]> {
  const text = await host.must("nft", ["-j", "list", "set", "inet", WATCH, name]);
  const { nftables } = JSON.parse(text) as {
    nftables: {
      set?: { elem?: { elem: { val: { concat: unknown[] }; counter: { packets: number } } }[] };
    }[];
  };
  return nftables.flatMap((object) => object.set?.elem ?? []).map(({ elem }) => ({
    value: elem.val.concat,
    packets: elem.counter.packets,
  }));
}

/**
 * Programs in the hosts' namespaces, and those that moved to one of their own (vsftpd's), which a mark
 * in their environment tells.
 */
function programsOf(lab: string, hosts: readonly Host[], others: readonly Host[]): number[] {
  const [wanted, spared] = [namespacesOf(hosts), namespacesOf(others)];
  const mark = `DIAPER_LAB=${lab}\0`;
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    const namespace = inode(`/proc/${pid}/ns/net`);
    if (namespace === undefined || spared.has(namespace)) return false;
    return wanted.has(namespace) || environment(pid).includes(mark);
  });
}

function namespacesOf(hosts: readonly Host[]): Set<number | null> {
  return new Set(hosts.map((host) => Deno.statSync(`/run/netns/${host.namespace}`).ino));
}

function inode(path: string): number | null | undefined {
  try {
    return Deno.statSync(path).ino;
  } catch {
    return undefined; // ended meanwhile
  }
}

function environment(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1");
  } catch {
    return ""; // ended meanwhile
  }
}

/** Sends SIGKILL; one that has ended is no error. */
export function killProcess(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch (error) {
    if (existsSync(`/proc/${pid}`)) throw error;
  }
}
