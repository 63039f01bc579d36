/**
 * One direction of a shadowed connection: what its sender has sent, what its receiver has, and what is between them.
 *
 * @module
 */
import type { Packet } from "../../net/packet.ts";
import type { HeldFrame } from "../held_frames.ts";
import type { PiecePool } from "./byte_store.ts";
import { EditMap } from "./edit_map.ts";
import type { Range } from "./ranges.ts";
import { Reassembly } from "./reassembly.ts";
import { SegmentWriter } from "./segment_writer.ts";
import type { Sender } from "./sender.ts";
import type { TcpOptions } from "./tcp_options.ts";

/** A packet that waits for verdicts. */
export interface HeldPacket {
  readonly frames: readonly HeldFrame[];
  /** Its bytes in the stream. */
  readonly start: number;
  readonly end: number;
  readonly fin: boolean;
  /** Its bytes differ from the stream's. */
  conflict: boolean;
}

/** Registered bytes that are to go into a stream. */
export interface StreamInjection {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** A direction. */
export class Flow {
  /** Something of its sender was seen. */
  known = false;
  /** Of a capture: which checksums hold at all. */
  checked: { readonly network: boolean; readonly transport: boolean } | undefined;
  /** Sequence number of offset 0. */
  base = 0;
  readonly bytes: Reassembly;
  /** The sender ends the stream here. */
  finAt: number | undefined;
  /** What the receiver has acknowledged; a FIN counts one. */
  acked = 0;
  /** The end of the largest window that the receiver has opened; undefined: not known. */
  edge: number | undefined;
  /** The highest offset that was seen, a FIN included. */
  top = 0;
  /** Everything below was forwarded, as far as it came. A FIN counts one. */
  forwarded = 0;

  /** What the sender said at the handshake. */
  mss = 0;
  scale: number = -1;
  sackPermitted = false;
  synSeen = false;
  /** Time stamps: the sender's last one, and what its receiver compares with (RFC 7323, 4.3). */
  hasTimestamps = false;
  timestamp = 0;
  recent = 0;
  recentAt: number = -Infinity;
  /** Its largest segment: the path to its receiver carries so much. */
  largest = 0;
  /** Hop limit of its first packet. */
  ttl = 0;

  /** Packets that wait, in the order in which they came. */
  readonly queue: HeldPacket[] = [];
  /** Ranges to be dropped, in order. */
  readonly cuts: Range[] = [];
  /** In order of their offsets; of one offset, in the order in which they were asked for. */
  readonly injections: StreamInjection[] = [];

  /** Headers of its sender's packets. */
  writer: SegmentWriter | undefined;
  #writerFrame = 0;
  /** Its delivery, when the NI has taken it over. */
  sender: Sender | undefined;
  readonly map: EditMap = new EditMap();
  /** Original bytes below were given to {@link sender}, or cut. */
  processed = 0;
  /** Ends of what its sender pushed and that is still to be sent. */
  readonly pushes: number[] = [];
  /** What its sender was told that the receiver has, and may be sent. */
  ackSent = 0;
  edgeSent = 0;
  /** Of a capture: the same as {@link ackSent}, in the edited stream. */
  ackEdited = 0;
  /** An acknowledgement is due to its sender, whatever it says. */
  ackDue = false;
  /** Its sender waits for an answer to a probe, which is the receiver's. */
  probed = false;

  constructor(pool: PiecePool) {
    this.bytes = new Reassembly(pool);
  }

  /** Its first byte has this sequence number. */
  begin(sequence: number): void {
    this.known = true;
    this.base = sequence >>> 0;
  }

  /** The offset of a sequence number, of all that are possible the one next to `near`. */
  offset(sequence: number, near: number): number {
    return near + ((sequence - this.base - near) | 0);
  }

  /** The sequence number of an offset. */
  sequence(offset: number): number {
    // What is beyond 32 bits falls away.
    return (this.base + offset) >>> 0;
  }

  /** Takes over what a SYN says. */
  handshake(options: TcpOptions): void {
    this.synSeen = true;
    this.mss = options.mss;
    this.scale = options.scale;
    this.sackPermitted = options.sackPermitted;
  }

  /** Keeps the headers of its sender's packets, once in a while. */
  learn(p: Packet): void {
    if (this.writer !== undefined && ++this.#writerFrame < LEARN_EVERY) return;
    this.#writerFrame = 0;
    this.writer = SegmentWriter.from(p);
  }

  /** How its sender's windows are to be shifted, when its receiver is `back`'s sender. */
  shift(back: Flow): number {
    const both = (!this.synSeen || this.scale >= 0) && (!back.synSeen || back.scale >= 0);
    if (!both) return 0;
    // Without its SYN nobody knows: what is too large only lets more in.
    return this.synSeen && back.synSeen ? this.scale : MOST_SHIFT;
  }
}

/** Headers change seldom: addresses of the link, hop limit. */
const LEARN_EVERY = 256;
const MOST_SHIFT = 14;
