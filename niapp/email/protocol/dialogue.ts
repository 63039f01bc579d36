/**
 * What exchanges of mail protocols have in common: bytes are taken step by step, until the rest is opaque or nothing more
 * is to be taken now.
 *
 * @module
 */
import type { Exchange, ExchangeEvents, ExchangeOptions, Side } from "./exchange.ts";

/** A connection of one protocol. */
export abstract class Dialogue implements Exchange {
  /** As {@link Exchange.protocol}. */
  abstract readonly protocol: Exchange["protocol"];
  /** What is told. */
  protected readonly events: ExchangeEvents;
  /** What the administrator has set. */
  protected readonly options: ExchangeOptions;
  /** What follows cannot be read: it is encrypted. */
  protected opaque = false;
  /** Nothing more of this side is to be taken now. */
  protected stop = false;

  /** @param events what is told. */
  constructor(events: ExchangeEvents, options: ExchangeOptions) {
    this.events = events;
    this.options = options;
  }

  /** As {@link Exchange.take}. */
  take(side: Side, data: Uint8Array, start: number, end: number, offset: number): number {
    let at = start;
    while (at < end) {
      if (this.opaque) {
        this.events.pass(side, offset + end - start);
        return end;
      }
      const before = at;
      at = this.step(side, data, at, end, offset + at - start);
      if (at === before || this.stop) break;
    }
    this.stop = false;
    return at;
  }

  /** Takes some of the bytes: a line, or a piece of a message; where it has come to. */
  protected abstract step(
    side: Side,
    data: Uint8Array,
    start: number,
    end: number,
    offset: number,
  ): number;
}
