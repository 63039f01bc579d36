/**
 * Hosts that an administrator, or a reaction, has ordered to be contained at their NI: slowed down, kept to named
 * destinations, or blocked. Each order has an end, also when nobody is there any more to take it back.
 *
 * @module
 */
import { inRange, type IpAddress, type IpRange, parseIp, parsePrefix } from "../net/ip.ts";
import { type Packet, PROTOCOL, TCP } from "../net/packet.ts";
import type { Direction } from "./frame.ts";
import type { ContainmentText } from "./orders.ts";

/** What a host may still do. */
export type ContainmentKind =
  /** Begin so many connections, and send so many bytes, a second; undefined: without limit. */
  | {
    readonly verb: "slow";
    readonly connections: number | undefined;
    readonly bytes: number | undefined;
  }
  /** Exchange packets with these alone. */
  | { readonly verb: "filter"; readonly destinations: readonly IpRange[] }
  | { readonly verb: "block" };

/** An order about one host. */
export interface Containment {
  readonly host: IpAddress;
  readonly kind: ContainmentKind;
  /** Until when it holds, in milliseconds since the epoch. */
  readonly until: number;
  readonly reason: string;
  readonly owner: string;
}

/** An order that holds, for people. */
export interface ContainmentStatus {
  readonly host: string;
  readonly verb: ContainmentKind["verb"];
  readonly until: string;
  readonly reason: string;
  readonly owner: string;
  readonly dropped: number;
  readonly passed: number;
}

/** Hosts contained at most: an NI stands in front of one, or of a few. */
export const MOST_CONTAINED = 256;
/** Flows without connections (UDP and others) that are remembered of a slowed host. */
const MOST_FLOWS = 4096;
/** Messages of neighbour discovery (RFC 4861), without which a host loses its link. */
const NEIGHBOUR = { FIRST: 133, LAST: 137 } as const;

/** Lets so much through a second, and as much at once after a second's rest. */
class TokenBucket {
  readonly #rate: number;
  #tokens: number;
  #at: number;

  constructor(rate: number, now: number) {
    this.#rate = rate;
    this.#tokens = rate;
    this.#at = now;
  }

  take(count: number, now: number): boolean {
    // A clock that was set back gives nothing, and takes nothing.
    const passed = Math.max(0, now - this.#at) / 1000;
    this.#at = now;
    this.#tokens = Math.min(this.#rate, this.#tokens + passed * this.#rate);
    // What is larger than the rest goes on credit: a frame of an offloading host may be larger than the rate.
    if (this.#tokens < Math.min(count, 1)) return false;
    this.#tokens -= count;
    return true;
  }
}

interface Held {
  readonly order: Containment;
  readonly connections: TokenBucket | undefined;
  readonly bytes: TokenBucket | undefined;
  readonly flows: Set<string>;
  dropped: number;
  passed: number;
}

/** The hosts that are contained now. Times in milliseconds since the epoch. */
export class ContainedHosts {
  readonly #hosts = new Map<string, Held>();
  readonly #always: readonly IpRange[];

  /** @param always addresses that every host may reach: the administrator's. */
  constructor(always: readonly IpRange[] = []) {
    this.#always = always;
  }

  /** How many there are. */
  get size(): number {
    return this.#hosts.size;
  }

  /** Addresses of all, as filters of pcap-filter(7) that match their frames. */
  filters(): string[] {
    return [...this.#hosts.keys()].map((host) => `host ${host}`);
  }

  /**
   * Contains a host; the newest order about it is the one that holds.
   *
   * @throws {RangeError} when there are too many.
   */
  set(order: Containment, now: number): void {
    const key = order.host.text;
    if (!this.#hosts.has(key) && this.#hosts.size >= MOST_CONTAINED) {
      throw new RangeError(`Cannot contain more than ${MOST_CONTAINED} hosts`);
    }
    const { kind } = order;
    const bucket = (rate: number | undefined) =>
      rate === undefined ? undefined : new TokenBucket(rate, now);
    this.#hosts.set(key, {
      order,
      connections: kind.verb === "slow" ? bucket(kind.connections) : undefined,
      bytes: kind.verb === "slow" ? bucket(kind.bytes) : undefined,
      flows: new Set(),
      dropped: 0,
      passed: 0,
    });
  }

  /**
   * Carries out an order that is text.
   *
   * @returns why it cannot be.
   */
  obey(text: ContainmentText, now: number): string | undefined {
    const host = parseIp(text.host);
    if (host === undefined) return `${text.host} is not an address`;
    if (text.verb === "allow") {
      this.clear(host); // to let go who is free is done
      return undefined;
    }
    const destinations = (text.destinations ?? []).map(parsePrefix);
    if (destinations.includes(undefined)) return "a destination is not a prefix";
    if (!this.#hosts.has(host.text) && this.#hosts.size >= MOST_CONTAINED) {
      return `more than ${MOST_CONTAINED} hosts are contained`;
    }
    const { until, reason, owner } = text;
    const kind: ContainmentKind = text.verb === "slow"
      ? { verb: "slow", connections: text.connections, bytes: text.bytes }
      : text.verb === "filter"
      ? { verb: "filter", destinations: destinations.filter((range) => range !== undefined) }
      : { verb: "block" };
    this.set({ host, kind, until, reason, owner }, now);
    return undefined;
  }

  /** Lets a host go. False when it was not contained. */
  clear(host: IpAddress): boolean {
    return this.#hosts.delete(host.text);
  }

  /** Lets go whose time is over; their addresses. */
  expire(now: number): string[] {
    const over = [...this.#hosts].filter(([, { order }]) => order.until <= now);
    for (const [host] of over) this.#hosts.delete(host);
    return over.map(([host]) => host);
  }

  /** The earliest end; undefined when there is none. */
  nextEnd(): number | undefined {
    let next: number | undefined;
    for (const { order } of this.#hosts.values()) {
      if (next === undefined || order.until < next) next = order.until;
    }
    return next;
  }

  /** Whether a packet may pass, by the order about the host that it is of. */
  allows(p: Packet, direction: Direction, wireLength: number, now: number): boolean {
    if (this.#hosts.size === 0 || p.version === 0) return true;
    const fromHost = direction === "from-host";
    const host = fromHost ? p.source() : p.destination();
    const held = this.#hosts.get(host.text);
    if (held === undefined || held.order.until <= now) return true;
    const peer = fromHost ? p.destination() : p.source();
    const allowed = isNeighbourDiscovery(p) || within(peer, this.#always) ||
      this.#judge(held, p, peer, fromHost, wireLength, now);
    if (allowed) held.passed++;
    else held.dropped++;
    return allowed;
  }

  /** All orders that hold. */
  status(): ContainmentStatus[] {
    return [...this.#hosts].map(([host, { order, dropped, passed }]) => ({
      host,
      verb: order.kind.verb,
      until: new Date(order.until).toISOString(),
      reason: order.reason,
      owner: order.owner,
      dropped,
      passed,
    }));
  }

  #judge(
    held: Held,
    p: Packet,
    peer: IpAddress,
    fromHost: boolean,
    wireLength: number,
    now: number,
  ): boolean {
    const { kind } = held.order;
    if (kind.verb === "block") return false;
    if (kind.verb === "filter") return within(peer, kind.destinations);
    // Answers to what it was let begin come to it; what it sends is counted.
    if (!fromHost) return true;
    if (held.connections !== undefined && begins(p, held.flows)) {
      if (!held.connections.take(1, now)) return false;
      remember(p, held.flows);
    }
    return held.bytes === undefined || held.bytes.take(wireLength, now);
  }
}

function within(address: IpAddress, ranges: readonly IpRange[]): boolean {
  return ranges.some((range) => inRange(address, range));
}

function isNeighbourDiscovery(p: Packet): boolean {
  if (p.protocol !== PROTOCOL.ICMPV6 || p.fragment || p.networkEnd <= p.transport) return false;
  const type = p.data[p.transport] as number;
  return type >= NEIGHBOUR.FIRST && type <= NEIGHBOUR.LAST;
}

/** Whether the packet begins something: a connection of TCP, or a flow that was not seen before. */
function begins(p: Packet, flows: ReadonlySet<string>): boolean {
  if (p.isTcp) return (p.tcpFlags & (TCP.SYN | TCP.ACK)) === TCP.SYN;
  // A later fragment belongs to a first one, which was counted.
  if (p.fragment && p.fragmentOffset > 0) return false;
  return !flows.has(flowOf(p));
}

function remember(p: Packet, flows: Set<string>): void {
  if (p.isTcp) return;
  flows.add(flowOf(p));
  if (flows.size <= MOST_FLOWS) return;
  for (const oldest of flows) {
    flows.delete(oldest);
    return;
  }
}

function flowOf(p: Packet): string {
  const ports = p.hasPorts ? `${p.sourcePort} ${p.destinationPort}` : "";
  return `${p.protocol} ${p.destination().text} ${ports}`;
}
