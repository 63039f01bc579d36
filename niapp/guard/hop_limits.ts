/**
 * The times to live that each connection's packets have.
 *
 * @module
 */
import type { Packet } from "../../lib/net/packet.ts";

/** Connections remembered; the one not seen for longest is forgotten. */
const MOST = 16_384;

/** The largest time to live of each direction of each connection. */
export class HopLimits {
  readonly #largest = new Map<string, number>();

  /** By how much the packet's is smaller than the largest of its connection's before. */
  below(p: Packet): number {
    const key = `${p.source().text} ${p.sourcePort} ${p.destination().text} ${p.destinationPort}`;
    const largest = this.#largest.get(key) ?? 0;
    if (largest > 0) this.#largest.delete(key);
    this.#largest.set(key, Math.max(largest, p.ttl));
    if (this.#largest.size > MOST) {
      for (const oldest of this.#largest.keys()) {
        this.#largest.delete(oldest);
        break;
      }
    }
    return Math.max(0, largest - p.ttl);
  }
}
