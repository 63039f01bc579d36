/**
 * DNS over TCP (RFC 7766) as frames show it: messages behind a length, put together in order. Enough for a
 * shadow: what cannot be followed is left alone, and its addresses are then not known.
 *
 * @module
 */
import { type Packet, TCP, u16 } from "./packet.ts";

/** Connections followed at once; the one idle for longest makes room. */
const MOST_CONNECTIONS = 256;
/** Bytes kept of one direction that are not a whole message yet. */
const MOST_BYTES = 2 + 65_535;

interface Direction {
  next: number;
  bytes: Uint8Array<ArrayBuffer>;
  length: number;
}

/** Finds DNS messages in TCP segments. */
export class DnsStreams {
  readonly #directions = new Map<string, Direction>();

  /** Calls `visit` with each message that a segment completes. */
  segment(p: Packet, visit: (data: Uint8Array, start: number, end: number) => void): void {
    const key = `${p.source().text} ${p.sourcePort} ${p.destination().text} ${p.destinationPort}`;
    if ((p.tcpFlags & TCP.SYN) !== 0) return this.#begin(key, (p.sequence + 1) >>> 0);
    const direction = this.#directions.get(key);
    if (direction === undefined) return;
    // The most lately used are last.
    this.#directions.delete(key);
    if ((p.tcpFlags & TCP.RST) !== 0) return;
    this.#directions.set(key, direction);
    // What was there already is skipped; what leaves a gap waits for its retransmission.
    const skip = (direction.next - p.sequence) | 0;
    const length = p.payloadEnd - p.payload;
    if (skip < 0 || skip >= length) return;
    this.#take(direction, p, skip, visit);
    if ((p.tcpFlags & TCP.FIN) !== 0) this.#directions.delete(key);
  }

  #begin(key: string, next: number): void {
    this.#directions.delete(key);
    if (this.#directions.size >= MOST_CONNECTIONS) {
      for (const oldest of this.#directions.keys()) {
        this.#directions.delete(oldest);
        break;
      }
    }
    this.#directions.set(key, { next, bytes: new Uint8Array(0), length: 0 });
  }

  #take(
    direction: Direction,
    p: Packet,
    skip: number,
    visit: (data: Uint8Array, start: number, end: number) => void,
  ): void {
    const added = p.data.subarray(p.payload + skip, p.payloadEnd);
    direction.next = (direction.next + added.length) >>> 0;
    const all = new Uint8Array(direction.length + added.length);
    all.set(direction.bytes.subarray(0, direction.length));
    all.set(added, direction.length);
    let at = 0;
    while (all.length - at >= 2) {
      const end = at + 2 + u16(all, at);
      if (end > all.length) break;
      visit(all, at + 2, end);
      at = end;
    }
    // Never more than one message: its length is 16 bits.
    direction.bytes = all.slice(at, at + MOST_BYTES);
    direction.length = direction.bytes.length;
  }
}
