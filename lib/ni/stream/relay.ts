/**
 * What the kernel writes of a connection itself. After the first change both directions are relayed: towards each end the
 * kernel speaks in the other one's name, with its addresses, sequence numbers, time stamps and window. What a sender is
 * told to be acknowledged, the true receiver has acknowledged, unless a scanner needs more (CMU-CS-02-144, section 4.3).
 *
 * @module
 */
import { type Packet, TCP } from "../../net/packet.ts";
import { FrameRef } from "../frame.ts";
import { ByteStore } from "./byte_store.ts";
import type { Connection } from "./connection.ts";
import type { StreamContext } from "./context.ts";
import type { Flow } from "./flow.ts";
import { dropHeld } from "./held_packets.ts";
import type { Range } from "./ranges.ts";
import { ACCEPTED } from "./reassembly.ts";
import { LEAD, put32 } from "./segment_writer.ts";
import { type OutgoingSegment, Sender } from "./sender.ts";
import type { TcpOptions } from "./tcp_options.ts";

/** Payload of a segment when the receiver has not told what it takes (RFC 9293 3.7.1, RFC 8200 8.3). */
const USUAL_MSS = { 4: 536, 6: 1220 } as const;
/** What time stamps take of a segment. */
const TIMESTAMPS = 12;
const MOST_WINDOW = 65_535;
const SACK_BLOCKS = 3;

const scratch = new Uint8Array(66 * 1024);
const copyBuffer = new Uint8Array(64 * 1024);
const frame = new FrameRef();
/** Numbers of frames that the kernel made, apart from all others. */
let made = 0;

/** The kernel's own part in a connection. */
export class Relay {
  readonly #connection: Connection;
  readonly #context: StreamContext;
  #retransmitted = 0;

  constructor(connection: Connection, context: StreamContext) {
    this.#connection = connection;
    this.#context = context;
  }

  /** Both streams were delivered to their ends. */
  get isFinished(): boolean {
    return this.#connection.flows.every((flow) =>
      flow.sender?.finished === true && flow.finAt !== undefined && flow.ackSent > flow.finAt
    );
  }

  /** Takes over delivery, from where it stands. */
  begin(): void {
    const { flows } = this.#connection;
    for (const i of [0, 1] as const) {
      const flow = flows[i];
      const { bytes } = flow;
      dropHeld(flow, this.#context);
      const frontier = Math.min(this.#connection.frontier(i), bytes.next);
      const { acked } = flow;
      const end = Math.min(acked, flow.finAt ?? Infinity);
      // What went on and was not acknowledged may have to be sent again.
      const sent = Math.max(end, Math.min(flow.forwarded, bytes.next, flow.finAt ?? Infinity));
      const store = new ByteStore(this.#context.pool, Math.min(end, sent));
      flow.sender = new Sender(store, {
        una: end,
        nxt: sent,
        end: sent,
        edge: this.#context.settings.replay ? Infinity : flow.edge ?? end,
        mss: this.#mss(i),
        window: this.#context.settings.replay ? Infinity : 0,
      });
      copy(bytes.store, end, sent, store, end);
      flow.processed = sent;
      flow.ackSent = acked;
      flow.edgeSent = flow.edge ?? acked;
      if (flow.finAt === sent && frontier >= sent && (flow.forwarded > sent || acked > sent)) {
        flow.sender.finWasSent();
        if (acked > sent) flow.sender.una = acked;
      }
    }
    for (const i of [0, 1] as const) this.advance(i);
  }

  /** The receiver of a stream says what it has. False when that was never sent. */
  acknowledged(
    flow: Flow,
    acknowledgement: number,
    window: number,
    options: TcpOptions,
    bare: boolean,
  ): boolean {
    const sender = flow.sender as Sender;
    if (this.#context.settings.replay) return this.#replayed(flow, acknowledgement, window);
    const ack = flow.offset(acknowledgement, sender.una);
    const sacked: Range[] = [];
    for (let i = 0; i < options.sackBlocks; i++) {
      sacked.push({
        start: flow.offset(options.sack[i * 2] as number, sender.una),
        end: flow.offset(options.sack[i * 2 + 1] as number, sender.una),
      });
    }
    const emit = this.#emitter(flow);
    if (!sender.acknowledge(ack, ack + window, sacked, bare, this.#context.now, emit)) return false;
    if (flow.probed && bare) {
      flow.probed = false;
      flow.ackDue = true;
    }
    flow.map.forget(sender.una);
    return true;
  }

  /** Over a capture: the receiver that was told nothing of changes has what belongs to what it has acknowledged. */
  #replayed(flow: Flow, acknowledgement: number, window: number): boolean {
    const original = flow.offset(acknowledgement, flow.bytes.next);
    if (original > flow.top) return false;
    flow.edge = Math.max(flow.edge ?? 0, original + window);
    flow.acked = Math.max(flow.acked, original);
    return true;
  }

  /** Of that, what has left is acknowledged now: in a capture that is written, nothing comes before its time. */
  #replay(flow: Flow, sender: Sender): void {
    const end = flow.map.toEdited(Math.min(flow.acked, flow.processed));
    const fin = flow.finAt !== undefined && flow.acked > flow.finAt && sender.fin ? 1 : 0;
    const ack = Math.min(end + fin, sender.sent);
    sender.acknowledge(ack, Infinity, [], false, this.#context.now, this.#emitter(flow));
    flow.map.forget(sender.una);
  }

  /** A segment came from a stream's sender. */
  received(i: 0 | 1, p: Packet, offset: number, result: number): void {
    const flow = this.#connection.flows[i];
    const sender = flow.sender as Sender;
    flow.probed = false;
    if ((p.tcpFlags & TCP.PSH) !== 0) {
      const end = offset + p.payloadEnd - p.payload;
      if (end > (flow.pushes.at(-1) ?? flow.processed)) flow.pushes.push(end);
    }
    if ((result & ACCEPTED.FRESH) === 0 && p.payloadEnd > p.payload) {
      // It was sent again: the receiver has not got it yet, or the sender does not know.
      flow.ackDue = true;
      sender.again(this.#context.now, this.#emitter(flow));
    } else if ((result & ACCEPTED.FORWARD) === 0) flow.ackDue = true;
  }

  /** Gives the sender what is decided, with all changes. */
  advance(i: 0 | 1): void {
    const flow = this.#connection.flows[i];
    const sender = flow.sender as Sender;
    const { cuts, injections, map, bytes } = flow;
    const frontier = this.#connection.frontier(i);
    const limit = Math.min(frontier, bytes.next);
    const ended = flow.finAt !== undefined && limit >= flow.finAt;
    for (;;) {
      const at = flow.processed;
      const injection = injections[0];
      const due = injection !== undefined && injection.offset <= at && (limit > at || ended);
      if (due) {
        if (!sender.store.write(sender.end, injection.bytes, 0, injection.bytes.length)) break;
        map.add(at, 0, injection.bytes.length);
        sender.end += injection.bytes.length;
        sender.push(sender.end);
        this.#context.counters.injectedBytes += injection.bytes.length;
        injections.shift();
        continue;
      }
      if (at >= limit) break;
      const stop = Math.min(limit, injection?.offset ?? Infinity);
      const cut = cuts[0];
      if (cut !== undefined && cut.start <= at) {
        const end = Math.min(cut.end, stop);
        map.add(at, end - at, 0);
        this.#context.counters.cutBytes += end - at;
        flow.processed = end;
        if (end === cut.end) cuts.shift();
        else cut.start = end;
        this.#pushes(flow, sender);
        continue;
      }
      const end = Math.min(stop, cut?.start ?? Infinity);
      if (!copy(bytes.store, at, end, sender.store, sender.end)) break;
      sender.end += end - at;
      flow.processed = end;
      this.#pushes(flow, sender);
    }
    if (ended && flow.processed === flow.finAt && injections.length === 0) sender.fin = true;
    this.flush();
  }

  /** Sends what can be sent, and the acknowledgements that are due. */
  flush(): void {
    const { flows, state } = this.#connection;
    const { now, settings: { replay } } = this.#context;
    if (state === "open") {
      for (const i of [0, 1] as const) {
        const flow = flows[i];
        flow.sender?.send(now, this.#emitter(flow));
        if (replay && flow.sender !== undefined) this.#replay(flow, flow.sender);
        if (flow.sender?.gaveUp === true) return this.#connection.kill();
      }
    }
    for (const i of [0, 1] as const) this.#acknowledge(i);
    const again = flows.reduce((sum, { sender }) => sum + (sender?.retransmitted ?? 0), 0);
    this.#context.counters.retransmitted += again - this.#retransmitted;
    this.#retransmitted = again;
    this.#context.timer(this.#connection);
  }

  /** When {@link work} must be called. */
  deadline(): number | undefined {
    if (this.#context.settings.replay) return undefined;
    let next: number | undefined;
    for (const { sender } of this.#connection.flows) {
      const at = sender?.deadline;
      if (at !== undefined && (next === undefined || at < next)) next = at;
    }
    return next;
  }

  /** Retransmits what is due. */
  work(now: number): void {
    for (const flow of this.#connection.flows) {
      const { sender } = flow;
      if (sender?.deadline === undefined || sender.deadline > now) continue;
      sender.timeout(now, this.#emitter(flow));
    }
    this.flush();
  }

  /** Resets the receiver of a stream, in its sender's name. */
  reset(i: 0 | 1): void {
    const flow = this.#connection.flows[i];
    // One of these is what it expects next, if nothing is lost. For the rest it asks back.
    const places = flow.sender === undefined
      ? [flow.acked, Math.min(flow.forwarded, flow.top)]
      : [flow.sender.una, flow.sender.sent];
    for (const place of new Set(places)) {
      this.#write(flow, flow.sequence(place), TCP.RST | TCP.ACK, 0, 0, undefined);
    }
  }

  /** Resets the receiver of a stream, which has told what it expects. */
  refuse(i: 0 | 1, sequence: number): void {
    this.#write(this.#connection.flows[i], sequence, TCP.RST | TCP.ACK, 0, 0, undefined);
  }

  /** A sender asks whether its receiver is there, and how much it takes. Only that one can tell. */
  probe(i: 0 | 1): void {
    const flow = this.#connection.flows[i];
    const una = flow.sender?.una ?? flow.acked;
    flow.probed = true;
    this.#write(flow, flow.sequence(una - 1), TCP.ACK, 0, 0, undefined);
  }

  /** Tells a sender that something is missing, in its receiver's name. */
  duplicate(i: 0 | 1): void {
    const flow = this.#connection.flows[i];
    const back = this.#connection.flows[1 - i] as Flow;
    const place = Math.max(back.forwarded, back.acked);
    this.#write(back, back.sequence(back.sender?.sent ?? place), TCP.ACK, 0, 0, flow);
  }

  /** Bytes that the true sender pushed are pushed again; in place of cut ones, those before them. */
  #pushes(flow: Flow, sender: Sender): void {
    while (flow.pushes[0] !== undefined && flow.pushes[0] <= flow.processed) {
      const mark = flow.pushes.shift() as number;
      if (sender.end > sender.una) sender.push(sender.end - (flow.processed - mark));
    }
  }

  #emitter(flow: Flow): (segment: OutgoingSegment) => void {
    return ({ from, to, push, fin }) => {
      const sender = flow.sender as Sender;
      const flags = TCP.ACK | (push || (to > from && to === sender.end) ? TCP.PSH : 0) |
        (fin ? TCP.FIN : 0);
      this.#write(flow, flow.sequence(from), flags, from, to, undefined);
    };
  }

  /** What a stream's sender is told that its receiver has. */
  #acked(flow: Flow): number {
    const sender = flow.sender;
    if (sender === undefined) return Math.max(flow.ackSent, flow.acked);
    let acked = flow.map.toOriginal(Math.min(sender.una, sender.end));
    if (sender.finished && flow.finAt !== undefined) acked = flow.finAt + 1;
    else if (this.#forges(flow)) acked = Math.max(acked, flow.bytes.next);
    return Math.max(flow.ackSent, acked);
  }

  /** The acknowledgement's offset. In a capture there is one view of a connection, that of the edited streams. */
  #acknowledged(flow: Flow): number {
    if (flow.sender === undefined || !this.#context.settings.replay) return flow.ackSent;
    flow.ackEdited = flow.sender.una;
    return flow.ackEdited;
  }

  #forges(flow: Flow): boolean {
    // Neither end of a capture waits for anything.
    if (this.#context.settings.replay) return false;
    const { flows } = this.#connection;
    return this.#connection.wants(flow === flows[0] ? 0 : 1) >
      Math.min(flow.ackSent, flow.bytes.next);
  }

  /** The end of the window that a stream's sender is told of. */
  #edge(flow: Flow): number {
    const { sender } = flow;
    if (sender === undefined) return Math.max(flow.edgeSent, flow.edge ?? flow.acked);
    let edge = sender.edge === Infinity ? flow.edge ?? 0 : flow.map.toOriginal(sender.edge);
    if (this.#forges(flow)) {
      const { streamBytes } = this.#context.settings;
      edge = Math.max(edge, flow.processed + streamBytes - (sender.end - sender.una));
    }
    return Math.max(flow.edgeSent, edge);
  }

  /** Tells a stream's sender what is new for it. */
  #acknowledge(i: 0 | 1): void {
    const flow = this.#connection.flows[i];
    const acked = this.#acked(flow);
    const edge = this.#edge(flow);
    const missing = flow.ackDue && flow.bytes.ranges.length > 0 && acked < flow.bytes.next;
    const opened = edge - flow.edgeSent;
    // The sender may be waiting for it.
    const wide = opened > 0 && (flow.edgeSent - flow.top < this.#mss(i) || opened >= MOST_WINDOW);
    // As long as the receiver has not got all, what is missing would seem to be more than it is.
    const due = flow.ackDue && !missing;
    const { replay } = this.#context.settings;
    if (replay && (flow.sender?.una ?? 0) <= flow.ackEdited) return;
    if (!replay && acked <= flow.ackSent && !wide && !due) return;
    const back = this.#connection.flows[1 - i] as Flow;
    const place = back.sender?.sent ?? Math.max(back.forwarded, back.acked);
    this.#write(back, back.sequence(place), TCP.ACK, 0, 0, flow);
  }

  #mss(i: 0 | 1): number {
    const flow = this.#connection.flows[i];
    const back = this.#connection.flows[1 - i] as Flow;
    const version = flow.writer?.version ?? back.writer?.version ?? 4;
    const told = [flow.mss, back.mss].filter((mss) => mss > 0);
    let most = told.length > 0 ? Math.min(...told) : USUAL_MSS[version];
    // Over IPv6 nobody on the way makes smaller packets of larger ones, and only the true sender is told.
    if (version === 6) most = Math.min(most, Math.max(flow.largest + TIMESTAMPS, USUAL_MSS[6]));
    return Math.max(64, most - (this.#stamped() ? TIMESTAMPS : 0));
  }

  #stamped(): boolean {
    return this.#connection.flows.every((flow) => flow.hasTimestamps);
  }

  /**
   * Writes a segment in the name of a stream's sender.
   *
   * @param duplicate tells the other stream's sender what is missing of it.
   */
  #write(
    flow: Flow,
    sequence: number,
    flags: number,
    from: number,
    to: number,
    duplicate: Flow | undefined,
  ): void {
    const i = flow === this.#connection.flows[0] ? 0 : 1;
    const back = this.#connection.flows[1 - i] as Flow;
    const writer = flow.writer ??= back.writer?.reversed();
    if (writer === undefined) return;
    back.ackSent = this.#acked(back);
    back.edgeSent = this.#edge(back);
    back.ackDue = false;
    const shift = flow.shift(back);
    const room = Math.max(0, back.edgeSent - back.ackSent);
    const options = this.#options(flow, back, duplicate !== undefined);
    const at = LEAD;
    const payload = to - from;
    if (payload > 0) flow.sender?.store.copy(from, to, scratch, at + writer.size(options.length));
    const end = writer.write(scratch, at, {
      sequence,
      acknowledgement: back.sequence(this.#acknowledged(back)),
      flags,
      window: (flags & TCP.RST) !== 0 ? 0 : Math.min(MOST_WINDOW, Math.floor(room / 2 ** shift)),
      options,
    }, payload);
    frame.data = scratch;
    frame.start = at;
    frame.end = end;
    frame.wireLength = end - at;
    frame.direction = i === 0 ? "from-host" : "to-host";
    frame.number = -(++made);
    const { now } = this.#context;
    frame.seconds = Math.floor(now / 1000);
    frame.nanoseconds = Math.floor((now - frame.seconds * 1000) * 1e6);
    const held = this.#context.held.hold(frame, 0);
    if (held === undefined) return; // lost, as on any wire
    this.#context.forward(held.memory, held.start, held.end, held.direction, held);
    this.#context.held.release(held);
  }

  #options(flow: Flow, back: Flow, duplicate: boolean): Uint8Array {
    const stamped = this.#stamped();
    const sack = duplicate && flow.sackPermitted && back.sackPermitted
      ? back.bytes.ranges.slice(-SACK_BLOCKS)
      : [];
    const size = (stamped ? TIMESTAMPS : 0) + (sack.length > 0 ? 4 + 8 * sack.length : 0);
    if (size === 0) return NO_OPTIONS;
    const options = new Uint8Array(size);
    let at = 0;
    if (stamped) {
      put32(options, 0, 0x0101080a);
      put32(options, 4, flow.timestamp);
      put32(options, 8, back.recent);
      at = TIMESTAMPS;
    }
    if (sack.length > 0) {
      put32(options, at, 0x01010500 | (2 + 8 * sack.length));
      at += 4;
      for (const { start, end } of sack.reverse()) {
        put32(options, at, back.sequence(start));
        put32(options, at + 4, back.sequence(end));
        at += 8;
      }
    }
    return options;
  }
}

const NO_OPTIONS = new Uint8Array(0);

/** Copies bytes of a store to another one. False when there is no memory. */
function copy(from: ByteStore, start: number, end: number, to: ByteStore, at: number): boolean {
  for (let done = start; done < end;) {
    const length = Math.min(copyBuffer.length, end - done);
    from.copy(done, done + length, copyBuffer, 0);
    if (!to.write(at + done - start, copyBuffer, 0, length)) return false;
    done += length;
  }
  return true;
}
