/**
 * Networks of namespaces for tests and the demo: outside hosts, a router as perimeter, inside hosts.
 *
 * Every host has one device, `eth0`, whose other end is in the perimeter under the host's name. The
 * namespaces have no route to the machine, so that nothing but the lab's own addresses can be
 * contacted. Needs root.
 *
 * @module
 */
import { chmodSync, mkdirSync } from "node:fs";
import { inRange, type IpAddress, parseIp, prefixRange } from "../../lib/net/ip.ts";
import { Guard, labDirectory, newLabName, sweepLeftovers } from "./guard.ts";
import { Host } from "./host.ts";

/** A host that is wanted. Its addresses are of the ranges for documentation (RFC 5737, RFC 3849). */
export interface HostSpec {
  /** 1 to 12 lower-case letters and digits. */
  readonly name: string;
  /** IPv4 and IPv6 addresses. */
  readonly addresses: readonly string[];
}

/** The network that is wanted. */
export interface LabSpec {
  /** Hosts outside the perimeter. */
  readonly outside: readonly HostSpec[];
  /** Hosts inside the perimeter. */
  readonly inside: readonly HostSpec[];
}

/** True when labs can be made: namespaces need root. Tests without it are skipped. */
export const labPossible: boolean = Deno.uid() === 0;

const ROUTER4 = "192.0.2.254";
const ROUTER6 = "fe80::1";

const DOCUMENTATION = [
  ["192.0.2.0", 24],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["2001:db8::", 32],
].map(([text, length]) => prefixRange(parseIp(text as string) as IpAddress, length as number));

/** A network of namespaces, for `await using`. */
export class Lab {
  /** Name of the lab and prefix of its namespaces. */
  readonly name: string;
  /** A directory for files, removed with the lab; others than root may pass through it. */
  readonly directory: string;
  /** The router between outside and inside. */
  readonly perimeter: Host;
  readonly #hosts: ReadonlyMap<string, Host>;
  readonly #guard: Guard;

  private constructor(name: string, directory: string, hosts: Map<string, Host>, guard: Guard) {
    this.name = name;
    this.directory = directory;
    this.#hosts = hosts;
    this.#guard = guard;
    this.perimeter = this.host("perimeter");
  }

  /**
   * Builds a network; both sides reach each other until somebody closes the perimeter.
   *
   * @throws {Error} without root, or when the network cannot be made.
   */
  static async create(spec: LabSpec): Promise<Lab> {
    if (!labPossible) {
      throw new Error("Cannot make network namespaces: run as root, or skip what needs a lab");
    }
    const specs = [...spec.outside, ...spec.inside];
    const addresses = new Map(specs.map((host) => [host.name, readSpec(host)]));
    if (addresses.size !== specs.length || addresses.has("perimeter")) {
      throw new Error(`Host names must differ: ${specs.map((host) => host.name).join(", ")}`);
    }
    await sweepLeftovers();
    const name = newLabName();
    const directory = labDirectory(name);
    const guard = new Guard(name);
    try {
      mkdirSync(directory, { mode: 0o711 });
      chmodSync(directory, 0o711);
      const hosts = new Map<string, Host>();
      hosts.set(
        "perimeter",
        new Host("perimeter", name, directory, [parseIp(ROUTER4) as IpAddress]),
      );
      for (const [host, list] of addresses) hosts.set(host, new Host(host, name, directory, list));
      await build(hosts);
      return new Lab(name, directory, hosts, guard);
    } catch (error) {
      await guard.remove();
      throw error;
    }
  }

  /**
   * A host by its name.
   *
   * @throws {Error} when there is none.
   */
  host(name: string): Host {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`The lab has no host "${name}"`);
    return host;
  }

  /** Process id of the guard that removes the lab. */
  get guardPid(): number {
    return this.#guard.pid;
  }

  /** A path in the lab's directory. */
  path(name: string): string {
    return `${this.directory}/${name}`;
  }

  /** Kills what runs in the lab and removes it. */
  async close(): Promise<void> {
    try {
      await this.#guard.remove();
    } finally {
      for (const host of this.#hosts.values()) await host.settle();
    }
  }

  /** As {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function readSpec(spec: HostSpec): IpAddress[] {
  if (!/^[a-z][a-z0-9]{0,11}$/.test(spec.name)) {
    throw new Error(`Cannot name a host "${spec.name}": 1 to 12 lower-case letters and digits`);
  }
  return spec.addresses.map((text) => {
    const address = parseIp(text);
    if (address === undefined) throw new Error(`Host ${spec.name}: "${text}" is not an address`);
    if (!DOCUMENTATION.some((range) => inRange(address, range)) || text === ROUTER4) {
      throw new Error(
        `Host ${spec.name}: ${text} is not in a range for documentation; use 198.51.100.0/24, ` +
          `203.0.113.0/24, 192.0.2.0/24 (but ${ROUTER4}) or 2001:db8::/32`,
      );
    }
    return address;
  });
}

async function build(hosts: ReadonlyMap<string, Host>): Promise<void> {
  const all = [...hosts.values()];
  await batch(["-batch", "-"], all.map((host) => `netns add ${host.namespace}`));
  const links: string[] = [];
  const routes: string[] = ["link set lo up"];
  for (const host of all) {
    // Settings of new devices are taken from "default", so they come before the devices.
    await host.must("sh", ["-c", settings(host.name === "perimeter")]);
    if (host.name === "perimeter") continue;
    links.push(`link add ${host.name} type veth peer name eth0 netns ${host.namespace}`);
    routes.push(`addr add ${ROUTER4}/32 dev ${host.name}`);
    routes.push(`addr add ${ROUTER6}/64 dev ${host.name} nodad`, `link set ${host.name} up`);
    for (const a of host.addresses) {
      routes.push(`route add ${a.text} dev ${host.name}`);
    }
  }
  const perimeter = hosts.get("perimeter") as Host;
  await batch(["-n", perimeter.namespace, "-batch", "-"], links);
  for (const host of all) {
    if (host.name === "perimeter") continue;
    await batch(["-n", host.namespace, "-batch", "-"], [
      "link set lo up",
      ...host.addresses.map((a) =>
        a.family === 4 ? `addr add ${a.text}/32 dev eth0` : `addr add ${a.text}/128 dev eth0 nodad`
      ),
      "link set eth0 up",
      ...host.addresses.map((a) =>
        a.family === 4
          ? `route add default via ${ROUTER4} dev eth0 onlink`
          : `route add ::/0 via ${ROUTER6} dev eth0`
      ),
    ]);
  }
  await batch(["-n", perimeter.namespace, "-batch", "-"], routes);
}

/** No duplicate address detection, so that addresses can be used at once; the router forwards. */
function settings(router: boolean): string {
  const lines = [
    "net/ipv6/conf/all/accept_dad=0",
    "net/ipv6/conf/default/accept_dad=0",
    "net/ipv6/conf/default/router_solicitations=0",
    ...(router ? ["net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"] : []),
  ];
  return lines.map((line) => {
    const [path, value] = line.split("=");
    return `echo ${value} >/proc/sys/${path}`;
  }).join(" && ");
}

async function batch(args: string[], lines: readonly string[]): Promise<void> {
  const child = new Deno.Command("ip", {
    args,
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(lines.join("\n") + "\n"));
  await writer.close();
  const { code, stderr } = await child.output();
  if (code !== 0) {
    throw new Error(`ip ${args.join(" ")}: ${new TextDecoder().decode(stderr).trim()}`);
  }
}
