/**
 * How a simulated device reads and prints the entries of its ACLs: the grammar of the command references of
 * Cisco, Dell, Foundry and Arista, with what differs between them as settings.
 *
 * @module
 */
import {
  compareIp,
  ipFromBytes,
  type IpRange,
  parseIp,
  prefixLength,
  prefixRange,
} from "../net/ip.ts";
import type { AceMatch, PortRange } from "./acl_table.ts";
import { portName, portNumber } from "./names.ts";

/** How a device prints. */
export interface AceStyle {
  /** `host A` and `A W`, or `A/32` and `A/L`. */
  readonly addresses: "host" | "prefix";
  /** Whose names for ports it prints; undefined: numbers. */
  readonly names: "ios" | "nxos" | "eos" | "ftos" | "foundry" | undefined;
  /** Words that may stand behind an entry. */
  readonly options: readonly string[];
}

/** What is wrong with a line: the word at which it stops being understood, or that it ends too soon. */
export interface AceProblem {
  readonly at: number | "end";
}

const PROTOCOLS = new Set([
  "ip",
  "ipv6",
  "tcp",
  "udp",
  "icmp",
  "igmp",
  "pim",
  "esp",
  "ahp",
  "gre",
  "ospf",
]);

/** Reads an entry without its number, from the words at `from` on. */
export function readAce(
  words: readonly string[],
  from: number,
  family: 4 | 6,
  style: AceStyle,
): AceMatch | AceProblem {
  let at = from;
  const stop = (): AceProblem => ({ at: at >= words.length ? "end" : at });
  const action = words[at];
  if (action !== "permit" && action !== "deny") return stop();
  at++;
  const proto = words[at] ?? "";
  if (!PROTOCOLS.has(proto) || (family === 6 ? proto === "ip" : proto === "ipv6")) return stop();
  at++;
  const address = (): IpRange | undefined => {
    const found = readAddress(words, at, family);
    if (found !== undefined) at += found.used;
    return found?.range;
  };
  const ports = (): PortRange | "bad" | undefined => {
    if (proto !== "tcp" && proto !== "udp") return undefined;
    const operator = words[at];
    if (!["eq", "gt", "lt", "range"].includes(operator ?? "")) return undefined;
    const first = portNumber(words[at + 1], proto);
    if (first === undefined) {
      at++;
      return "bad";
    }
    const last = operator === "range" ? portNumber(words[at + 2], proto) : first;
    if (last === undefined || last < first) {
      at += 2;
      return "bad";
    }
    at += operator === "range" ? 3 : 2;
    if (operator === "gt") return { first: first + 1, last: 65535 };
    return operator === "lt" ? { first: 0, last: first - 1 } : { first, last };
  };
  const source = address();
  if (source === undefined) return stop();
  const sourcePorts = ports();
  if (sourcePorts === "bad") return stop();
  const destination = address();
  if (destination === undefined) return stop();
  const destinationPorts = ports();
  if (destinationPorts === "bad") return stop();
  const options: string[] = [];
  while (at < words.length) {
    if (!style.options.includes(words[at] as string)) return stop();
    options.push(words[at] as string);
    at++;
  }
  return { action, proto, source, sourcePorts, destination, destinationPorts, options };
}

/** True for a problem. */
export function isProblem(result: AceMatch | AceProblem): result is AceProblem {
  return "at" in result;
}

function readAddress(
  words: readonly string[],
  at: number,
  family: 4 | 6,
): { range: IpRange; used: number } | undefined {
  const word = words[at] ?? "";
  const bits = family === 4 ? 32 : 128;
  if (word === "any") {
    const zero = ipFromBytes(new Uint8Array(bits / 8));
    return { range: prefixRange(zero, 0), used: 1 };
  }
  if (word === "host") {
    const ip = parseIp(words[at + 1] ?? "");
    return ip?.family === family ? { range: { first: ip, last: ip }, used: 2 } : undefined;
  }
  const [text = "", length] = word.split("/");
  const ip = parseIp(text);
  if (ip?.family !== family) return undefined;
  if (length !== undefined) {
    if (!/^[0-9]{1,3}$/.test(length) || Number(length) > bits) return undefined;
    return { range: prefixRange(ip, Number(length)), used: 1 };
  }
  const wild = parseIp(words[at + 1] ?? "");
  if (family !== 4 || wild?.family !== 4) return undefined;
  const first = ipFromBytes(ip.bytes.map((b, i) => b & ~(wild.bytes[i] as number)));
  const last = ipFromBytes(ip.bytes.map((b, i) => b | (wild.bytes[i] as number)));
  return { range: { first, last }, used: 2 };
}

/** Prints an entry without its number and counters. */
export function aceText(match: AceMatch, style: AceStyle): string {
  const port = (n: number) => portName(n, match.proto, style.names) ?? String(n);
  const ports = (range: PortRange | undefined) => {
    if (range === undefined) return "";
    const { first, last } = range;
    if (first === last) return ` eq ${port(first)}`;
    if (last === 65535) return ` gt ${port(first - 1)}`;
    if (first === 0) return ` lt ${port(last + 1)}`;
    return ` range ${port(first)} ${port(last)}`;
  };
  const options = match.options.length === 0 ? "" : ` ${match.options.join(" ")}`;
  return `${match.action} ${match.proto} ` +
    `${addressText(match.source, style)}${ports(match.sourcePorts)} ` +
    `${addressText(match.destination, style)}${ports(match.destinationPorts)}${options}`;
}

function addressText(range: IpRange, style: AceStyle): string {
  const { first, last } = range;
  const length = prefixLength(range);
  if (length === 0) return "any";
  const one = compareIp(first, last) === 0;
  if (style.addresses === "prefix" || (first.family === 6 && !one)) {
    return `${first.text}/${length}`;
  }
  if (one) return `host ${first.text}`;
  const wild = ipFromBytes(first.bytes.map((b, i) => b ^ (last.bytes[i] as number)));
  return `${first.text} ${wild.text}`;
}
