/**
 * What a scanner of reconstructed TCP streams is given, and what it can ask (CMU-CS-02-144, sections 3.2 and 4.2).
 *
 * A connection has two streams, one in each direction. Offsets count the bytes that their sender sent, from 0, whatever
 * scanners cut or inject: no offset ever names an injected byte, so that nobody can cut a part of one.
 *
 * @module
 */
import type { Alert, Direction } from "./scanner.ts";

/** One end of a connection. */
export interface Endpoint {
  /** As text. */
  readonly address: string;
  readonly port: number;
}

/** Who opened a connection, as seen from the host behind the NI. */
export type Opener = "host" | "net";

/** Why a connection is over. */
export type CloseReason = "closed" | "reset" | "timeout" | "limit" | "killed";

/** Bytes of a connection. Valid while the handler runs; keep a copy of what is needed longer. */
export interface StreamData {
  readonly direction: Direction;
  /** The client sent them. */
  readonly fromClient: boolean;
  /** Place of the first byte in the direction's stream. */
  readonly offset: number;
  /** The bytes. */
  readonly bytes: Uint8Array;
}

/**
 * A connection, and what can be done with it. Of a connection that is not {@link held}, bytes go on without waiting,
 * and all requests but `release` and `alert` do nothing.
 */
export interface Stream {
  /** Its number; the kernel counts the connections that it gives to a scanner. */
  readonly number: number;
  readonly client: Endpoint;
  readonly server: Endpoint;
  readonly opener: Opener;
  /** The direction of what the client sends. The server's is the other one. */
  readonly clientDirection: Direction;
  /** The kernel waits for verdicts. */
  readonly held: boolean;
  /** Its beginning was not seen: offset 0 is the first byte that was. */
  readonly midstream: boolean;
  /** Bit n: subscription n matches it. */
  readonly subscriptions: number;
  /**
   * Lets all bytes before an offset go on, but for those that were cut. An offset that has not come yet counts for
   * what is still to come. The stream's end goes on when every byte before it is decided.
   *
   * @param upTo the first byte that is not passed; all that is still to come when it is left out.
   * @param skip bytes of these that were not delivered yet need not be delivered: offsets then jump.
   */
  pass(direction: Direction, upTo?: number, skip?: boolean): void;
  /** Drops bytes that were not passed yet. What lies before the range is not decided by that. */
  cut(direction: Direction, offset: number, length: number): void;
  /**
   * Puts registered bytes before the byte at an offset, which was not passed yet (the end of what was passed will
   * do). They go when that offset is passed, or cut.
   *
   * @param index place in {@link Ni.injections}.
   */
  inject(direction: Direction, offset: number, index: number): void;
  /**
   * Says that no decision is possible before more bytes have come. The kernel then gets them from the sender, by
   * acknowledging in the receiver's place when it must.
   *
   * @param upTo the first byte that is not needed; as far as possible when it is left out.
   */
  more(direction: Direction, upTo?: number): void;
  /** Resets the connection at both ends. */
  kill(): void;
  /** Everything passes from now on, and nothing more of it is delivered. Cuts that were made stay. */
  release(): void;
  /**
   * Tells the administrator, with the connection's addresses.
   *
   * @param original bytes that go with it, as far as the kernel still has them: undecided ones it has.
   */
  alert(
    alert: Alert,
    original?: {
      readonly direction: Direction;
      readonly offset: number;
      readonly length: number;
    },
  ): void;
}

/** What a scanner does about one connection. All functions are called one after the other. */
export interface StreamHandler {
  /** Bytes came, without holes within them; see {@link gap}. Nothing passes unless it is passed. */
  data(data: StreamData): void;
  /** Bytes are missing that the receiver has got: the kernel did not see them, or this scanner was too slow. */
  gap?(direction: Direction, offset: number, length: number): void;
  /** The direction's sender has sent all; `offset` is the stream's length. */
  end?(direction: Direction, offset: number): void;
  /** The connection is over; nothing can be asked any more. */
  closed?(reason: CloseReason): void;
}
