/**
 * A packet as it came: one frame, or the fragments that it was put together from.
 *
 * @module
 */
import type { Packet } from "../../net/packet.ts";
import type { FrameMemory } from "../../sys/packet_socket.ts";
import { type Direction, FrameRef } from "../frame.ts";
import type { HeldFrame, HeldFrames } from "../held_frames.ts";

/** When a frame came, and its length on the wire. */
export interface FrameTimes {
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly wireLength: number;
}

/** How frames leave the streams. Their memory is not changed before the NI kernel settles. */
export type ForwardFrame = (
  memory: FrameMemory,
  start: number,
  end: number,
  direction: Direction,
  at: FrameTimes,
) => void;

/** Not made anew for each packet. */
const NONE: readonly HeldFrame[] = [];

/** A packet. One object is used again for all. */
export class Arrival {
  readonly packet: Packet;
  /** Fragments that were held; empty when it is one frame. */
  fragments: readonly HeldFrame[] = NONE;
  #memory: FrameMemory | undefined;
  readonly #frame = new FrameRef();
  readonly #held: HeldFrames;
  readonly #forward: ForwardFrame;
  #number = 0;

  constructor(packet: Packet, held: HeldFrames, forward: ForwardFrame) {
    this.packet = packet;
    this.#held = held;
    this.#forward = forward;
  }

  /** Which way it goes. */
  get direction(): Direction {
    return this.#frame.direction;
  }

  /** Is this one frame. */
  set(memory: FrameMemory, start: number, end: number, direction: Direction, at: FrameTimes): void {
    this.fragments = NONE;
    this.#memory = memory;
    const frame = this.#frame;
    frame.data = memory.data;
    frame.start = start;
    frame.end = end;
    frame.direction = direction;
    frame.seconds = at.seconds;
    frame.nanoseconds = at.nanoseconds;
    frame.wireLength = at.wireLength;
  }

  /** Is these fragments. */
  setFragments(fragments: readonly HeldFrame[], direction: Direction): void {
    this.fragments = fragments;
    this.#memory = undefined;
    this.#frame.direction = direction;
  }

  /** It goes the other way. */
  turn(direction: Direction): void {
    this.#frame.direction = direction;
  }

  /** It ends earlier now. Only for one that is a single frame. */
  shorten(end: number): void {
    this.#frame.wireLength -= this.#frame.end - end;
    this.#frame.end = end;
  }

  /** Lets it go on as it is. */
  forward(): void {
    const frame = this.#frame;
    if (this.#memory !== undefined) {
      this.#forward(this.#memory, frame.start, frame.end, frame.direction, frame);
      return;
    }
    for (const held of this.fragments) {
      this.#forward(held.memory, held.start, held.end, held.direction, held);
      this.#held.release(held);
    }
    this.fragments = NONE;
  }

  /** Keeps it. Undefined when there is no room. */
  hold(): readonly HeldFrame[] | undefined {
    if (this.#memory === undefined) {
      const fragments = this.fragments;
      this.fragments = NONE;
      return fragments;
    }
    this.#frame.number = ++this.#number;
    const held = this.#held.hold(this.#frame, 0);
    return held === undefined ? undefined : [held];
  }

  /** Keeps a copy of a fragment that is only a part of a packet. */
  holdFragment(): HeldFrame | undefined {
    return this.hold()?.[0];
  }

  /** Gives up what is kept of it. */
  drop(): void {
    for (const held of this.fragments) this.#held.release(held);
    this.fragments = NONE;
  }
}
