/**
 * The ACLs of a simulated device: numbered entries in order, counters, and a capacity in entries as the
 * hardware behind them has it.
 *
 * @module
 */
import { compareIp, inRange, type IpAddress, type IpRange } from "../net/ip.ts";

/** The ports that an entry matches, both ends included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** What an entry matches. */
export interface AceMatch {
  readonly action: "permit" | "deny";
  /** `ip`, `ipv6`, `tcp`, `udp`, `icmp`, … */
  readonly proto: string;
  readonly source: IpRange;
  readonly sourcePorts: PortRange | undefined;
  readonly destination: IpRange;
  readonly destinationPorts: PortRange | undefined;
  /** Words behind the addresses, such as `established` or `log`. */
  readonly options: readonly string[];
}

/** An entry with its number and what it has counted. */
export interface Ace extends AceMatch {
  seq: number;
  packets: number;
  bytes: number;
}

/** A packet, as far as an ACL looks at it. */
export interface Packet {
  readonly proto: string;
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
}

/** What became of an addition. */
export type Added = "added" | "same" | "number-in-use" | "too-high";

/** One ACL. */
export class Acl {
  readonly name: string;
  readonly family: 4 | 6;
  /** In the order of their numbers. */
  entries: Ace[] = [];
  /** Counts each entry: some devices do only when they are told to. */
  counting = true;
  readonly #byText = new Map<string, Ace>();

  constructor(name: string, family: 4 | 6) {
    this.name = name;
    this.family = family;
  }

  /** A copy with the same entries and counters. */
  copy(): Acl {
    const copy = new Acl(this.name, this.family);
    copy.counting = this.counting;
    for (const entry of this.entries) {
      const own = { ...entry };
      copy.entries.push(own);
      copy.#byText.set(textOf(own), own);
    }
    return copy;
  }

  /**
   * Adds an entry; without a number, behind the last one by `step`.
   *
   * @param highest the highest number that the device knows.
   */
  add(match: AceMatch, seq: number | undefined, step: number, highest: number): Added {
    if (this.#byText.has(textOf(match))) return "same";
    const last = this.entries.at(-1)?.seq ?? 0;
    const number = seq ?? last - (last % step) + step;
    if (number > highest) return "too-high";
    const at = this.#place(number);
    if (this.entries[at]?.seq === number) return "number-in-use";
    const entry: Ace = { ...match, seq: number, packets: 0, bytes: 0 };
    this.entries.splice(at, 0, entry);
    this.#byText.set(textOf(entry), entry);
    return "added";
  }

  /** Removes by number; false when there is none. */
  removeNumber(seq: number): boolean {
    const at = this.#place(seq);
    const entry = this.entries[at];
    if (entry?.seq !== seq) return false;
    this.entries.splice(at, 1);
    this.#byText.delete(textOf(entry));
    return true;
  }

  /** Removes by content; false when there is none. */
  remove(match: AceMatch): boolean {
    const entry = this.#byText.get(textOf(match));
    return entry !== undefined && this.removeNumber(entry.seq);
  }

  /** Numbers all anew. */
  resequence(first: number, step: number): void {
    this.entries.forEach((entry, i) => entry.seq = first + i * step);
  }

  /** Counters from 0. */
  clearCounters(): void {
    for (const entry of this.entries) entry.packets = entry.bytes = 0;
  }

  /** The first entry that matches, which counts the packets. */
  match(packet: Packet, packets = 1, bytes = 0): Ace | undefined {
    const entry = this.entries.find((candidate) => matches(candidate, packet));
    if (entry !== undefined && this.counting) {
      entry.packets += packets;
      entry.bytes += bytes;
    }
    return entry;
  }

  #place(seq: number): number {
    let low = 0;
    let high = this.entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.entries[middle] as Ace).seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** All ACLs of a device, and what fits into its hardware. */
export class AclStore {
  /** Entries that fit, for each address family. */
  capacity: number;
  #acls = new Map<string, Acl>();

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** All ACLs. */
  get all(): Acl[] {
    return [...this.#acls.values()];
  }

  /** An ACL, or undefined. */
  get(family: 4 | 6, name: string): Acl | undefined {
    return this.#acls.get(`${family} ${name}`);
  }

  /** An ACL, made when it is not there. */
  make(family: 4 | 6, name: string): Acl {
    const key = `${family} ${name}`;
    const acl = this.#acls.get(key) ?? new Acl(name, family);
    this.#acls.set(key, acl);
    return acl;
  }

  /** Removes an ACL. */
  delete(family: 4 | 6, name: string): boolean {
    return this.#acls.delete(`${family} ${name}`);
  }

  /** Entries in use. */
  used(family: 4 | 6): number {
    let n = 0;
    for (const acl of this.#acls.values()) if (acl.family === family) n += acl.entries.length;
    return n;
  }

  /** True when no other entry fits. */
  full(family: 4 | 6): boolean {
    return this.used(family) >= this.capacity;
  }

  /** A copy, for a candidate or for the start-up configuration. */
  copy(): AclStore {
    const copy = new AclStore(this.capacity);
    for (const [key, acl] of this.#acls) copy.#acls.set(key, acl.copy());
    return copy;
  }

  /** Takes copies of the ACLs of another store, as a commit or a reboot does. */
  take(other: AclStore): void {
    this.#acls = other.copy().#acls;
  }
}

function matches(entry: Ace, packet: Packet): boolean {
  if (entry.proto !== "ip" && entry.proto !== "ipv6" && entry.proto !== packet.proto) return false;
  return inRange(packet.source, entry.source) && inRange(packet.destination, entry.destination) &&
    inPorts(packet.sourcePort, entry.sourcePorts) &&
    inPorts(packet.destinationPort, entry.destinationPorts);
}

function inPorts(port: number, range: PortRange | undefined): boolean {
  return range === undefined || (port >= range.first && port <= range.last);
}

/** A text that is equal for entries that match the same: counting is no part of that. */
export function textOf(match: AceMatch): string {
  const range = ({ first, last }: IpRange) =>
    compareIp(first, last) === 0 ? first.text : `${first.text}-${last.text}`;
  const ports = (p: PortRange | undefined) => p === undefined ? "" : ` ${p.first}-${p.last}`;
  return `${match.action} ${match.proto} ${range(match.source)}${ports(match.sourcePorts)} ` +
    `${range(match.destination)}${ports(match.destinationPorts)} ${
      match.options.filter((o) => o !== "count").join(" ")
    }`;
}
