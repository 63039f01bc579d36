/**
 * The open connections of one scanner: messages of the kernel become calls of handlers, requests become messages.
 *
 * @module
 */
import { ipFromBytes } from "../../lib/net/ip.ts";
import {
  CLOSE_REASONS,
  DATA_HEADER,
  DIRECTION,
  FLAG_MIDSTREAM,
  FLAG_SKIP,
  FLAG_VERDICT,
  HEADER_SIZE,
  MESSAGE,
  type MessageBuffer,
  type MessageReader,
  WHOLE_STREAM,
} from "./protocol.ts";
import type { Alert, Direction, Ni, Scanner } from "./scanner.ts";
import type { CloseReason, Endpoint, Opener, Stream, StreamHandler } from "./stream.ts";

interface Open {
  readonly stream: OpenStream;
  readonly handler: StreamHandler;
}

/** All open connections of a scanner. */
export class OpenStreams {
  readonly #scanner: Scanner;
  readonly #ni: Ni;
  readonly #reader: MessageReader;
  readonly #out: MessageBuffer;
  readonly #open = new Map<number, Open>();

  constructor(scanner: Scanner, ni: Ni, reader: MessageReader, out: MessageBuffer) {
    this.#scanner = scanner;
    this.#ni = ni;
    this.#reader = reader;
    this.#out = out;
  }

  /** Works on a message of a stream, of at least 16 bytes from `start`. @throws {Error} when it is too short. */
  message(type: number, start: number, end: number): void {
    const { view } = this.#reader;
    const number = view.getUint32(start, true);
    if (type === MESSAGE.OPENED) return this.#opened(number, start, end);
    const open = this.#open.get(number);
    if (open === undefined) return; // released
    const at = start + 16;
    if (end - at < 8) throw new Error(`A message of type ${type} is too short`);
    const direction: Direction = view.getUint8(start + 4) === DIRECTION.TO_HOST
      ? "to-host"
      : "from-host";
    switch (type) {
      case MESSAGE.DATA: {
        const first = start + DATA_HEADER - HEADER_SIZE;
        if (first > end) throw new Error("A stream's data is cut off");
        const last = first + view.getUint32(at + 8, true);
        if (last > end) throw new Error("A stream's data is cut off");
        open.handler.data({
          direction,
          fromClient: direction === open.stream.clientDirection,
          offset: this.#reader.u64(at),
          bytes: this.#reader.bytes.subarray(first, last),
        });
        return;
      }
      case MESSAGE.GAP:
        if (end - at < 16) throw new Error("A stream's gap is cut off");
        open.handler.gap?.(direction, this.#reader.u64(at), this.#reader.u64(at + 8));
        return;
      case MESSAGE.END:
        open.handler.end?.(direction, this.#reader.u64(at));
        return;
      case MESSAGE.CLOSED: {
        this.#open.delete(number);
        const reason = CLOSE_REASONS[view.getUint32(at, true)];
        if (!reason) throw new Error("A connection is closed for no known reason");
        open.handler.closed?.(reason satisfies CloseReason);
      }
    }
  }

  #opened(number: number, start: number, end: number): void {
    const { view, bytes } = this.#reader;
    const at = start + 16;
    const size = end - at < 8 ? 0 : view.getUint32(at + 4, true);
    if ((size !== 4 && size !== 16) || end - at < 8 + 2 * size) {
      throw new Error("A connection's addresses are cut off");
    }
    const endpoint = (port: number, address: number): Endpoint => ({
      address: ipFromBytes(bytes.subarray(address, address + size)).text,
      port: view.getUint16(port, true),
    });
    const flags = view.getUint8(start + 5);
    const fromHost = view.getUint8(start + 4) === DIRECTION.FROM_HOST;
    const stream = new OpenStream(this.#out, () => this.#open.delete(number), {
      number,
      client: endpoint(at, at + 8),
      server: endpoint(at + 2, at + 8 + size),
      opener: fromHost ? "host" : "net",
      held: (flags & FLAG_VERDICT) !== 0,
      midstream: (flags & FLAG_MIDSTREAM) !== 0,
      subscriptions: view.getUint16(start + 6, true),
    });
    const handler = this.#scanner.stream?.(stream, this.#ni);
    if (handler) {
      if (!stream.released) this.#open.set(number, { stream, handler });
    } else if (!stream.released) stream.release();
  }
}

interface StreamFacts {
  readonly number: number;
  readonly client: Endpoint;
  readonly server: Endpoint;
  readonly opener: Opener;
  readonly held: boolean;
  readonly midstream: boolean;
  readonly subscriptions: number;
}

/** A connection of the kernel's. */
class OpenStream implements Stream {
  readonly number: number;
  readonly client: Endpoint;
  readonly server: Endpoint;
  readonly opener: Opener;
  readonly clientDirection: Direction;
  readonly held: boolean;
  readonly midstream: boolean;
  readonly subscriptions: number;
  released = false;
  readonly #out: MessageBuffer;
  readonly #forget: () => void;

  constructor(out: MessageBuffer, forget: () => void, facts: StreamFacts) {
    this.#out = out;
    this.#forget = forget;
    this.number = facts.number;
    this.client = facts.client;
    this.server = facts.server;
    this.opener = facts.opener;
    this.clientDirection = facts.opener === "host" ? "from-host" : "to-host";
    this.held = facts.held;
    this.midstream = facts.midstream;
    this.subscriptions = facts.subscriptions;
  }

  /** As {@link Stream.pass}. */
  pass(direction: Direction, upTo: number = WHOLE_STREAM, skip = false): void {
    if (!this.held) return;
    this.#begin(MESSAGE.PASS, direction).u64(upTo).u32(skip ? FLAG_SKIP : 0).u32(0).end();
  }

  /** As {@link Stream.cut}. */
  cut(direction: Direction, offset: number, length: number): void {
    if (!this.held) return;
    this.#begin(MESSAGE.CUT, direction).u64(offset).u64(length).end();
  }

  /** As {@link Stream.inject}. */
  inject(direction: Direction, offset: number, index: number): void {
    if (!this.held) return;
    this.#begin(MESSAGE.STREAM_INJECT, direction).u64(offset).u32(index).u32(0).end();
  }

  /** As {@link Stream.more}. */
  more(direction: Direction, upTo: number = WHOLE_STREAM): void {
    if (!this.held) return;
    this.#begin(MESSAGE.MORE, direction).u64(upTo).end();
  }

  /** As {@link Stream.kill}. */
  kill(): void {
    if (!this.held) return;
    this.#out.begin(MESSAGE.KILL).u32(this.number).u32(0).end();
  }

  /** As {@link Stream.release}. */
  release(): void {
    this.released = true;
    this.#forget();
    this.#out.begin(MESSAGE.RELEASE).u32(this.number).u32(0).end();
  }

  /** As {@link Stream.alert}. */
  alert(
    alert: Alert,
    original?: { readonly direction: Direction; readonly offset: number; readonly length: number },
  ): void {
    const text = new TextEncoder().encode(JSON.stringify(alert));
    this.#begin(MESSAGE.STREAM_ALERT, original?.direction ?? "from-host");
    this.#out.u64(original?.offset ?? 0).u32(original?.length ?? 0).u32(text.length);
    this.#out.raw(text).end();
  }

  #begin(type: number, direction: Direction): MessageBuffer {
    return this.#out.begin(type).u32(this.number)
      .u32(direction === "to-host" ? DIRECTION.TO_HOST : DIRECTION.FROM_HOST);
  }
}
