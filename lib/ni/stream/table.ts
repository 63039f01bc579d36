/**
 * All shadowed connections: finds that of a packet, makes new ones, gives old ones up, within bounds.
 *
 * @module
 */
import { Packet, PROTOCOL, TCP, u32 } from "../../net/packet.ts";
import type { FrameMemory } from "../../sys/packet_socket.ts";
import { type Direction, timestamp } from "../frame.ts";
import { HeldFrames } from "../held_frames.ts";
import { Arrival, type ForwardFrame, type FrameTimes } from "./arrival.ts";
import { PiecePool } from "./byte_store.ts";
import { Connection } from "./connection.ts";
import type { StreamContext, StreamCounters, StreamSettings } from "./context.ts";
import { ConnectionEnds } from "./ends.ts";
import { Fragments } from "./fragments.ts";
import { checksumState, isUnfinished } from "./rewrite.ts";
import {
  type ConnectionFacts,
  type StreamReader,
  type Subscription,
  subscription,
} from "./subscriber.ts";
import { TcpOptions } from "./tcp_options.ts";

/** Bounds of all streams of an NI. */
export interface TableSettings extends StreamSettings {
  /** Bytes of all connections together. */
  readonly bytes: number;
  readonly connections: number;
  /** Packets that wait for verdicts. */
  readonly heldFrames: number;
}

/** Bounds that are not told. */
export const USUAL_STREAMS: TableSettings = {
  streamBytes: 8 * 1024 * 1024,
  overlap: "first",
  leastTtl: 32,
  urgent: "inline",
  smallCut: 16,
  smallCuts: 8,
  replay: false,
  bytes: 128 * 1024 * 1024,
  connections: 65_536,
  heldFrames: 8192,
};

/** What is wanted of a connection: `refuse` that it does not come to be. */
export type Interest = "none" | "read" | "contain" | "refuse";

/** Who reads what. */
export interface StreamPolicy {
  /** Some reader decides about bytes. */
  readonly mayContain: boolean;
  /** Some reader wants connections to this port. Called for each packet. */
  wants(port: number): boolean;
  /** What is wanted of connections between these. `client` is the direction of what the client sends. */
  interest(
    p: Packet,
    clientPort: number,
    serverPort: number,
    client: Direction,
    clientFirst: boolean,
  ): Interest;
  /** Readers of a connection that is established; undefined: it may not be. */
  readers(facts: ConnectionFacts, connection: Connection): readonly StreamReader[] | undefined;
  /** A reader has not decided for too long. */
  late(reader: StreamReader): void;
}

/** What the table tells. */
export interface TableOutput {
  readonly forward: ForwardFrame;
  event(event: Readonly<Record<string, unknown>>): void;
}

/** Milliseconds of silence after which a connection is given up. */
const SILENCE = { opening: 30_000, open: 2 * 3600_000, halfClosed: 600_000, over: 15_000 };
/** Milliseconds between two looks. */
const SWEEP = 1000;
/** Alerts a second that are told of; more are counted. */
const MOST_ALERTS = 50;

const EXTENSIONS: ReadonlySet<number> = new Set([
  PROTOCOL.HOP_BY_HOP,
  PROTOCOL.ROUTING,
  PROTOCOL.DESTINATION,
  PROTOCOL.AUTHENTICATION,
  PROTOCOL.MOBILITY,
]);

/** Connections. */
export class StreamTable {
  readonly counters: StreamCounters = {
    connections: 0,
    open: 0,
    packets: 0,
    bytes: 0,
    rejected: 0,
    conflicts: 0,
    relayed: 0,
    cutBytes: 0,
    injectedBytes: 0,
    killed: 0,
    retransmitted: 0,
  };
  readonly #settings: TableSettings;
  readonly #policy: StreamPolicy;
  readonly #output: TableOutput;
  readonly #context: StreamContext;
  readonly #packet = new Packet();
  readonly #arrival: Arrival;
  readonly #held: HeldFrames;
  readonly #pool: PiecePool;
  readonly #fragments: Fragments;
  readonly #connections = new Map<number, Connection>();
  readonly #timed = new Set<Connection>();
  /** Attackers do not know it, so that they cannot make all connections fall on one place. */
  readonly #seed = crypto.getRandomValues(new Uint32Array(1))[0] as number;
  readonly #readers = new WeakMap<
    StreamReader,
    { connection: Connection; subscription: Subscription }
  >();
  #last: Connection | undefined;
  #size = 0;
  #number = 0;
  #nextSweep = 0;
  #alerts = 0;
  #alertSecond = 0;

  constructor(
    linkType: number,
    policy: StreamPolicy,
    output: TableOutput,
    settings: TableSettings = USUAL_STREAMS,
  ) {
    this.#settings = settings;
    this.#policy = policy;
    this.#output = output;
    this.#held = new HeldFrames(settings.heldFrames);
    this.#pool = new PiecePool(settings.bytes);
    this.#arrival = new Arrival(this.#packet, this.#held, output.forward);
    this.#fragments = new Fragments((frames) => {
      for (const frame of frames) this.#held.release(frame);
    });
    this.#context = {
      now: 0,
      pool: this.#pool,
      held: this.#held,
      settings,
      options: new TcpOptions(),
      linkType,
      counters: this.counters,
      forward: output.forward,
      alert: (connection, signature, detail) => this.#alert(connection, signature, detail),
      opened: (connection) => this.#opened(connection),
      timer: (connection) => this.#timer(connection),
    };
  }

  /** Connections that are remembered, those that are over too. */
  get size(): number {
    return this.#size;
  }

  /** Bytes that are held of all connections. */
  get bytes(): number {
    return this.#pool.used;
  }

  /** It is this time now. Milliseconds since the epoch. */
  setTime(now: number): void {
    this.#context.now = now;
  }

  /** Takes a frame, and forwards it now, later or never. */
  frame(
    memory: FrameMemory,
    start: number,
    end: number,
    direction: Direction,
    at: FrameTimes,
  ): void {
    const p = this.#packet.decode(memory.data, start, end, this.#context.linkType);
    const arrival = this.#arrival;
    arrival.set(memory, start, end, direction, at);
    if (p.version === 0) return arrival.forward();
    if (p.protocol !== PROTOCOL.TCP) {
      // A first fragment has all headers (RFC 7112): what is behind those that it lacks, nobody could tell.
      const hidden = p.fragment && p.fragmentOffset === 0 && EXTENSIONS.has(p.protocol);
      if (hidden && this.#policy.mayContain) return this.#broken(arrival);
      return arrival.forward();
    }
    if (p.fragment) return this.#fragment(p, arrival, direction);
    if (!p.isTcp) return arrival.forward();
    this.#tcp(p, arrival, checksumState(memory.data, start) === "unknown");
  }

  /** Gives readers what they could not take before. */
  resume(reader: StreamReader): void {
    const entry = this.#readers.get(reader);
    if (entry === undefined) return;
    entry.connection.deliver(0);
    entry.connection.deliver(1);
  }

  /** The connection that a reader reads. */
  connectionOf(
    reader: StreamReader,
  ): { connection: Connection; subscription: Subscription } | undefined {
    return this.#readers.get(reader);
  }

  /** A reader goes: what it has not decided passes, or the connection is killed. */
  leave(reader: StreamReader, kill: boolean): void {
    const entry = this.#readers.get(reader);
    if (entry === undefined) return;
    this.#readers.delete(reader);
    if (kill && reader.contain) entry.connection.kill();
    else entry.connection.release(entry.subscription);
  }

  /** The earliest time at which {@link work} has something to do. */
  nextWork(): number | undefined {
    let next: number | undefined;
    for (const { deadline } of this.#timed) {
      if (deadline !== undefined && (next === undefined || deadline < next)) next = deadline;
    }
    return next;
  }

  /** Retransmits, and gives up what is silent. */
  work(): void {
    const { now } = this.#context;
    for (const connection of this.#timed) {
      if (connection.deadline === undefined) this.#timed.delete(connection);
      else if (connection.deadline <= now) connection.work();
    }
    if (now < this.#nextSweep) return;
    this.#nextSweep = now + SWEEP;
    this.#fragments.expire(now);
    this.#sweep(now);
  }

  /** Time has passed, and nothing else. */
  tick(now: number): void {
    this.setTime(now);
    this.work();
  }

  /** What was forwarded has been sent. */
  settle(): void {
    this.#held.settle();
  }

  /** All connections are over, since the NI ends. */
  close(): void {
    for (const connection of this.#all()) connection.end("timeout");
  }

  *#all(): Iterable<Connection> {
    for (const first of this.#connections.values()) {
      for (let c: Connection | undefined = first; c !== undefined; c = c.next) yield c;
    }
  }

  #fragment(p: Packet, arrival: Arrival, direction: Direction): void {
    if (!p.networkChecksumHolds()) return this.#broken(arrival);
    const result = this.#fragments.add(arrival, this.#context.now);
    if (result === "bad") return this.#broken(arrival);
    if (result === "waits") return;
    const { memory, end, frames } = this.#fragments;
    p.decode(memory, 0, end, this.#context.linkType);
    arrival.setFragments(frames, direction);
    if (!p.isTcp) return arrival.forward();
    this.#tcp(p, arrival, true);
  }

  /** A packet that every receiver throws away. */
  #broken(arrival: Arrival): void {
    this.counters.rejected++;
    arrival.drop();
  }

  #tcp(p: Packet, arrival: Arrival, check: boolean): void {
    const { wants } = this.#policy;
    if (!wants.call(this.#policy, p.destinationPort) && !wants.call(this.#policy, p.sourcePort)) {
      return arrival.forward();
    }
    this.counters.packets++;
    // Mostly another packet of the same connection.
    const last = this.#last;
    const same = last !== undefined && last.ends.are(p);
    const hash = same ? last.hash : this.#hash(p);
    let connection = same ? last : this.#find(hash, p);
    const syn = (p.tcpFlags & (TCP.SYN | TCP.ACK)) === TCP.SYN;
    if (connection !== undefined && !this.#comesFromItsSide(connection, p, arrival)) {
      this.#alert(connection, "packet from the wrong side");
      this.counters.rejected++;
      if (connection.contained) arrival.drop();
      else arrival.forward();
      return;
    }
    if (connection !== undefined && syn && this.#isReplaced(connection, p, arrival.direction)) {
      this.#remove(connection);
      connection = undefined;
    }
    if (connection === undefined) {
      const made = this.#make(p, arrival, hash, syn);
      if (made === undefined) return;
      connection = made;
    }
    if (p.malformed !== "none" && connection.contained) {
      this.#alert(connection, "malformed packet", { what: p.malformed });
      return this.#broken(arrival);
    }
    if (check && !this.#checksumsHold(p, connection, arrival.direction)) {
      this.#alert(connection, "wrong checksum");
      this.counters.rejected++;
      if (connection.contained) arrival.drop();
      else arrival.forward();
      return;
    }
    this.#last = connection;
    connection.packet(arrival);
    if (connection.contained && connection.deadline === undefined) this.#timer(connection);
  }

  /** Of a capture, the addresses tell the side; otherwise the side is known, and addresses may be forged. */
  #comesFromItsSide({ client, ends }: Connection, p: Packet, arrival: Arrival): boolean {
    const side = ends.fromClient(p) === (client === 0) ? "from-host" : "to-host";
    if (side === arrival.direction) return true;
    if (!this.#settings.replay) return false;
    arrival.turn(side);
    return true;
  }

  #checksumsHold(p: Packet, { flows }: Connection, direction: Direction): boolean {
    const network = p.networkChecksumHolds();
    const transport = p.transportChecksumHolds() || isUnfinished(p);
    if (!this.#settings.replay) return network && transport;
    // Addresses of captures are often changed before they are given away, and checksums are not: what does not hold in
    // the first packet of a sender says nothing about its others.
    const flow = flows[direction === "from-host" ? 0 : 1];
    flow.checked ??= { network, transport };
    return (network || !flow.checked.network) && (transport || !flow.checked.transport);
  }

  /** The same addresses and ports again are another connection, when the one before is over or only read. */
  #isReplaced(connection: Connection, p: Packet, direction: Direction): boolean {
    const flow = connection.flows[direction === "from-host" ? 0 : 1];
    const same = flow.known && flow.base === ((p.sequence + 1) >>> 0);
    const isOver = connection.state !== "open" && connection.state !== "opening";
    if (same) return isOver && !this.#settings.replay;
    return isOver || (flow.known && !connection.contained);
  }

  #make(p: Packet, arrival: Arrival, hash: number, syn: boolean): Connection | undefined {
    // Who sends the first packet of a connection that began before is told by the ports.
    const synAck = (p.tcpFlags & (TCP.SYN | TCP.ACK)) === (TCP.SYN | TCP.ACK);
    const { destinationPort, sourcePort } = p;
    let fromClient = !synAck;
    if (!syn && !synAck) {
      const [there, here] = [this.#policy.wants(destinationPort), this.#policy.wants(sourcePort)];
      fromClient = there === here ? destinationPort <= sourcePort : there;
    }
    const back = arrival.direction === "from-host" ? "to-host" : "from-host";
    const client = fromClient ? arrival.direction : back;
    const interest = this.#policy.interest(
      p,
      fromClient ? sourcePort : destinationPort,
      fromClient ? destinationPort : sourcePort,
      client,
      fromClient,
    );
    if (interest === "none") {
      arrival.forward();
      return undefined;
    }
    if (interest === "refuse" || (this.#size >= this.#settings.connections && !this.#makeRoom())) {
      if (interest === "read") arrival.forward();
      else arrival.drop();
      return undefined;
    }
    const connection = new Connection(
      this.#number++,
      new ConnectionEnds(p, fromClient),
      hash,
      client === "from-host" ? 0 : 1,
      this.#context,
    );
    connection.contained = interest === "contain";
    connection.next = this.#connections.get(hash);
    this.#connections.set(hash, connection);
    this.#size++;
    this.counters.connections++;
    this.counters.open++;
    return connection;
  }

  #opened(connection: Connection): void {
    const facts: ConnectionFacts = {
      number: connection.number,
      ...connection.ends.endpoints(),
      clientDirection: connection.client === 0 ? "from-host" : "to-host",
      midstream: connection.midstream,
    };
    const readers = this.#policy.readers(facts, connection);
    if (readers === undefined) return connection.kill();
    connection.contained = readers.some(({ contain }) => contain);
    for (const reader of readers) {
      const entry = subscription(reader);
      this.#readers.set(reader, { connection, subscription: entry });
      connection.subscribe(entry);
    }
  }

  #timer(connection: Connection): void {
    connection.deadline = connection.nextWork();
    if (connection.deadline !== undefined) this.#timed.add(connection);
  }

  #sweep(now: number): void {
    for (const connection of this.#all()) {
      const { state, flows } = connection;
      const half = flows[0].finAt !== undefined || flows[1].finAt !== undefined;
      const limit = state === "opening"
        ? SILENCE.opening
        : state !== "open"
        ? SILENCE.over
        : half
        ? SILENCE.halfClosed
        : SILENCE.open;
      if (!this.#settings.replay && now - connection.seen > limit) {
        connection.end("timeout");
        this.#remove(connection);
        continue;
      }
      const late = state === "open" ? connection.late() : undefined;
      if (late !== undefined) this.#policy.late(late.reader);
    }
  }

  /** Gives up the connection that is the least loss: one that is over, or was never established. */
  #makeRoom(): boolean {
    let oldest: Connection | undefined;
    for (const connection of this.#all()) {
      if (connection.state === "open") continue;
      if (oldest === undefined || connection.seen < oldest.seen) oldest = connection;
      if (connection.state !== "opening") break;
    }
    if (oldest === undefined) return false;
    oldest.end("limit");
    this.#remove(oldest);
    return true;
  }

  #remove(connection: Connection): void {
    const { hash } = connection;
    connection.end("closed");
    this.#timed.delete(connection);
    if (this.#last === connection) this.#last = undefined;
    this.#size--;
    const first = this.#connections.get(hash);
    if (first === connection) {
      if (connection.next === undefined) this.#connections.delete(hash);
      else this.#connections.set(hash, connection.next);
      return;
    }
    for (let c = first; c !== undefined; c = c.next) {
      if (c.next === connection) {
        c.next = connection.next;
        return;
      }
    }
  }

  /** The same for both directions. */
  #hash(p: Packet): number {
    const { data, addresses } = p;
    let sum = 0;
    const words = p.version === 4 ? 1 : 4;
    for (let i = 0; i < 2 * words; i++) {
      // Both ends' words are mixed alike and added, so that their order does not matter.
      sum = (sum + mix(u32(data, addresses + i * 4) ^ this.#seed ^ (i % words))) | 0;
    }
    return sum + mix(p.sourcePort ^ this.#seed) + mix(p.destinationPort ^ this.#seed) | 0;
  }

  #find(hash: number, p: Packet): Connection | undefined {
    for (let c = this.#connections.get(hash); c !== undefined; c = c.next) {
      if (c.ends.are(p)) return c;
    }
    return undefined;
  }

  #alert(
    connection: Connection,
    signature: string,
    detail: Readonly<Record<string, unknown>> = {},
  ): void {
    // Each finding once a connection, and not more than anybody would read.
    if (connection.alerted.has(signature)) return;
    connection.alerted.add(signature);
    const { now } = this.#context;
    const second = Math.floor(now / 1000);
    if (second !== this.#alertSecond) {
      this.#alertSecond = second;
      this.#alerts = 0;
    }
    if (++this.#alerts > MOST_ALERTS) return;
    this.#output.event({
      timestamp: timestamp(second, Math.floor((now % 1000) * 1e6)),
      event_type: "alert",
      ...connection.ends.fields(),
      alert: {
        signature,
        category: "Diaper",
        severity: 2,
        action: connection.contained ? "blocked" : "allowed",
      },
      scanner: "streams",
      detail,
    });
  }
}

/** Spreads the bits of a word (Murmur3's last step). */
function mix(word: number): number {
  let x = word;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}
