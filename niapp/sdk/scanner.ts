/**
 * What a scanner is, and what it can ask of the NI kernel (CMU-CS-02-144, table 1).
 *
 * @module
 */

import type { Opener, Stream, StreamHandler } from "./stream.ts";

/** Which way a frame goes. */
export type Direction = "from-host" | "to-host";

/** What becomes of a frame; `later` says so with {@link Ni.decide}. */
export type Verdict = "pass" | "cut" | "later";

/** A frame that was subscribed to. Valid while the handler runs; keep a copy of what is needed longer. */
export interface Frame {
  /** Its number; the kernel counts all frames. */
  readonly number: number;
  /** Memory that holds it. */
  readonly data: Uint8Array;
  /** First byte. */
  readonly start: number;
  /** The byte after the last one that is there. */
  readonly end: number;
  /** Bytes that it had on the wire. */
  readonly wireLength: number;
  readonly direction: Direction;
  /** When the kernel saw it, in milliseconds since the epoch, with fractions. */
  readonly time: number;
  /** The kernel waits for a verdict. */
  readonly held: boolean;
  /** Bit n: subscription n matches it. */
  readonly subscriptions: number;
}

/** What an administrator is to be told. The kernel adds who and when. */
export interface Alert {
  /** The finding, always the same words for the same finding. */
  readonly signature: string;
  readonly category?: string;
  /** 1 is the gravest, 3 the least. */
  readonly severity?: 1 | 2 | 3;
  /** What was done. */
  readonly action?: "allowed" | "blocked";
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** A connection to a service. */
export interface ServiceConnection {
  /** Sends bytes, at once or as soon as the service takes them; they are copied. */
  write(bytes: Uint8Array): void;
  /** Nothing more will be written. */
  end(): void;
  /** Nothing is to come, before something is written again: over a capture the kernel goes on. */
  rest(): void;
  /** Ends the connection; nothing more is heard of it. */
  close(): void;
}

/** What is heard of a connection to a service. */
export interface ServiceEvents {
  /** Bytes of the service. Valid while the handler runs. */
  data(bytes: Uint8Array): void;
  /** The connection is over, or was never made: `why` is empty when the service ended it in good order. */
  ended(why: string): void;
}

/** The NI kernel, as a scanner sees it. */
export interface Ni {
  /** Milliseconds since the epoch by the kernel's clock: real inline, the capture's offline. */
  readonly now: number;
  /** What the administrator has set for this scanner. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Networks of the host behind the NI, as prefixes; empty when not told. */
  readonly hostNetworks: readonly string[];
  /** Link type of all frames (LINKTYPE_*). */
  readonly linkType: number;
  /** Bytes of one direction of a connection that the kernel can hold for {@link Stream.more}. */
  readonly streamLimit: number;
  /** Names of the registered injections, of frames and of streams; their place is their index. */
  readonly injections: readonly string[];
  /** Names of the services that the administrator gives this scanner. */
  readonly services: readonly string[];
  /**
   * Asks for frames. The administrator may have allowed less: {@link Scanner.subscribed} tells.
   *
   * @param filter of pcap-filter(7); empty: all frames.
   * @returns the subscription's number, from 0.
   */
  subscribe(filter: string, right: "read" | "contain"): number;
  /**
   * Asks for reconstructed TCP connections by their server's ports. The administrator may have allowed less:
   * {@link Scanner.subscribed} tells.
   *
   * @param ports of the server, single or as ranges; none: all.
   * @param opener only connections that this side opened; either when it is left out.
   * @returns the subscription's number, counted together with those of frames.
   */
  subscribeStreams(
    ports: readonly (number | readonly [first: number, last: number])[],
    right: "read" | "contain",
    opener?: Opener,
  ): number;
  /** Decides about a frame that was answered with `later`. */
  decide(frame: number, verdict: "pass" | "cut"): void;
  /** Sends a registered frame. */
  inject(index: number, direction: Direction): void;
  /**
   * Tells the administrator.
   *
   * @param frames numbers of frames whose copies go with it; those that are gone are left out.
   */
  alert(alert: Alert, frames?: readonly number[]): void;
  /**
   * Ends the TCP connection of a frame: the kernel writes the reset itself, from the frame's own numbers. Only for
   * frames that this scanner may contain and that are among the last that it saw.
   *
   * @param direction in which the reset goes: to one end of the connection.
   */
  reset(frame: number, direction: Direction): void;
  /** No more of this frame's flow need be seen. */
  finish(frame: number): void;
  /** Has {@link Scanner.wake} called when the kernel's clock has come to a time. The last call counts. */
  wakeAt(time: number): void;
  /**
   * Asks the kernel to connect this scanner to a service. Over a capture the kernel waits with the next frame until
   * all connections are over, or rest.
   *
   * @param service one of {@link Ni.services}; others end at once.
   */
  connect(service: string, events: ServiceEvents): ServiceConnection;
}

/** A scanner. All functions are called one after the other. */
export interface Scanner {
  readonly name: string;
  /** The kernel is there: the place for subscriptions. */
  start(ni: Ni): void;
  /** A frame came. The result counts for frames that are {@link Frame.held}; without one they pass. */
  frame?(frame: Frame, ni: Ni): Verdict | void;
  /** A connection that was subscribed to is established. Without a handler it is released. */
  stream?(stream: Stream, ni: Ni): StreamHandler | void;
  /** The time of {@link Ni.wakeAt} has come. */
  wake?(ni: Ni): void;
  /** A subscription was answered. `granted` is undefined when it was refused. */
  subscribed?(
    subscription: number,
    granted: "read" | "contain" | undefined,
    why: string,
    ni: Ni,
  ): void;
  /** Frames of read subscriptions were not delivered, since this scanner was too slow. */
  lost?(count: number, ni: Ni): void;
}
