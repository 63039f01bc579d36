/**
 * Which pinholes the multiport sessions of a capture would have needed. FTP control connections are read;
 * for all other protocols, encrypted ones too, a later connection between the hosts of a living
 * control connection, to a port that nobody else uses, is taken for an auxiliary one.
 *
 * @module
 */
import { commandPort, ControlLines, endsTransfer, replyPort } from "./ftp_control.ts";
import type { IpAddress } from "./ip.ts";
import { type Packet, TCP } from "./packet.ts";

/** A pinhole that would have been needed. Times in seconds since the epoch. */
export interface NeededPinhole {
  readonly protocol: "tcp" | "udp";
  /** Who connects, or is expected to. */
  readonly source: IpAddress;
  /** Whose port it is. */
  readonly destination: IpAddress;
  readonly port: number;
  /** How it was found. */
  readonly found: "ftp" | "learned";
  readonly opened: number;
  /** Undefined while it is open, at the end of the capture too. */
  readonly closed: number | undefined;
  /** A connection came for it. */
  readonly used: boolean;
}

interface Hole extends NeededPinhole {
  closed: number | undefined;
  used: boolean;
}

interface Flow {
  readonly protocol: "tcp" | "udp";
  /** Who began it, as a key, with its port. */
  readonly client: string;
  readonly clientPort: number;
  readonly server: string;
  readonly clientAddress: IpAddress;
  readonly serverAddress: IpAddress;
  readonly port: number;
  /** The pair of hosts, when it is a control connection. */
  pair: Pair | undefined;
  /** The pinhole that it came in by. */
  hole: Hole | undefined;
  ftp: FtpState | undefined;
  last: number;
  /** Directions in which it was closed: 1 by the client, 2 by the server. */
  closed: number;
  ended: boolean;
}

interface FtpState {
  readonly commands: ControlLines;
  readonly replies: ControlLines;
  /** What was agreed on last, when nobody has come for it yet. */
  waiting: { readonly key: string; readonly hole: Hole } | undefined;
}

/** Living control connections between two hosts. */
interface Pair {
  readonly key: string;
  living: number;
}

const FTP_PORT = 21;
/** Ports below are services that everybody may know. */
const FIRST_FREE_PORT = 1024;
/** Seconds of silence after which a connection is taken for ended, as conntrack has them. */
const IDLE = { tcp: 5 * 86_400, udp: 60 } as const;
/** Seconds for which an ended connection is remembered, so that late packets do not begin another. */
const REMEMBERED = 120;
/** Seconds of capture time between clean-ups. */
const CLEANING = 60;
/** Most connections and most services remembered; more make the oldest be forgotten. */
const MOST_FLOWS = 1 << 19;

/** Follows the connections of a capture. */
export class MultiportMeter {
  /** All pinholes that would have been needed, in order of opening. */
  readonly pinholes: NeededPinhole[] = [];
  /** Connections that were taken for control connections. */
  controls = 0;
  /** Packets with ports that were looked at. */
  packets = 0;
  /** When the first packet came; undefined before it. */
  first: number | undefined;
  /** The latest time seen. */
  last = 0;
  readonly #flows = new Map<string, Flow>();
  readonly #pairs = new Map<string, Pair>();
  /** Who uses a port of a host: one other host, or "" for several. */
  readonly #services = new Map<string, string>();
  /** Pinholes that wait for their connection. */
  readonly #expected = new Map<string, Hole>();
  #nextCleaning = 0;

  /**
   * Takes a packet.
   *
   * @param time seconds since the epoch; may go back a little, as captures do.
   */
  packet(p: Packet, time: number): void {
    if (!p.hasPorts) return;
    this.packets++;
    this.first ??= time;
    this.last = Math.max(this.last, time);
    if (this.last >= this.#nextCleaning) this.#clean();
    const [a, b] = hosts(p);
    const forward = a < b || (a === b && p.sourcePort <= p.destinationPort);
    const protocol = p.isTcp ? "tcp" : "udp";
    const key = forward
      ? `${protocol}|${a}|${p.sourcePort}|${b}|${p.destinationPort}`
      : `${protocol}|${b}|${p.destinationPort}|${a}|${p.sourcePort}`;
    let flow = this.#flows.get(key);
    const begins = p.isTcp && (p.tcpFlags & (TCP.SYN | TCP.ACK)) === TCP.SYN;
    if (flow === undefined || (flow.ended && (begins || !p.isTcp))) {
      if (p.isTcp && (p.tcpFlags & TCP.RST) !== 0) return;
      flow = this.#begin(p, a, b, protocol);
      this.#flows.delete(key);
      this.#flows.set(key, flow);
      if (this.#flows.size > MOST_FLOWS) this.#forgetOldest();
    }
    flow.last = this.last;
    if (flow.ended || !p.isTcp) return;
    const fromClient = a === flow.client && p.sourcePort === flow.clientPort;
    if (flow.ftp !== undefined && p.payloadEnd > p.payload) this.#control(flow, p, fromClient);
    if ((p.tcpFlags & TCP.RST) !== 0) this.#end(flow, this.last);
    else if ((p.tcpFlags & TCP.FIN) !== 0) {
      flow.closed |= fromClient ? 1 : 2;
      if (flow.closed === 3) this.#end(flow, this.last);
    }
  }

  #begin(p: Packet, a: string, b: string, protocol: "tcp" | "udp"): Flow {
    // A connection whose beginning is not in the capture: who answers is the server.
    const middle = p.isTcp && (p.tcpFlags & TCP.SYN) === 0;
    const answers = p.isTcp && (p.tcpFlags & (TCP.SYN | TCP.ACK)) === (TCP.SYN | TCP.ACK);
    const turned = answers || (middle && p.sourcePort < p.destinationPort);
    const flow: Flow = {
      protocol,
      client: turned ? b : a,
      clientPort: turned ? p.destinationPort : p.sourcePort,
      server: turned ? a : b,
      clientAddress: turned ? p.destination() : p.source(),
      serverAddress: turned ? p.source() : p.destination(),
      port: turned ? p.sourcePort : p.destinationPort,
      pair: undefined,
      hole: undefined,
      ftp: undefined,
      last: this.last,
      closed: 0,
      ended: false,
    };
    const service = `${protocol}|${flow.server}|${flow.port}`;
    const before = this.#services.get(service);
    this.#services.set(service, before === undefined || before === flow.client ? flow.client : "");
    const pairKey = flow.client < flow.server
      ? `${flow.client}|${flow.server}`
      : `${flow.server}|${flow.client}`;
    const expected = this.#take(holeKey(flow.protocol, flow.client, flow.server, flow.port));
    if (expected !== undefined) {
      expected.used = true;
      flow.hole = expected;
      return flow;
    }
    let pair = this.#pairs.get(pairKey);
    const free = before === undefined && flow.port >= FIRST_FREE_PORT;
    if (pair !== undefined && !middle && free) {
      flow.hole = this.#open(flow, "learned", flow.clientAddress, flow.serverAddress, flow.port);
      flow.hole.used = true;
      return flow;
    }
    if (pair === undefined) this.#pairs.set(pairKey, pair = { key: pairKey, living: 0 });
    pair.living++;
    flow.pair = pair;
    this.controls++;
    if (protocol === "tcp" && flow.port === FTP_PORT) {
      flow.ftp = {
        commands: new ControlLines(),
        replies: new ControlLines(),
        waiting: undefined,
      };
    }
    return flow;
  }

  #control(flow: Flow, p: Packet, fromClient: boolean): void {
    const ftp = flow.ftp as FtpState;
    const bytes = p.data.subarray(p.payload, p.payloadEnd);
    const lines = (fromClient ? ftp.commands : ftp.replies).push(p.sequence, bytes);
    for (const line of lines) {
      const agreed = fromClient ? commandPort(line) : replyPort(line);
      if (agreed !== undefined) {
        this.#giveUp(ftp);
        // Passive: the server's port is for the client. Active: the client's port is for the server.
        const [source, own] = fromClient
          ? [flow.serverAddress, flow.clientAddress]
          : [flow.clientAddress, flow.serverAddress];
        // A passive server behind NAT may name an address that nobody knows; a client names its own.
        const destination = fromClient ? agreed.address ?? own : own;
        const hole = this.#open(flow, "ftp", source, destination, agreed.port);
        const key = holeKey("tcp", hostKey(source), hostKey(destination), agreed.port);
        this.#expected.set(key, hole);
        ftp.waiting = { key, hole };
      } else if (!fromClient && endsTransfer(line)) this.#giveUp(ftp);
    }
  }

  #open(
    flow: Flow,
    found: "ftp" | "learned",
    source: IpAddress,
    destination: IpAddress,
    port: number,
  ): Hole {
    const hole: Hole = {
      protocol: flow.protocol,
      source,
      destination,
      port,
      found,
      opened: this.last,
      closed: undefined,
      used: false,
    };
    this.pinholes.push(hole);
    return hole;
  }

  /** Nobody came for what was agreed on last. */
  #giveUp(ftp: FtpState): void {
    const { waiting } = ftp;
    ftp.waiting = undefined;
    if (waiting === undefined || waiting.hole.used) return;
    waiting.hole.closed = this.last;
    if (this.#expected.get(waiting.key) === waiting.hole) this.#expected.delete(waiting.key);
  }

  #take(key: string): Hole | undefined {
    const hole = this.#expected.get(key);
    this.#expected.delete(key);
    return hole;
  }

  #end(flow: Flow, time: number): void {
    if (flow.ended) return;
    flow.ended = true;
    if (flow.hole !== undefined) flow.hole.closed = Math.max(flow.hole.opened, time);
    if (flow.ftp !== undefined) this.#giveUp(flow.ftp);
    if (flow.pair !== undefined && --flow.pair.living === 0) this.#pairs.delete(flow.pair.key);
  }

  #clean(): void {
    this.#nextCleaning = this.last + CLEANING;
    for (const [key, flow] of this.#flows) {
      const silent = this.last - flow.last;
      if (!flow.ended && silent > IDLE[flow.protocol]) this.#end(flow, flow.last);
      if (flow.ended && silent > REMEMBERED) this.#flows.delete(key);
    }
    if (this.#services.size > MOST_FLOWS) this.#services.clear();
  }

  #forgetOldest(): void {
    for (const [key, flow] of this.#flows) {
      this.#end(flow, flow.last);
      this.#flows.delete(key);
      if (this.#flows.size <= MOST_FLOWS * 0.9) return;
    }
  }
}

function holeKey(protocol: string, source: string, destination: string, port: number): string {
  return `${protocol}|${source}|${destination}|${port}`;
}

/** Both hosts as keys of maps. */
function hosts(p: Packet): [string, string] {
  if (p.version === 4) return [p.source4.toString(36), p.destination4.toString(36)];
  const { data, addresses: at } = p;
  return [key6(data, at), key6(data, at + 16)];
}

function hostKey(address: IpAddress): string {
  const b = address.bytes;
  if (address.family === 6) return key6(b, 0);
  const [w, x, y, z] = b as unknown as [number, number, number, number];
  return (((w << 24) | (x << 16) | (y << 8) | z) >>> 0).toString(36);
}

function key6(data: Uint8Array, at: number): string {
  let key = ":";
  for (let i = at; i < at + 16; i += 2) {
    key += String.fromCharCode(((data[i] as number) << 8) | (data[i + 1] as number));
  }
  return key;
}
