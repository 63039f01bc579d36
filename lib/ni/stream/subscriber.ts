/**
 * What reads a connection: a scanner, or a file.
 *
 * @module
 */
import type { Direction } from "../frame.ts";

/** Why a connection is over. */
export type CloseReason = "closed" | "reset" | "timeout" | "limit" | "killed";

/** Facts of a connection. */
export interface ConnectionFacts {
  /** The kernel counts all connections. */
  readonly number: number;
  readonly client: { readonly address: string; readonly port: number };
  readonly server: { readonly address: string; readonly port: number };
  /** The direction of what the client sends. */
  readonly clientDirection: Direction;
  readonly midstream: boolean;
}

/** One reader of one connection. */
export interface StreamReader {
  /** It decides about the bytes. */
  readonly contain: boolean;
  /** Milliseconds that it may leave bytes undecided, without asking for more. */
  readonly holdLimit: number;
  /** Bytes that it takes now; for less than it is to be asked again when it has read. */
  room(): number;
  /** Valid while the function runs. */
  data(direction: Direction, offset: number, bytes: Uint8Array): void;
  gap(direction: Direction, offset: number, length: number): void;
  end(direction: Direction, offset: number): void;
  closed(reason: CloseReason): void;
}

/** A reader's state in one direction. */
export interface ReaderFlow {
  /** Bytes below were delivered, or are not wanted. */
  sent: number;
  /** Bytes below are decided. */
  decided: number;
  /** Decided ones above that. */
  readonly cuts: { start: number; end: number }[];
  /** It needs the bytes below. */
  want: number;
  /** When bytes were delivered last, and when it asked for more. */
  at: number;
  ended: boolean;
}

/** A reader on a connection. */
export interface Subscription {
  readonly reader: StreamReader;
  readonly flows: readonly [ReaderFlow, ReaderFlow];
  released: boolean;
}

/** A new reader, that gets everything from an offset on. */
export function subscription(reader: StreamReader): Subscription {
  const flow = (): ReaderFlow => ({
    sent: 0,
    decided: reader.contain ? 0 : Infinity,
    cuts: [],
    want: 0,
    at: 0,
    ended: false,
  });
  return { reader, flows: [flow(), flow()], released: false };
}
