/**
 * Frames that wait for verdicts, in memory from which they can be sent.
 *
 * @module
 */
import { type FrameMemory, frameMemory, VNET_HEADER } from "../sys/packet_socket.ts";
import type { Direction, FrameRef } from "./frame.ts";

/** Bytes in front of a frame for its virtio-net header, so that headers stay aligned. */
const LEAD = 16;
/** Most frames are of one Ethernet; few are large. */
const SMALL = 2048;
const LARGE = 66 * 1024;

/** A frame that waits. */
export interface HeldFrame {
  readonly number: number;
  readonly memory: FrameMemory;
  readonly start: number;
  readonly end: number;
  readonly wireLength: number;
  readonly direction: Direction;
  readonly seconds: number;
  readonly nanoseconds: number;
  /** Verdicts that are still to come. */
  pending: number;
  /** One of them was to cut it. */
  cut: boolean;
  /** Where its memory goes back to. */
  readonly pool: FramePool;
  readonly slot: number;
}

/** Slots of one size, taken and given back. */
class FramePool {
  readonly size: number;
  readonly #most: number;
  readonly #slabs: FrameMemory[] = [];
  readonly #free: number[] = [];
  #slots = 0;

  constructor(size: number, most: number) {
    this.size = size;
    this.#most = most;
  }

  /** A free slot, or undefined when all are taken. */
  take(): number | undefined {
    const slot = this.#free.pop();
    if (slot !== undefined) return slot;
    if (this.#slots >= this.#most) return undefined;
    if (this.#slots % SLOTS_A_SLAB === 0) this.#slabs.push(frameMemory(this.size * SLOTS_A_SLAB));
    return this.#slots++;
  }

  give(slot: number): void {
    this.#free.push(slot);
  }

  memory(slot: number): FrameMemory {
    return this.#slabs[Math.floor(slot / SLOTS_A_SLAB)] as FrameMemory;
  }

  offset(slot: number): number {
    return (slot % SLOTS_A_SLAB) * this.size;
  }
}

const SLOTS_A_SLAB = 64;

/** All frames that wait, oldest first. */
export class HeldFrames {
  readonly #small: FramePool;
  readonly #large: FramePool;
  readonly #frames = new Map<number, HeldFrame>();
  #released: HeldFrame[] = [];

  /** @param most frames that wait at most, of each of two sizes (2 KiB; an eighth as many of 66 KiB). */
  constructor(most: number) {
    this.#small = new FramePool(SMALL, most);
    this.#large = new FramePool(LARGE, Math.max(64, most >> 3));
  }

  /** Frames that wait now. */
  get size(): number {
    return this.#frames.size;
  }

  /** Frames in the order in which they came. */
  values(): IterableIterator<HeldFrame> {
    return this.#frames.values();
  }

  /** A frame by its number. */
  get(number: number): HeldFrame | undefined {
    return this.#frames.get(number);
  }

  /**
   * Copies a frame, with what is in front of it.
   *
   * @returns undefined when there is no room.
   */
  hold(frame: FrameRef, pending: number): HeldFrame | undefined {
    const length = frame.end - frame.start;
    const pool = length + LEAD <= SMALL ? this.#small : this.#large;
    if (length + LEAD > pool.size) return undefined;
    const slot = pool.take();
    if (slot === undefined) return undefined;
    const memory = pool.memory(slot);
    const start = pool.offset(slot) + LEAD;
    const lead = Math.min(VNET_HEADER, frame.start);
    memory.data.fill(0, start - VNET_HEADER, start);
    memory.data.set(frame.data.subarray(frame.start - lead, frame.end), start - lead);
    const held: HeldFrame = {
      number: frame.number,
      memory,
      start,
      end: start + length,
      wireLength: frame.wireLength,
      direction: frame.direction,
      seconds: frame.seconds,
      nanoseconds: frame.nanoseconds,
      pending,
      cut: false,
      pool,
      slot,
    };
    this.#frames.set(frame.number, held);
    return held;
  }

  /** Forgets a frame. Its memory stays as it is until {@link settle}: it may be on its way out. */
  release(held: HeldFrame): void {
    if (this.#frames.delete(held.number)) this.#released.push(held);
  }

  /** The memory of released frames may be used again. */
  settle(): void {
    if (this.#released.length === 0) return;
    for (const { pool, slot } of this.#released) pool.give(slot);
    this.#released = [];
  }
}
