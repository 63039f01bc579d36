/**
 * Gives a reader what is there, as far as it takes it.
 *
 * @module
 */
import type { Direction } from "../frame.ts";
import type { Flow } from "./flow.ts";
import type { Subscription } from "./subscriber.ts";

/** Bytes that are given at once. */
const MOST = 64 * 1024;
const memory = new Uint8Array(MOST);

/** The direction of a flow, by its index. */
export function directionOf(i: 0 | 1): Direction {
  return i === 0 ? "from-host" : "to-host";
}

/** Gives a reader the bytes of a flow that it has not got, and tells it of the end. */
export function deliver(subscription: Subscription, i: 0 | 1, flow: Flow, now: number): void {
  const { reader, flows } = subscription;
  const mine = flows[i];
  const { store, next } = flow.bytes;
  if (!reader.contain && mine.sent < store.low) {
    reader.gap(directionOf(i), mine.sent, store.low - mine.sent);
    mine.sent = store.low;
  }
  while (mine.sent < next && !subscription.released) {
    const length = Math.min(next - mine.sent, MOST, reader.room());
    if (length <= 0) break;
    store.copy(mine.sent, mine.sent + length, memory, 0);
    const offset = mine.sent;
    mine.sent += length;
    mine.at = now;
    reader.data(directionOf(i), offset, memory.subarray(0, length));
  }
  if (flow.finAt === next && mine.sent >= next && !mine.ended) {
    mine.ended = true;
    reader.end(directionOf(i), next);
  }
}
