/**
 * A TCP sender for one direction whose delivery the NI has taken over: window, congestion control, retransmission
 * (RFC 5681, 6298, 6582, 2018). It sends in the name of the true sender, and keeps what it sent until the receiver has it.
 *
 * @module
 */
import type { ByteStore } from "./byte_store.ts";
import { addRange, dropBelow, type Range } from "./ranges.ts";

/** Milliseconds. RFC 6298 has one second at least; senders of today have less, and so must their deputy. */
const LEAST_RTO = 200;
const FIRST_RTO = 1000;
const MOST_RTO = 60_000;
/** So many time-outs in a row, some minutes, and the receiver is gone. */
const MOST_TIMEOUTS = 12;
const DUPLICATES = 3;

/** What a segment of the sender is: bytes from an offset up to another one. */
export interface OutgoingSegment {
  readonly from: number;
  readonly to: number;
  readonly push: boolean;
  readonly fin: boolean;
}

/** Sends one. What cannot be sent is lost, as on any wire. */
export type Emit = (segment: OutgoingSegment) => void;

/** The sender. Offsets are those of the edited stream; a FIN is one more byte behind its end. */
export class Sender {
  /** Bytes from {@link una} to {@link end}. */
  readonly store: ByteStore;
  /** The first byte that the receiver has not acknowledged. */
  una: number;
  /** The first byte that was not sent, in this round of sending. */
  nxt: number;
  /** The first byte that is not there yet. */
  end: number;
  /** The stream ends at {@link end}. */
  fin = false;
  /** The first byte that the receiver has no room for. */
  edge: number;
  /** When {@link timeout} is to be called; undefined: not at all. */
  deadline: number | undefined;
  /** The receiver has not answered for too long. */
  gaveUp = false;
  /** Bytes sent again, for the counters. */
  retransmitted = 0;
  readonly #mss: number;
  #window: number;
  #threshold = Infinity;
  #rto = FIRST_RTO;
  #rtt = 0;
  #variation = 0;
  #timeouts = 0;
  #duplicates = 0;
  /** All that was ever sent lies below. */
  #sent: number;
  /** While lost segments are sent again: the end of what had been sent when the loss was seen. */
  #recover: number | undefined;
  /** Where the next hole is looked for. */
  #holes = 0;
  readonly #sacked: Range[] = [];
  #timed: { end: number; at: number } | undefined;
  #pushes: number[] = [];

  /**
   * @param una what the receiver has acknowledged, `nxt` what has been sent to it, `end` what is in the store.
   * @param edge the end of its window, `window` the bytes that may be under way to begin with, at least.
   */
  constructor(
    store: ByteStore,
    state: { una: number; nxt: number; end: number; edge: number; mss: number; window: number },
  ) {
    this.store = store;
    this.una = state.una;
    this.nxt = state.nxt;
    this.#sent = state.nxt;
    this.end = state.end;
    this.edge = state.edge;
    this.#mss = state.mss;
    this.#window = Math.max(10 * state.mss, state.nxt - state.una, state.window);
  }

  /** The end as the receiver counts it, a FIN included. */
  get last(): number {
    return this.end + (this.fin ? 1 : 0);
  }

  /** All was acknowledged, also the FIN. */
  get finished(): boolean {
    return this.fin && this.una === this.last;
  }

  /** The first byte that was never sent. */
  get sent(): number {
    return this.#sent;
  }

  /** The byte before this offset is one that the true sender pushed. */
  push(offset: number): void {
    if (this.#pushes.at(-1) !== offset) this.#pushes.push(offset);
  }

  /** The sender's FIN went out before delivery was taken over. */
  finWasSent(): void {
    this.fin = true;
    this.nxt = this.last;
    this.#sent = this.last;
  }

  /**
   * Takes an acknowledgement.
   *
   * @param edge the end of the window that it opens.
   * @param sacked ranges that the receiver has besides.
   * @param bare it carries nothing else, so that it may be a duplicate.
   * @returns false when it is of bytes that were never sent.
   */
  acknowledge(
    ack: number,
    edge: number,
    sacked: readonly Range[],
    bare: boolean,
    now: number,
    emit: Emit,
  ): boolean {
    if (ack > this.last) return false;
    // It came to the receiver before delivery was taken over.
    if (ack > this.#sent) this.#sent = ack;
    // The receiver lives, however long its window stays closed.
    if (this.una >= this.#sent) this.#timeouts = 0;
    const opened = edge > this.edge;
    if (opened) this.edge = edge;
    for (const { start, end } of sacked) {
      if (start > ack && end <= this.#sent) addRange(this.#sacked, start, end);
    }
    if (ack > this.una) this.#advance(ack, now, emit);
    else if (ack === this.una && this.una < this.#sent && bare && !opened) {
      this.#duplicate(emit);
    }
    return true;
  }

  /** Sends what the windows allow. */
  send(now: number, emit: Emit): void {
    const limit = Math.min(this.una + this.#window, this.edge);
    while (this.nxt < this.last) {
      const skip = this.#sacked.find(({ start, end }) => start <= this.nxt && this.nxt < end);
      if (skip !== undefined) {
        this.nxt = Math.min(skip.end, this.last);
        continue;
      }
      const room = limit - this.nxt;
      const left = this.end - this.nxt;
      const length = Math.min(this.#mss, left, room);
      // A FIN needs no room of its own, since nothing follows it; small pieces wait for what is under way.
      if (length < left && (length <= 0 || (length < this.#mss && this.nxt > this.una))) break;
      this.#emit(this.nxt, this.nxt + Math.max(0, length), now, emit);
      if (left <= 0) break;
    }
    this.#arm(now);
  }

  /** Sends the oldest bytes again, since the true sender did so: at most once in a round trip. */
  again(now: number, emit: Emit): void {
    if (this.una >= this.#sent || this.#recover !== undefined) return;
    if (this.#timed !== undefined && now - this.#timed.at < Math.max(this.#rtt, 10)) return;
    this.#retransmit(this.una, emit);
  }

  /** The {@link deadline} has come. */
  timeout(now: number, emit: Emit): void {
    this.deadline = undefined;
    if (++this.#timeouts > MOST_TIMEOUTS) {
      this.gaveUp = true;
      return;
    }
    this.#rto = Math.min(MOST_RTO, this.#rto * 2);
    if (this.una < this.#sent) {
      this.#threshold = Math.max((this.#sent - this.una) / 2, 2 * this.#mss);
      this.#window = this.#mss;
      this.#recover = undefined;
      this.#duplicates = 0;
      this.#timed = undefined;
      // A receiver may forget what it only told by SACK (RFC 2018, 8).
      this.#sacked.length = 0;
      this.nxt = this.una;
      // The window may have been closed since; one segment into it is a probe.
      if (this.edge <= this.una) this.#retransmit(this.una, emit);
      else this.send(now, emit);
    } else {
      // Nothing is under way and the window is closed: ask.
      emit({ from: this.una - 1, to: this.una - 1, push: false, fin: false });
    }
    this.#arm(now);
  }

  #advance(ack: number, now: number, emit: Emit): void {
    if (this.#timed !== undefined && ack >= this.#timed.end) {
      this.#measure(now - this.#timed.at);
      this.#timed = undefined;
    }
    const count = ack - this.una;
    this.una = ack;
    if (this.nxt < ack) this.nxt = ack;
    this.store.forget(Math.min(ack, this.end));
    if (this.una >= this.end) this.store.empty(this.end);
    dropBelow(this.#sacked, ack);
    while (this.#pushes[0] !== undefined && this.#pushes[0] <= ack) this.#pushes.shift();
    this.#timeouts = 0;
    this.#backToMeasured();
    this.#duplicates = 0;
    if (this.#recover !== undefined) {
      if (ack >= this.#recover) {
        this.#recover = undefined;
        this.#window = Math.max(this.#threshold, 2 * this.#mss);
      } else {
        this.#holes = Math.max(this.#holes, ack);
        // A part only: what comes next is lost as well.
        if (this.#holes === ack || this.#sacked.length === 0) this.#retransmit(ack, emit);
        else this.#nextHole(emit);
      }
    } else if (this.#window < this.#threshold) this.#window += Math.min(count, 2 * this.#mss);
    else this.#window += Math.max(1, this.#mss * Math.min(count, this.#mss) / this.#window);
    this.deadline = undefined;
    this.#arm(now);
  }

  #duplicate(emit: Emit): void {
    this.#duplicates++;
    if (this.#recover !== undefined) {
      this.#window += this.#mss;
      this.#nextHole(emit);
      return;
    }
    const above = this.#sacked.reduce((sum, { start, end }) => sum + end - start, 0);
    if (this.#duplicates < DUPLICATES && above < DUPLICATES * this.#mss) return;
    this.#recover = this.#sent;
    this.#threshold = Math.max((this.#sent - this.una) / 2, 2 * this.#mss);
    this.#window = this.#threshold + DUPLICATES * this.#mss;
    this.#timed = undefined;
    this.#holes = this.una;
    this.#retransmit(this.una, emit);
  }

  /** Sends again the next bytes that the receiver has not told of, below those that it has. */
  #nextHole(emit: Emit): void {
    const highest = this.#sacked.at(-1)?.end ?? 0;
    let at = this.#holes;
    for (const { start, end } of this.#sacked) if (start <= at && at < end) at = end;
    if (at < highest) this.#retransmit(at, emit);
  }

  #retransmit(at: number, emit: Emit): void {
    const next = this.#sacked.find(({ start }) => start > at)?.start ?? this.end;
    const to = Math.max(at, Math.min(at + this.#mss, next, this.end, Math.max(this.#sent, at)));
    this.#holes = Math.max(this.#holes, to);
    const fin = this.fin && to === this.end && this.#sent > this.end;
    if (to === at && !fin) return;
    this.retransmitted += to - at;
    emit({ from: at, to, push: this.#pushed(at, to), fin });
  }

  #emit(from: number, to: number, now: number, emit: Emit): void {
    const fin = this.fin && to === this.end;
    const next = to + (fin ? 1 : 0);
    if (next <= this.#sent) this.retransmitted += to - from;
    else if (from >= this.#sent) this.#timed ??= { end: next, at: now };
    emit({ from, to, push: this.#pushed(from, to), fin });
    this.nxt = next;
    if (next > this.#sent) this.#sent = next;
  }

  #pushed(from: number, to: number): boolean {
    return to > from && this.#pushes.some((offset) => from < offset && offset <= to);
  }

  #measure(rtt: number): void {
    if (this.#rtt === 0) {
      this.#rtt = Math.max(rtt, 0.01);
      this.#variation = rtt / 2;
    } else {
      this.#variation = 0.75 * this.#variation + 0.25 * Math.abs(this.#rtt - rtt);
      this.#rtt = 0.875 * this.#rtt + 0.125 * rtt;
    }
    this.#backToMeasured();
  }

  #backToMeasured(): void {
    if (this.#rtt > 0) {
      this.#rto = Math.min(MOST_RTO, Math.max(LEAST_RTO, this.#rtt + 4 * this.#variation));
    } else this.#rto = FIRST_RTO;
  }

  #arm(now: number): void {
    const waits = this.una < this.#sent || this.nxt < this.last;
    if (!waits) this.deadline = undefined;
    else this.deadline ??= now + this.#rto;
  }
}
