/**
 * A small TCP of its own, for tests: what it takes for granted is the RFC and nothing of lib/ni. It is not fast, and it is
 * strict about what it gets: a wrong checksum or a sequence number out of place throws.
 *
 * @module
 */
import { addWords, finishChecksum, pseudoHeader } from "../../../lib/net/checksum.ts";
import { Packet, TCP } from "../../../lib/net/packet.ts";

/** How an end behaves. */
export interface ModelOptions {
  readonly address: readonly number[];
  readonly peer: readonly number[];
  readonly port: number;
  readonly peerPort: number;
  /** First sequence number: that of its SYN. */
  readonly first: number;
  readonly mss: number;
  /** Shift of its windows; undefined: it knows none. */
  readonly scale: number | undefined;
  readonly timestamps: boolean;
  readonly sack: boolean;
  /** Bytes that it takes before its program has read them. */
  readonly buffer: number;
  /** Its program reads when this says so; always without it. Until then the window closes. */
  readonly later?: (read: () => void) => void;
  readonly send: Uint8Array;
  readonly now: () => number;
  readonly out: (frame: Uint8Array) => void;
}

const RTO = 300;
const int = (n: number) => n | 0;

/** One end. */
export class ModelTcp {
  /** Bytes that came in order. */
  readonly received: number[] = [];
  /** The other end's FIN came in order. */
  ended = false;
  wasReset = false;
  /** Segments that it threw away, by why. */
  readonly refused: string[] = [];
  #una = 0;
  #nxt = 0;
  #established = false;
  #peerFirst: number | undefined;
  #peerWindow = 1;
  #peerScale: number | undefined;
  #peerTimestamps = false;
  #peerSack = false;
  #peerMss = 536;
  #recent = 0;
  #timer = Infinity;
  #backoff = 1;
  #duplicates = 0;
  #cwnd: number;
  readonly #later = new Map<number, number>();
  #finAt: number | undefined;
  readonly #o: ModelOptions;
  readonly #packet = new Packet();
  #synNeedsAck = false;
  #highest = 0;
  #unread = 0;
  #reading = false;

  constructor(options: ModelOptions) {
    this.#o = options;
    this.#cwnd = 10 * options.mss;
  }

  /** Everything that it sent is acknowledged, its FIN too. */
  get acknowledged(): boolean {
    return this.#una === this.#o.send.length + 2;
  }

  /** Sends a SYN. */
  open(): void {
    this.#send(0, TCP.SYN, 0);
    this.#nxt = 1;
    this.#timer = this.#o.now() + RTO;
  }

  /** When {@link work} is to be called. */
  get deadline(): number {
    return this.#timer;
  }

  work(): void {
    if (this.#timer > this.#o.now() || this.wasReset) return;
    this.#backoff = Math.min(64, this.#backoff * 2);
    this.#cwnd = this.#o.mss;
    this.#timer = this.#o.now() + RTO * this.#backoff;
    if (this.#una === 0) return this.#send(0, TCP.SYN | (this.#synNeedsAck ? TCP.ACK : 0), 0);
    this.#nxt = this.#una;
    this.#push(true);
  }

  /** Takes a frame. */
  frame(bytes: Uint8Array): void {
    if (this.wasReset) return;
    const p = this.#packet.decode(bytes, 0, bytes.length);
    if (p.malformed !== "none" || !p.isTcp) throw new Error(`malformed: ${p.malformed}`);
    if (!p.networkChecksumHolds() || !p.transportChecksumHolds()) throw new Error("wrong checksum");
    if (p.destinationPort !== this.#o.port) throw new Error("wrong port");
    this.#options(p);
    if ((p.tcpFlags & TCP.SYN) !== 0) return this.#syn(p);
    if (this.#peerFirst === undefined) return;
    const offset = int(p.sequence - this.#peerFirst - 1 - this.#in());
    const length = p.payloadEnd - p.payload;
    if ((p.tcpFlags & TCP.RST) !== 0) {
      if (offset === 0) this.wasReset = true;
      else this.#ack();
      return;
    }
    const fin = (p.tcpFlags & TCP.FIN) !== 0 ? 1 : 0;
    if (
      offset + length + fin < 0 || (offset + length + fin <= 0 && length + fin > 0) ||
      offset < 0 && length + fin === 0
    ) {
      this.refused.push("old");
      return this.#ack();
    }
    if (offset > this.#o.buffer) {
      this.refused.push("outside of the window");
      return this.#ack();
    }
    if (this.#peerTimestamps && this.#o.timestamps && int(this.#timestamp - this.#recent) < 0) {
      this.refused.push("time stamp of the past");
      return this.#ack();
    }
    if (this.#peerTimestamps && offset <= 0) this.#recent = this.#timestamp;
    this.#acknowledgement(p, length === 0 && fin === 0);
    if (length + fin > 0) this.#data(p, offset, length, fin === 1);
    this.#push(false);
  }

  #timestamp = 0;
  #in(): number {
    return this.received.length + (this.ended ? 1 : 0);
  }

  #options(p: Packet): void {
    for (let at = p.transport + 20; at < p.payload;) {
      const kind = p.data[at] as number;
      if (kind === 0) break;
      if (kind === 1) {
        at++;
        continue;
      }
      const view = new DataView(p.data.buffer, p.data.byteOffset + at);
      if (kind === 2) this.#peerMss = view.getUint16(2);
      if (kind === 3) this.#peerScale = view.getUint8(2);
      if (kind === 4) this.#peerSack = true;
      if (kind === 8) {
        this.#timestamp = view.getUint32(2);
        if ((p.tcpFlags & TCP.SYN) !== 0) this.#peerTimestamps = true;
      }
      at += view.getUint8(1);
    }
  }

  #syn(p: Packet): void {
    const again = this.#peerFirst !== undefined;
    this.#peerFirst = p.sequence;
    this.#recent = this.#timestamp;
    this.#peerWindow = p.window;
    if ((p.tcpFlags & TCP.ACK) === 0) {
      this.#synNeedsAck = true;
      if (!again || this.#una === 0) {
        this.#send(0, TCP.SYN | TCP.ACK, 0);
        this.#nxt = Math.max(1, this.#nxt);
        this.#timer = this.#o.now() + RTO;
      }
      return;
    }
    if (this.#una === 0) {
      this.#una = 1;
      this.#nxt = 1;
      this.#established = true;
      this.#backoff = 1;
      this.#timer = Infinity;
    }
    this.#ack();
    this.#push(false);
  }

  #acknowledgement(p: Packet, bare: boolean): void {
    if ((p.tcpFlags & TCP.ACK) === 0) return;
    const ack = int(p.acknowledgement - this.#o.first - this.#una) + this.#una;
    if (ack > this.#o.send.length + 2) throw new Error(`acknowledges ${ack}, never sent`);
    const scaled = this.#o.scale !== undefined && this.#peerScale !== undefined;
    const window = p.window * 2 ** (scaled ? this.#peerScale as number : 0);
    if (ack > this.#una) {
      this.#una = ack;
      this.#nxt = Math.max(this.#nxt, ack);
      this.#established = true;
      this.#backoff = 1;
      this.#duplicates = 0;
      this.#cwnd += this.#o.mss;
      this.#timer = this.#una < this.#nxt ? this.#o.now() + RTO : Infinity;
    } else if (
      ack === this.#una && ack > 0 && bare && this.#una < this.#nxt &&
      window === this.#peerWindow && ++this.#duplicates === 3
    ) {
      this.#cwnd = Math.max(2 * this.#o.mss, this.#cwnd >> 1);
      this.#segment(this.#una, this.#o.now());
    }
    if (ack >= this.#una) this.#peerWindow = window;
  }

  /** Bytes that it takes now. */
  get #room(): number {
    return Math.max(0, this.#o.buffer - this.#unread);
  }

  /** Its program will read what is there, and then say that there is room again. */
  #read(count: number): void {
    const { later } = this.#o;
    if (later === undefined || count === 0) return;
    this.#unread += count;
    if (this.#reading) return;
    this.#reading = true;
    later(() => {
      this.#reading = false;
      this.#unread = 0;
      if (!this.wasReset) this.#ack();
    });
  }

  #data(p: Packet, offset: number, length: number, fin: boolean): void {
    const base = this.#in();
    const before = this.received.length;
    const room = this.#room;
    for (let i = 0; i < length; i++) {
      const at = base + offset + i;
      if (at < this.received.length || at >= before + room) continue;
      const byte = p.data[p.payload + i] as number;
      if (this.#later.has(at) && this.#later.get(at) !== byte) {
        throw new Error(`byte ${at} changed`);
      }
      this.#later.set(at, byte);
    }
    if (fin) this.#finAt = base + offset + length;
    for (;;) {
      const byte = this.#later.get(this.received.length);
      if (byte === undefined) break;
      this.#later.delete(this.received.length);
      this.received.push(byte);
    }
    if (this.#finAt === this.received.length) this.ended = true;
    this.#read(this.received.length - before);
    this.#ack();
  }

  /** Sends what it may; at least something, when it is time to ask. */
  #push(force: boolean): void {
    if (!this.#established) return;
    const last = this.#o.send.length + 2;
    const limit = this.#una + Math.min(this.#cwnd, this.#peerWindow);
    let some = false;
    while (this.#nxt < last && (this.#nxt < limit || (force && !some))) {
      this.#nxt = this.#segment(this.#nxt, limit);
      some = true;
    }
    if (this.#una < this.#nxt || this.#nxt < last) {
      if (this.#timer === Infinity) this.#timer = this.#o.now() + RTO * this.#backoff;
    }
  }

  #segment(at: number, limit: number): number {
    const end = this.#o.send.length + 1;
    const size = Math.min(this.#o.mss, this.#peerMss) - (this.#stamped ? 12 : 0);
    const to = Math.min(end, at + size, Math.max(limit, at + 1));
    const fin = to === end ? TCP.FIN : 0;
    this.#send(at, TCP.ACK | fin | (to === end ? TCP.PSH : 0), to - at);
    const next = to + (fin === 0 ? 0 : 1);
    this.#highest = Math.max(this.#highest, next);
    return next;
  }

  get #stamped(): boolean {
    return this.#o.timestamps && this.#peerTimestamps;
  }

  #ack(): void {
    // Not from where it sends again: the other end would take that for old, and answer.
    this.#send(Math.max(this.#nxt, this.#highest), TCP.ACK, 0);
  }

  #send(offset: number, flags: number, length: number): void {
    const o = this.#o;
    const syn = (flags & TCP.SYN) !== 0;
    const options: number[] = [];
    if (syn) {
      options.push(2, 4, o.mss >> 8, o.mss & 255);
      if (o.scale !== undefined) options.push(1, 3, 3, o.scale);
      if (o.sack) options.push(1, 1, 4, 2);
    }
    if (o.timestamps && (syn ? flags === TCP.SYN || this.#peerTimestamps : this.#peerTimestamps)) {
      const time = Math.floor(o.now()) >>> 0;
      options.push(1, 1, 8, 10, ...bytes32(time), ...bytes32(this.#recent));
    }
    if (!syn && this.#later.size > 0 && o.sack && this.#peerSack && options.length <= 12) {
      const first = Math.min(...this.#later.keys());
      let end = first;
      while (this.#later.has(end)) end++;
      const base = (this.#peerFirst as number) + 1;
      options.push(1, 1, 5, 10, ...bytes32(base + first), ...bytes32(base + end));
    }
    const ipv4 = o.address.length === 4;
    const header = 20 + options.length;
    const network = 14;
    const tcp = network + (ipv4 ? 20 : 40);
    const frame = new Uint8Array(tcp + header + length);
    const view = new DataView(frame.buffer);
    frame.set([2, 0, 0, 0, 0, o.peerPort & 255, 2, 0, 0, 0, 0, o.port & 255]);
    view.setUint16(12, ipv4 ? 0x0800 : 0x86dd);
    if (ipv4) {
      frame.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6], network);
      view.setUint16(network + 2, frame.length - network);
      frame.set([...o.address, ...o.peer], network + 12);
      view.setUint16(network + 10, finishChecksum(addWords(0, frame, network, tcp)));
    } else {
      frame.set([0x60, 0, 0, 0, 0, 0, 6, 64], network);
      view.setUint16(network + 4, frame.length - tcp);
      frame.set([...o.address, ...o.peer], network + 8);
    }
    view.setUint16(tcp, o.port);
    view.setUint16(tcp + 2, o.peerPort);
    view.setUint32(tcp + 4, (o.first + offset) >>> 0);
    const acked = this.#peerFirst === undefined ? 0 : this.#peerFirst + 1 + this.#in();
    view.setUint32(tcp + 8, (flags & TCP.ACK) === 0 ? 0 : acked >>> 0);
    frame[tcp + 12] = (header >> 2) << 4;
    frame[tcp + 13] = flags;
    const scaled = !syn && o.scale !== undefined && this.#peerScale !== undefined;
    view.setUint16(tcp + 14, Math.min(65_535, this.#room >> (scaled ? o.scale as number : 0)));
    frame.set(options, tcp + 20);
    if (length > 0) frame.set(o.send.subarray(offset - 1, offset - 1 + length), tcp + header);
    const sum = pseudoHeader(
      frame,
      network + (ipv4 ? 12 : 8),
      ipv4 ? 4 : 16,
      6,
      frame.length - tcp,
    );
    view.setUint16(tcp + 16, finishChecksum(addWords(sum, frame, tcp, frame.length)));
    o.out(frame);
  }
}

function bytes32(value: number): number[] {
  const n = value >>> 0;
  return [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
}
