/**
 * A shadowed TCP connection (CMU-CS-02-144, section 4.3). It is watched, and its packets go on as they are, until a scanner
 * changes something; from then on it is relayed: relay.ts.
 *
 * @module
 */
import { type Packet, TCP } from "../../net/packet.ts";
import type { Arrival } from "./arrival.ts";
import type { ConnectionState, StreamContext } from "./context.ts";
import { deliver, directionOf } from "./delivery.ts";
import type { ConnectionEnds } from "./ends.ts";
import { Flow } from "./flow.ts";
import { correct, dropHeld, forwardDecided, markConflicts } from "./held_packets.ts";
import { noteTimestamp, whyThrownAway } from "./judge.ts";
import { addRange } from "./ranges.ts";
import { ACCEPTED } from "./reassembly.ts";
import { Relay } from "./relay.ts";
import { clearUrgent, removePayload, segmentSize } from "./rewrite.ts";
import type { CloseReason, ReaderFlow, Subscription } from "./subscriber.ts";
import type { TcpOptions } from "./tcp_options.ts";

/** Below this a sender's first flight goes on without an acknowledgement (RFC 3390). */
const FIRST_FLIGHT = 4380;
/** Milliseconds after which the sender seems to wait for one. */
const MORE_WAIT = 10;
/** Bytes kept of a direction whose receiver's acknowledgements are not seen. */
const UNACKED = 1024 * 1024;

/** A connection. */
export class Connection {
  readonly number: number;
  /** The two ends; the client's is the first. */
  readonly ends: ConnectionEnds;
  /** Place in the table. */
  readonly hash: number;
  readonly flows: readonly [Flow, Flow];
  /** Next one in the table's chain. */
  next: Connection | undefined;
  state: ConnectionState = "opening";
  /** Nobody reads it any more: its packets go on unseen. */
  bypassed = false;
  midstream = false;
  /** The direction of what the client sends. */
  client: 0 | 1;
  /** When its last packet came. Milliseconds. */
  seen: number;
  readonly subscriptions: Subscription[] = [];
  /** Somebody decides about its bytes. */
  contained = false;
  relay: Relay | undefined;
  /** When something is to be done although no packet comes. */
  deadline: number | undefined;
  readonly alerted = new Set<string>();
  #smallCuts = 0;
  readonly #context: StreamContext;

  constructor(
    number: number,
    ends: ConnectionEnds,
    hash: number,
    client: 0 | 1,
    context: StreamContext,
  ) {
    this.number = number;
    this.ends = ends;
    this.hash = hash;
    this.client = client;
    this.#context = context;
    this.seen = context.now;
    this.flows = [new Flow(context.pool), new Flow(context.pool)];
  }

  /** Adds a reader. What it wants of packets that are on their way already it cannot get. */
  subscribe(subscription: Subscription): void {
    for (const i of [0, 1] as const) {
      const flow = subscription.flows[i];
      flow.sent = this.flows[i].bytes.store.low;
      if (subscription.reader.contain) flow.decided = this.flows[i].bytes.store.low;
      flow.at = this.#context.now;
    }
    this.subscriptions.push(subscription);
    this.contained ||= subscription.reader.contain;
  }

  /** Takes a packet. */
  packet(arrival: Arrival): void {
    const context = this.#context;
    const p = arrival.packet;
    const index = arrival.direction === "from-host" ? 0 : 1;
    const flow = this.flows[index];
    const back = this.flows[1 - index] as Flow;
    this.seen = context.now;
    if (this.state !== "opening" && this.state !== "open") {
      return this.#afterEnd(arrival, p, flow, back);
    }
    if (this.bypassed) return this.#unread(arrival, p, flow, back);
    const options = context.options.read(p.data, p.transport + 20, p.payload);
    if ((p.tcpFlags & TCP.SYN) !== 0) return this.#syn(arrival, p, options, flow, back);
    if (!flow.known) this.#pickUp(p, flow, back);
    if ((p.tcpFlags & TCP.RST) !== 0) return this.#rst(arrival, p, flow, back);
    const wrong = whyThrownAway(p, options, flow, context);
    if (wrong !== undefined) {
      context.alert(this, wrong);
      return this.#reject(arrival);
    }
    if (this.contained) flow.learn(p);
    if (this.state === "opening" && (p.tcpFlags & TCP.ACK) !== 0 && back.known) this.#open();
    this.#segment(arrival, p, options, flow, back);
  }

  /** Bytes below this offset are decided by all. */
  frontier(index: 0 | 1): number {
    let least = Infinity;
    for (const { flows } of this.subscriptions) least = Math.min(least, flows[index].decided);
    return least;
  }

  /** Some reader needs bytes that its sender may not send before it has an acknowledgement. */
  wants(index: 0 | 1): number {
    let most = 0;
    for (const { flows } of this.subscriptions) most = Math.max(most, flows[index].want);
    return most;
  }

  /** A reader lets bytes go on. */
  pass(subscription: Subscription, index: 0 | 1, upTo: number, skip: boolean): void {
    const flow = subscription.flows[index];
    flow.want = 0;
    if (upTo > flow.decided) flow.decided = upTo;
    if (skip && upTo > flow.sent) flow.sent = upTo;
    this.#decided(flow, index);
  }

  /** A reader drops bytes. Undefined, or why it may not. */
  cut(
    subscription: Subscription,
    index: 0 | 1,
    offset: number,
    length: number,
  ): string | undefined {
    const flow = subscription.flows[index];
    if (offset < flow.decided) return `cut at ${offset}, though it passed up to ${flow.decided}`;
    if (offset + length > this.flows[index].bytes.next + this.#context.settings.streamBytes) {
      return `cut of ${length} bytes at ${offset}, far beyond what it was given`;
    }
    if (length === 0) return undefined;
    flow.want = 0;
    addRange(flow.cuts, offset, offset + length);
    addRange(this.flows[index].cuts, offset, offset + length);
    const { settings } = this.#context;
    if (length <= settings.smallCut && ++this.#smallCuts === settings.smallCuts) {
      this.#context.alert(this, "many small cuts in one connection", { cuts: this.#smallCuts });
    }
    this.#relayed();
    this.#decided(flow, index);
    return undefined;
  }

  /** A reader puts registered bytes into a stream. Undefined, or why it may not. */
  inject(
    subscription: Subscription,
    index: 0 | 1,
    offset: number,
    bytes: Uint8Array,
  ): string | undefined {
    const { decided } = subscription.flows[index];
    if (offset < decided) return `injection at ${offset}, though it passed up to ${decided}`;
    const { injections } = this.flows[index];
    let i = injections.length;
    while (i > 0 && (injections[i - 1] as { offset: number }).offset > offset) i--;
    injections.splice(i, 0, { offset, bytes });
    this.#relayed();
    this.advance(index);
    return undefined;
  }

  /** A reader needs more bytes. */
  more(subscription: Subscription, index: 0 | 1, upTo: number): void {
    const flow = subscription.flows[index];
    flow.want = upTo;
    flow.at = this.#context.now;
    this.#hurry(index);
    this.#context.timer(this);
  }

  /** Nothing more is read by it, and nothing decided. */
  release(subscription: Subscription): void {
    subscription.released = true;
    for (const flow of subscription.flows) {
      flow.decided = Infinity;
      flow.sent = Infinity;
      flow.want = 0;
    }
    const i = this.subscriptions.indexOf(subscription);
    if (i !== -1) this.subscriptions.splice(i, 1);
    for (const index of [0, 1] as const) this.advance(index);
    if (this.subscriptions.length === 0 && this.relay === undefined) {
      this.bypassed = true;
      for (const flow of this.flows) this.#empty(flow);
    }
  }

  /** Ends it at both ends. */
  kill(): void {
    if (this.state === "killed") return;
    if (this.state === "opening" || this.state === "open") {
      const relay = this.relay ?? new Relay(this, this.#context);
      this.relay = relay;
      for (const index of [0, 1] as const) relay.reset(index);
      this.#context.counters.killed++;
    }
    this.end("killed");
  }

  /** It is over. */
  end(reason: CloseReason): void {
    if (this.state === "closed" || this.state === "reset" || this.state === "killed") return;
    this.state = reason === "reset" ? "reset" : reason === "killed" ? "killed" : "closed";
    this.deadline = undefined;
    for (const { reader } of this.subscriptions) reader.closed(reason);
    this.subscriptions.length = 0;
    for (const flow of this.flows) this.#empty(flow);
    this.#context.counters.open--;
  }

  /** Gives readers what is there, as far as they take it. */
  deliver(index: 0 | 1): void {
    for (const subscription of [...this.subscriptions]) {
      if (subscription.released) continue;
      deliver(subscription, index, this.flows[index], this.#context.now);
    }
    this.#forget(this.flows[index], index);
  }

  /** Lets go what is decided. */
  advance(index: 0 | 1): void {
    if (this.state !== "open" && this.state !== "opening") return;
    if (this.relay !== undefined) this.relay.advance(index);
    else forwardDecided(this.flows[index], this.frontier(index), this.#context);
    this.#forget(this.flows[index], index);
    this.#maybeClosed();
  }

  /** What is due without a packet. */
  work(): void {
    const { now } = this.#context;
    this.deadline = undefined;
    for (const index of [0, 1] as const) this.#hurry(index);
    this.relay?.work(now);
    this.#maybeClosed();
    this.#context.timer(this);
  }

  /** When {@link work} must be called. */
  nextWork(): number | undefined {
    let next = this.relay?.deadline();
    if (this.relay === undefined && this.state === "open") {
      for (const index of [0, 1] as const) {
        const { bytes, finAt } = this.flows[index];
        if (finAt === bytes.next || this.frontier(index) >= bytes.next) continue;
        for (const { flows } of this.subscriptions) {
          if (flows[index].want <= bytes.next) continue;
          const at = flows[index].at + MORE_WAIT;
          if (next === undefined || at < next) next = at;
        }
      }
    }
    return next;
  }

  /** The reader that has not decided for too long. */
  late(): Subscription | undefined {
    return this.subscriptions.find(({ reader, flows }) =>
      reader.contain && flows.some((flow, i) => this.#isLate(flow, i as 0 | 1, reader.holdLimit))
    );
  }

  #isLate({ decided, sent, want, at }: ReaderFlow, i: 0 | 1, limit: number): boolean {
    const { bytes: { next }, finAt } = this.flows[i];
    if (decided >= Math.min(sent, next) || this.#context.now - at <= limit) return false;
    // More can only come while there is room for it, and its sender has not ended.
    const moreComes = finAt !== next && next - decided < this.#context.settings.streamBytes;
    return want <= next || !moreComes;
  }

  /** Bytes that are undecided, for an alert; only those that are there. */
  bytes(index: 0 | 1, offset: number, length: number): Uint8Array<ArrayBuffer> {
    const { store, next } = this.flows[index].bytes;
    const start = Math.max(offset, store.low);
    const end = Math.min(offset + length, next);
    if (start >= end) return new Uint8Array(0);
    const bytes = new Uint8Array(end - start);
    store.copy(start, end, bytes, 0);
    return bytes;
  }

  #empty(flow: Flow): void {
    dropHeld(flow, this.#context);
    flow.bytes.store.clear();
    flow.bytes.ranges.length = 0;
    flow.sender?.store.clear();
    flow.cuts.length = 0;
    flow.injections.length = 0;
  }

  #reject(arrival: Arrival): void {
    this.#context.counters.rejected++;
    if (this.contained) arrival.drop();
    else arrival.forward();
  }

  #pickUp(p: Packet, flow: Flow, back: Flow): void {
    flow.begin(p.sequence);
    flow.ttl = p.ttl;
    if (!flow.synSeen && !back.synSeen) this.midstream = true;
    if ((p.tcpFlags & TCP.ACK) !== 0 && !back.known) {
      back.begin(p.acknowledgement);
      back.ttl = 0;
    }
  }

  #open(): void {
    this.state = "open";
    this.#context.opened(this);
    // What a SYN carried.
    for (const index of [0, 1] as const) this.deliver(index);
  }

  #syn(arrival: Arrival, p: Packet, options: TcpOptions, flow: Flow, back: Flow): void {
    const first = (p.sequence + 1) >>> 0;
    if (flow.known && flow.base !== first) {
      // To a connection that lives it is nothing but a question (RFC 5961, 4).
      this.#context.alert(this, "SYN inside of a connection");
      this.#context.counters.rejected++;
      if (this.contained && p.payloadEnd > p.payload) return arrival.drop();
      return arrival.forward();
    }
    if ((p.tcpFlags & TCP.ACK) !== 0 && back.known) {
      const acked = back.offset(p.acknowledgement, back.bytes.next);
      if (acked < 0 || acked > back.top) return this.#reject(arrival);
    }
    const repeated = flow.known && flow.synSeen;
    if (!flow.known) {
      flow.begin(first);
      flow.ttl = p.ttl;
    }
    if (!repeated) flow.handshake(options);
    flow.learn(p);
    if (options.hasTimestamps) noteTimestamp(flow, options, true, this.#context.now);
    if (options.multipath) this.#context.alert(this, "part of a multipath connection");
    if ((p.tcpFlags & TCP.ACK) !== 0 && back.known) {
      const acked = back.offset(p.acknowledgement, back.bytes.next);
      back.acked = Math.max(back.acked, acked);
      // A SYN's window is never shifted (RFC 7323, 2.2).
      back.edge = Math.max(back.edge ?? 0, acked + p.window);
    }
    if (p.payloadEnd === p.payload) return arrival.forward();
    this.#synData(arrival, p, flow);
  }

  /** Bytes in a SYN: whoever wants to decide about them has them come again, in a segment of their own. */
  #synData(arrival: Arrival, p: Packet, flow: Flow): void {
    if (this.contained && arrival.fragments.length === 0) {
      arrival.shorten(removePayload(p));
      return arrival.forward();
    }
    if (this.contained) return this.#reject(arrival);
    flow.bytes.accept(0, p.data, p.payload, p.payloadEnd, this.#context.settings.overlap, 0);
    flow.top = Math.max(flow.top, p.payloadEnd - p.payload);
    arrival.forward();
  }

  #rst(arrival: Arrival, p: Packet, flow: Flow, back: Flow): void {
    const offset = flow.offset(p.sequence, flow.bytes.next);
    if (!flow.synSeen && back.synSeen && !this.midstream) {
      // The answer to a SYN: right when it acknowledges that (RFC 9293, 3.10.7.3).
      const right = (p.tcpFlags & TCP.ACK) !== 0 &&
        back.offset(p.acknowledgement, back.bytes.next) >= 0 &&
        back.offset(p.acknowledgement, back.bytes.next) <= back.top;
      if (!right) return this.#reject(arrival);
      arrival.forward();
      return this.end("reset");
    }
    const { next } = flow.bytes;
    const exact = offset === next || offset === flow.acked || offset === flow.forwarded ||
      (flow.finAt !== undefined && offset === flow.finAt + 1);
    if (!exact) {
      const { edge } = flow;
      const within = offset > flow.acked && (edge === undefined || offset <= edge);
      if (!within) {
        this.#context.alert(this, "RST outside of the window");
        return this.#reject(arrival);
      }
      // The receiver asks back, and the sender's answer to that is exact (RFC 5961, 3).
      if (this.relay === undefined) return arrival.forward();
    }
    if (this.relay !== undefined) {
      arrival.drop();
      this.relay.reset(index(flow, this));
    } else if (flow.queue.length > 0 && this.contained) {
      // Bytes before it wait, and will not come: the receiver must know it for what it is.
      arrival.drop();
      new Relay(this, this.#context).reset(index(flow, this));
    } else {
      if (p.payloadEnd > p.payload && this.contained && arrival.fragments.length === 0) {
        arrival.shorten(removePayload(p));
      }
      arrival.forward();
    }
    this.end("reset");
  }

  #segment(arrival: Arrival, p: Packet, options: TcpOptions, flow: Flow, back: Flow): void {
    const offset = flow.offset(p.sequence, flow.bytes.next);
    const length = p.payloadEnd - p.payload;
    const fin = (p.tcpFlags & TCP.FIN) !== 0;
    const end = offset + length;
    const acked = this.relay === undefined ? flow.acked : Math.max(flow.acked, flow.ackSent);
    const edge = flow.edge === undefined ? undefined : Math.max(flow.edge, flow.edgeSent);
    if (length > 0 && (p.tcpFlags & TCP.ACK) === 0) {
      this.#context.alert(this, "bytes without an acknowledgement");
      return this.#reject(arrival);
    }
    if (edge !== undefined && (offset > edge || (offset === edge && length > 1))) {
      this.#context.alert(this, "segment outside of the window");
      return this.#reject(arrival);
    }
    // Anything before what the receiver has: a probe, a keep-alive, or sent again in vain.
    if (offset < acked && end + (fin ? 1 : 0) <= acked) {
      if (this.relay !== undefined) {
        arrival.drop();
        if (length <= 1) this.relay.probe(index(flow, this));
        else flow.ackDue = true;
        return this.relay.flush();
      }
      return arrival.forward();
    }
    if (!this.#acknowledgement(p, options, flow, back, length === 0 && !fin)) {
      return this.#reject(arrival);
    }
    if (options.hasTimestamps) noteTimestamp(flow, options, offset <= acked, this.#context.now);
    if (length === 0 && !fin) {
      if (this.relay === undefined) arrival.forward();
      else {
        arrival.drop();
        this.relay.flush();
      }
      return this.#maybeClosed();
    }
    if (flow.finAt !== undefined && (end > flow.finAt || (fin && end !== flow.finAt))) {
      this.#context.alert(this, "bytes behind the end of a stream");
      return this.#reject(arrival);
    }
    this.#data(arrival, p, flow, offset, end, fin);
  }

  /** False when it acknowledges what was never sent. */
  #acknowledgement(p: Packet, options: TcpOptions, flow: Flow, back: Flow, bare: boolean): boolean {
    if ((p.tcpFlags & TCP.ACK) === 0) return true;
    if (!back.known) back.begin(p.acknowledgement);
    const window = p.window * (1 << flow.shift(back));
    const { relay } = this;
    if (relay !== undefined) {
      return relay.acknowledged(back, p.acknowledgement, window, options, bare);
    }
    const ack = back.offset(p.acknowledgement, back.bytes.next);
    if (ack > back.top) {
      if (this.contained) {
        this.#context.alert(this, "acknowledgement of what was not sent");
        return false;
      }
      // A capture without these packets, or before them.
    }
    // What waits here was acknowledged long ago when it was captured: the capture cannot be followed any more.
    if (this.#context.settings.replay && this.contained && ack > back.forwarded) {
      const begun = this.#relayed();
      if (begun !== undefined) {
        return begun.acknowledged(back, p.acknowledgement, window, options, bare);
      }
    }
    if (ack > back.acked) back.acked = Math.min(ack, Math.max(back.top, back.acked));
    if (ack + window > (back.edge ?? -1)) back.edge = ack + window;
    const first = back.bytes.ranges[0];
    if (first !== undefined && ack >= first.start && !this.contained) this.#skip(back);
    this.#forget(back, index(back, this));
    return true;
  }

  /** Bytes that the receiver has and the kernel has not: readers go on behind them. */
  #skip(flow: Flow): void {
    const gap = flow.bytes.skip();
    if (gap === undefined) return;
    const i = index(flow, this);
    this.#context.alert(this, "bytes that were not seen", { bytes: gap.end - gap.start });
    for (const { reader, flows } of this.subscriptions) {
      const from = Math.max(gap.start, flows[i].sent);
      if (from < gap.end) reader.gap(directionOf(i), from, gap.end - from);
      flows[i].sent = Math.max(flows[i].sent, gap.end);
    }
    this.deliver(i);
  }

  #data(arrival: Arrival, p: Packet, flow: Flow, offset: number, end: number, fin: boolean): void {
    const context = this.#context;
    const i = index(flow, this);
    let result = 0;
    if (end > offset) {
      const { settings } = context;
      const { store, next } = flow.bytes;
      if (this.contained && end - store.low > settings.streamBytes + UNACKED) {
        return this.#full(arrival, flow);
      }
      result = flow.bytes.accept(
        offset,
        p.data,
        p.payload,
        p.payloadEnd,
        settings.overlap,
        this.#given(i),
      );
      if ((result & ACCEPTED.FULL) !== 0) return this.#full(arrival, flow);
      context.counters.bytes += flow.bytes.next - next;
      flow.largest = Math.max(flow.largest, segmentSize(p.data, p.start) || end - offset);
      if ((result & ACCEPTED.CONFLICT) !== 0) this.#conflict(flow, offset, end);
    }
    if (fin && flow.finAt === undefined) flow.finAt = end;
    flow.top = Math.max(flow.top, end + (fin ? 1 : 0));
    if (this.relay !== undefined) {
      arrival.drop();
      this.relay.received(i, p, offset, result);
    } else if (this.contained) this.#passive(arrival, p, flow, { offset, end, fin, result });
    else arrival.forward();
    if (this.subscriptions.length === 0 && this.relay === undefined) {
      // Nobody reads: it is put together for its own sake.
      this.#forget(flow, i);
      return this.#maybeClosed();
    }
    if ((result & ACCEPTED.FORWARD) !== 0 || fin) {
      this.deliver(i);
      this.#hurry(i);
    }
    this.advance(i);
    this.relay?.flush();
  }

  /** Bytes below were given to a reader that counts on them. */
  #given(i: 0 | 1): number {
    let most = this.flows[i].forwarded;
    for (const { flows } of this.subscriptions) {
      if (flows[i].sent !== Infinity) most = Math.max(most, flows[i].sent);
    }
    return most;
  }

  #conflict(flow: Flow, offset: number, end: number): void {
    this.#context.counters.conflicts++;
    this.#context.alert(this, "segments that contradict each other", { offset });
    markConflicts(flow, offset, end);
  }

  #passive(
    arrival: Arrival,
    p: Packet,
    flow: Flow,
    segment: { offset: number; end: number; fin: boolean; result: number },
  ): void {
    const { offset, end, fin, result } = segment;
    const frontier = this.frontier(index(flow, this));
    const conflict = (result & ACCEPTED.CONFLICT) !== 0;
    if (this.#context.settings.urgent === "inline" && (p.tcpFlags & TCP.URG) !== 0) {
      this.#context.alert(this, "urgent bytes");
      if (arrival.fragments.length === 0) clearUrgent(p);
    }
    // What is decided goes at once; out of order too, when whatever is missing is decided.
    if (end <= frontier) {
      if (conflict) {
        if (arrival.fragments.length > 0) return arrival.drop();
        correct(p, flow, offset);
      }
      arrival.forward();
      // Without any that wait, all that came went on.
      if (flow.queue.length === 0) {
        const { next } = flow.bytes;
        flow.forwarded = Math.max(flow.forwarded, next + (flow.finAt === next ? 1 : 0));
      }
      return;
    }
    const fresh = (result & ACCEPTED.FRESH) !== 0 || (fin && !flow.queue.some((held) => held.fin));
    const frames = fresh ? arrival.hold() : undefined;
    if (frames === undefined) {
      arrival.drop();
      // Its bytes are kept all the same, and only the kernel itself can send them now.
      if (fresh) this.#relayed();
      return;
    }
    flow.queue.push({ frames, start: offset, end, fin, conflict });
    // The receiver would say that something is missing, but it does not get this.
    if (offset > flow.bytes.next && this.state === "open") {
      new Relay(this, this.#context).duplicate(index(flow, this));
    }
  }

  #full(arrival: Arrival, flow: Flow): void {
    if (this.contained) {
      // The sender has to wait, and sends it again.
      return arrival.drop();
    }
    arrival.forward();
    this.#context.alert(this, "too much to put together");
    for (const { reader } of this.subscriptions) reader.closed("limit");
    this.subscriptions.length = 0;
    this.bypassed = true;
    this.#empty(flow);
  }

  #decided(flow: ReaderFlow, i: 0 | 1): void {
    while (flow.cuts[0] !== undefined && flow.cuts[0].start <= flow.decided) {
      flow.decided = Math.max(flow.decided, flow.cuts[0].end);
      flow.cuts.shift();
    }
    flow.at = this.#context.now;
    this.advance(i);
    this.relay?.flush();
  }

  /** From now on the kernel writes the packets. */
  #relayed(): Relay | undefined {
    if (this.relay !== undefined || this.state !== "open") return this.relay;
    this.relay = new Relay(this, this.#context);
    this.#context.counters.relayed++;
    this.relay.begin();
    this.#context.timer(this);
    return this.relay;
  }

  /** Gets more from a sender that waits for an acknowledgement. */
  #hurry(i: 0 | 1): void {
    const flow = this.flows[i];
    if (this.wants(i) <= flow.bytes.next || flow.finAt === flow.bytes.next) return;
    if (this.relay === undefined) {
      const undecided = flow.bytes.next - Math.min(this.frontier(i), flow.bytes.next);
      const due = this.subscriptions.some(({ flows }) =>
        flows[i].want > flow.bytes.next && this.#context.now - flows[i].at >= MORE_WAIT
      );
      // Nothing waits here: it is not for want of an acknowledgement that the sender says no more.
      if (undecided <= 0 || (undecided < FIRST_FLIGHT && !due)) return;
      this.#relayed();
    }
    this.relay?.flush();
  }

  /** Forgets bytes that nobody needs: the receiver has them, all have read and decided about them. */
  #forget(flow: Flow, i: 0 | 1): void {
    const { next, store, ranges } = flow.bytes;
    let least = this.relay === undefined ? Math.min(flow.acked, next) : flow.processed;
    if (!this.contained) least = Math.max(least, next - UNACKED);
    for (const { reader, flows } of this.subscriptions) {
      const { sent, decided } = flows[i];
      if (reader.contain) least = Math.min(least, sent, decided);
      else if (next - sent < this.#context.settings.streamBytes) least = Math.min(least, sent);
    }
    if (least <= store.low) return;
    if (least >= next && ranges.length === 0) store.empty(next);
    else store.forget(Math.min(least, next));
  }

  #maybeClosed(): void {
    if (this.state !== "open" && this.state !== "opening") return;
    const [a, b] = this.flows;
    if (a.finAt === undefined || b.finAt === undefined) return;
    if (this.relay === undefined) {
      if (a.acked > a.finAt && b.acked > b.finAt) this.end("closed");
    } else if (this.relay.isFinished) this.end("closed");
  }

  /** A connection that nobody reads any more: only its end is looked for. */
  #unread(arrival: Arrival, p: Packet, flow: Flow, back: Flow): void {
    arrival.forward();
    if ((p.tcpFlags & TCP.RST) !== 0) {
      if (flow.offset(p.sequence, flow.bytes.next) >= flow.acked) this.end("reset");
      return;
    }
    const end = flow.offset(p.sequence, flow.bytes.next) + p.payloadEnd - p.payload;
    if (end > flow.bytes.next) flow.bytes.next = end;
    if ((p.tcpFlags & TCP.FIN) !== 0) flow.finAt = end;
    if ((p.tcpFlags & TCP.ACK) !== 0 && back.finAt !== undefined) {
      back.acked = Math.max(back.acked, back.offset(p.acknowledgement, back.bytes.next));
      if (flow.finAt !== undefined && back.acked > back.finAt && flow.acked > flow.finAt) {
        this.end("closed");
      }
    }
  }

  #afterEnd(arrival: Arrival, p: Packet, flow: Flow, back: Flow): void {
    const rst = (p.tcpFlags & TCP.RST) !== 0;
    if (this.state === "killed") {
      arrival.drop();
      // Who has not heard it hears it again, with the number that it expects.
      if (!rst && (p.tcpFlags & TCP.ACK) !== 0) {
        this.relay?.refuse(index(back, this), p.acknowledgement);
      }
      return;
    }
    if (!this.contained) return arrival.forward();
    if (this.relay !== undefined && this.state === "closed") {
      arrival.drop();
      if (!rst && (p.payloadEnd > p.payload || (p.tcpFlags & TCP.FIN) !== 0)) {
        flow.ackDue = true;
        this.relay.flush();
      }
      return;
    }
    const old = flow.finAt !== undefined &&
      flow.offset(p.sequence, flow.finAt) + p.payloadEnd - p.payload <= flow.finAt &&
      this.state === "closed";
    if (p.payloadEnd === p.payload || old) return arrival.forward();
    this.#context.alert(this, "bytes after the end of a connection");
    this.#reject(arrival);
  }
}

function index(flow: Flow, { flows }: Connection): 0 | 1 {
  return flow === flows[0] ? 0 : 1;
}
