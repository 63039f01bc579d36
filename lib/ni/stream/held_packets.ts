/**
 * Packets of a connection that wait for verdicts, and go on as they came.
 *
 * @module
 */
import { Packet } from "../../net/packet.ts";
import type { HeldFrame } from "../held_frames.ts";
import type { StreamContext } from "./context.ts";
import type { Flow, HeldPacket } from "./flow.ts";
import { fixChecksum } from "./rewrite.ts";

/** For looking at packets that were held. */
const again = new Packet();

/** Packets that wait and overlap a range say something else than the stream. */
export function markConflicts({ queue }: Flow, offset: number, end: number): void {
  for (const held of queue) {
    if (held.start < end && offset < held.end) held.conflict = true;
  }
}

/** Writes the stream's bytes over a packet's own that contradict them. `offset` is that of its first byte. */
export function correct(p: Packet, flow: Flow, offset: number): void {
  const { store, next } = flow.bytes;
  const from = Math.max(offset, store.low);
  const to = Math.min(offset + p.payloadEnd - p.payload, next);
  if (from >= to) return;
  store.copy(from, to, p.data, p.payload + from - offset);
  fixChecksum(p);
}

/** Forwards the packets whose bytes are all below an offset, in the order in which they came. */
export function forwardDecided(flow: Flow, frontier: number, context: StreamContext): void {
  const { queue } = flow;
  let kept = 0;
  for (const held of queue) {
    if (held.end > frontier) {
      queue[kept++] = held;
      continue;
    }
    forwardHeld(held, flow, context);
    flow.forwarded = Math.max(flow.forwarded, held.end + (held.fin ? 1 : 0));
  }
  queue.length = kept;
}

/** Gives up all that wait. */
export function dropHeld({ queue }: Flow, { held }: StreamContext): void {
  for (const { frames } of queue) for (const frame of frames) held.release(frame);
  queue.length = 0;
}

function forwardHeld(held: HeldPacket, flow: Flow, context: StreamContext): void {
  const { now, linkType } = context;
  if (held.conflict && held.frames.length === 1) {
    const [frame] = held.frames as [HeldFrame];
    again.decode(frame.memory.data, frame.start, frame.end, linkType);
    correct(again, flow, held.start);
  }
  // Fragments that contradict the stream are not worth mending: their sender lies.
  const goes = !held.conflict || held.frames.length === 1;
  const seconds = Math.floor(now / 1000);
  const nanoseconds = Math.floor((now - seconds * 1000) * 1e6);
  for (const frame of held.frames) {
    if (goes) {
      const { memory, start, end, direction, wireLength } = frame;
      context.forward(memory, start, end, direction, { seconds, nanoseconds, wireLength });
    }
    context.held.release(frame);
  }
}
