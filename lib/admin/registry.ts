/**
 * Who may come to a console, and by which key: one line each in a file.
 *
 *     NAME ssh-ed25519 KEY [role=ni|controller] [group=A,B] [hosts=PREFIX,…] [from=PREFIX,…] [connect=HOST:PORT]
 *         [orders=slow,filter,block] [longest=TIME]
 *
 * @module
 */
import { inRange, type IpAddress, type IpRange, parseIp, prefixRange } from "../net/ip.ts";
import { isKey, KEY_TYPE } from "../sys/ssh_key.ts";

/** An NI or a controller, and the key that it proves itself by. */
export interface Peer {
  readonly name: string;
  readonly key: string;
  readonly role: "ni" | "controller";
  readonly groups: readonly string[];
  /** Hosts that are behind an NI, or that a controller may order about; what an NI says of others is its word alone. */
  readonly hosts: readonly IpRange[];
  /** Where it may come from; undefined: from anywhere. */
  readonly from: readonly IpRange[] | undefined;
  /** Where the console goes to it, when it does not come by itself. */
  readonly connect: { readonly host: string; readonly port: number } | undefined;
  /** What a controller may have done to its `hosts` at their NIs. */
  readonly orders: readonly PeerOrder[];
  /** Seconds that such an order lasts at most. */
  readonly longest: number;
}

/** What a controller may order. Its own orders it may always take back. */
export type PeerOrder = "slow" | "filter" | "block";
const PEER_ORDERS: readonly PeerOrder[] = ["slow", "filter", "block"];
const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** A line of the file that cannot be used. */
export class RegistryError extends Error {
  override readonly name = "RegistryError";
}

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$/;

/** True for what can be the name of a peer or a group. */
export function isPeerName(text: string): boolean {
  return NAME.test(text);
}

/**
 * Reads the file.
 *
 * @throws {RegistryError} with file and line: a line that is not understood must not be taken for less than was meant.
 */
export function parseRegistry(text: string, file: string): Peer[] {
  const peers: Peer[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const wrong = (what: string) => new RegistryError(`${file}:${i + 1}: ${what}`);
    const [name = "", type, key = "", ...settings] = line.trim().split(/\s+/);
    if (!isPeerName(name)) throw wrong(`"${name}" cannot be a name`);
    if (type !== KEY_TYPE || !isKey(key)) throw wrong(`only ${KEY_TYPE} keys are taken`);
    const known = peers.find((p) => p.key === key || p.name === name);
    if (known !== undefined) {
      throw wrong(`${known.name === name ? "this name" : "this key"} is ${known.name}'s already`);
    }
    peers.push({ name, key, ...readSettings(settings, wrong) });
  }
  return peers;
}

function readSettings(words: readonly string[], wrong: (what: string) => Error) {
  const settings: { -readonly [K in keyof Omit<Peer, "name" | "key">]: Peer[K] } = {
    role: "ni",
    groups: [],
    hosts: [],
    from: undefined,
    connect: undefined,
    orders: [],
    longest: 86_400,
  };
  for (const word of words) {
    const [setting, value = ""] = word.split(/=(.*)/s);
    switch (setting) {
      case "role":
        if (value !== "ni" && value !== "controller") throw wrong(`role is ni or controller`);
        settings.role = value;
        break;
      case "group": {
        const groups = value.split(",");
        if (!groups.every(isPeerName)) throw wrong(`"${value}" are no names of groups`);
        settings.groups = groups;
        break;
      }
      case "hosts":
        settings.hosts = readRanges(value, wrong);
        break;
      case "from":
        settings.from = readRanges(value, wrong);
        break;
      case "connect": {
        const [, host = "", port] = /^(?:\[([0-9a-fA-F:.]+)\]|[A-Za-z0-9.-]+):(\d{1,5})$/.exec(
          value,
        ) ?? [];
        if (port === undefined) throw wrong(`connect: expected HOST:PORT`);
        settings.connect = {
          host: host === "" ? value.slice(0, value.lastIndexOf(":")) : host,
          port: Number(port),
        };
        break;
      }
      case "orders":
        settings.orders = value.split(",").map((one) => {
          const known = PEER_ORDERS.find((order) => order === one);
          if (known === undefined) throw wrong(`orders are ${PEER_ORDERS.join(", ")}`);
          return known;
        });
        break;
      case "longest": {
        const [, count, unit = ""] = /^([1-9][0-9]{0,6})([smhd])$/.exec(value) ?? [];
        if (count === undefined) throw wrong("longest is a time such as 30m, 1h or 7d");
        settings.longest = Number(count) * (UNITS[unit] as number);
        break;
      }
      default:
        throw wrong(`"${word}" is not known`);
    }
  }
  if (settings.orders.length > 0 && settings.role !== "controller") {
    throw wrong("only a controller gives orders");
  }
  if (settings.orders.length > 0 && settings.hosts.length === 0) {
    throw wrong("orders= needs hosts=, those that it may order about");
  }
  return settings;
}

function readRanges(text: string, wrong: (what: string) => Error): IpRange[] {
  return text.split(",").map((part) => {
    const [address = "", length] = part.split("/");
    const ip = parseIp(address);
    const longest = ip?.family === 4 ? 32 : 128;
    const bits = length === undefined ? longest : Number(length);
    if (ip === undefined || !/^[0-9]{0,3}$/.test(length ?? "") || bits > longest) {
      throw wrong(`${part} is neither an address nor a prefix`);
    }
    return prefixRange(ip, bits);
  });
}

/** True when a peer may come from an address. */
export function mayPeerComeFrom(peer: Peer, address: IpAddress): boolean {
  return peer.from === undefined || peer.from.some((range) => inRange(address, range));
}

/** The NIs that a host is behind. */
export function niOfHost(peers: Iterable<Peer>, address: IpAddress): Peer[] {
  return [...peers].filter((p) => p.role === "ni" && p.hosts.some((r) => inRange(address, r)));
}
