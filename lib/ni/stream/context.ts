/**
 * What connections need of what is around them: bounds, memory, time, and ways out.
 *
 * @module
 */
import type { HeldFrames } from "../held_frames.ts";
import type { ForwardFrame } from "./arrival.ts";
import type { PiecePool } from "./byte_store.ts";
import type { Connection } from "./connection.ts";
import type { OverlapPolicy } from "./reassembly.ts";
import type { TcpOptions } from "./tcp_options.ts";

/** Bounds and choices. */
export interface StreamSettings {
  /** Bytes of one direction of a connection that are held. */
  readonly streamBytes: number;
  readonly overlap: OverlapPolicy;
  /** Hop limits below this, that are much less than the connection's usual one, are meant not to arrive. */
  readonly leastTtl: number;
  /** What receivers do with urgent bytes: `inline` makes ordinary ones of them, `keep` leaves them as they are. */
  readonly urgent: "inline" | "keep";
  /** Cuts of at most so many bytes are small, and so many of them are told of. */
  readonly smallCut: number;
  readonly smallCuts: number;
  /**
   * The packets are of a capture: neither end answers to what is changed. What a receiver acknowledged counts for what it
   * would have got, and nothing is sent again.
   */
  readonly replay: boolean;
}

/** What connections need of what is around them. */
export interface StreamContext {
  /** Milliseconds since the epoch. */
  now: number;
  readonly pool: PiecePool;
  readonly held: HeldFrames;
  readonly settings: StreamSettings;
  readonly options: TcpOptions;
  readonly linkType: number;
  readonly counters: StreamCounters;
  readonly forward: ForwardFrame;
  alert(
    connection: Connection,
    signature: string,
    detail?: Readonly<Record<string, unknown>>,
  ): void;
  /** The handshake is done, or the connection was picked up: whoever wants may subscribe. */
  opened(connection: Connection): void;
  /** A connection has something to do later. */
  timer(connection: Connection): void;
}

/** What became of packets and bytes. */
export interface StreamCounters {
  connections: number;
  open: number;
  packets: number;
  /** Bytes put together. */
  bytes: number;
  /** Packets that do not belong to the stream, as the receiver would judge. */
  rejected: number;
  conflicts: number;
  relayed: number;
  cutBytes: number;
  injectedBytes: number;
  killed: number;
  retransmitted: number;
}

/** Where a connection is. */
export type ConnectionState = "opening" | "open" | "closed" | "reset" | "killed";
