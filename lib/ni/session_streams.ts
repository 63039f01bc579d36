/**
 * The streams of one scanner's process: what becomes of connections goes out as messages, and its requests are checked and done.
 *
 * @module
 */
import {
  CLOSE_REASONS,
  DIRECTION,
  FLAG_MIDSTREAM,
  FLAG_SKIP,
  FLAG_VERDICT,
  MESSAGE,
  type MessageBuffer,
  type MessageReader,
} from "../../niapp/sdk/protocol.ts";
import { parseIp } from "../net/ip.ts";
import type { Direction } from "./frame.ts";
import type { ScannerRights } from "./rights.ts";
import type { ScannerCounters } from "./scanner_session.ts";
import type { Connection } from "./stream/connection.ts";
import type {
  CloseReason,
  ConnectionFacts,
  StreamReader,
  Subscription,
} from "./stream/subscriber.ts";
import type { StreamTable } from "./stream/table.ts";

/** An alert about a connection, as the scanner wrote it, with the bytes that go with it. */
export interface StreamAlert {
  readonly json: { readonly start: number; readonly end: number };
  readonly connection: Connection;
  readonly original: Uint8Array<ArrayBuffer>;
}

/** What the kernel's clock says. */
export type Clock = () => { readonly seconds: number; readonly nanoseconds: number };

/** Bytes in front of a DATA's own, and some for padding. */
const DATA_ROOM = 64;
/** Bytes of a stream that can go with an alert. */
export const MOST_ORIGINAL: number = 1024 * 1024;

/** Messages of streams that are shorter than this are not possible, by type. */
export const LEAST_STREAM_MESSAGE: Readonly<Record<number, number>> = {
  [MESSAGE.SUBSCRIBE_STREAMS]: 16,
  [MESSAGE.PASS]: 24,
  [MESSAGE.CUT]: 24,
  [MESSAGE.STREAM_INJECT]: 24,
  [MESSAGE.MORE]: 16,
  [MESSAGE.KILL]: 8,
  [MESSAGE.RELEASE]: 8,
  [MESSAGE.STREAM_ALERT]: 24,
};

/** All streams of a scanner's process. */
export class SessionStreams {
  readonly #out: MessageBuffer;
  #rights: ScannerRights;
  readonly #counters: ScannerCounters;
  readonly #clock: Clock;
  readonly #table: () => StreamTable | undefined;
  readonly #open = new Map<number, ScannerStream>();
  readonly #starved = new Set<ScannerStream>();
  #highest = -1;

  constructor(
    out: MessageBuffer,
    rights: ScannerRights,
    counters: ScannerCounters,
    clock: Clock,
    table: () => StreamTable | undefined,
  ) {
    this.#out = out;
    this.#rights = rights;
    this.#counters = counters;
    this.#clock = clock;
    this.#table = table;
  }

  /** Other rights and bounds. */
  setRights(rights: ScannerRights): void {
    this.#rights = rights;
  }

  /** Connections that it reads now. */
  get size(): number {
    return this.#open.size;
  }

  /** Tells the scanner of a connection, and makes its reader. */
  open(facts: ConnectionFacts, subscriptions: number, contain: boolean): StreamReader {
    const reader = new ScannerStream(this, facts.number, contain, this.#rights.holdLimit);
    this.#open.set(facts.number, reader);
    this.#highest = Math.max(this.#highest, facts.number);
    this.#counters.streams++;
    const flags = (contain ? FLAG_VERDICT : 0) | (facts.midstream ? FLAG_MIDSTREAM : 0);
    this.begin(MESSAGE.OPENED, facts.number, facts.clientDirection, flags, subscriptions);
    const client = Uint8Array.from(parseIp(facts.client.address)?.bytes ?? []);
    this.#out.u16(facts.client.port).u16(facts.server.port).u32(client.length).raw(client);
    this.#out.raw(Uint8Array.from(parseIp(facts.server.address)?.bytes ?? [])).end();
    return reader;
  }

  /** Bytes that can be given to the scanner now. */
  room(reader: ScannerStream): number {
    const room = this.#rights.queueBytes - this.#out.length - DATA_ROOM;
    if (room <= 0) this.#starved.add(reader);
    return Math.max(0, room);
  }

  /** Begins a message about a connection. */
  begin(
    type: number,
    number: number,
    direction: Direction,
    flags = 0,
    subscriptions = 0,
  ): MessageBuffer {
    const { seconds, nanoseconds } = this.#clock();
    const way = direction === "to-host" ? DIRECTION.TO_HOST : DIRECTION.FROM_HOST;
    return this.#out.begin(type).u32(number).u8(way).u8(flags).u16(subscriptions)
      .u32(seconds).u32(nanoseconds);
  }

  /** Bytes for the scanner. */
  data(number: number, direction: Direction, offset: number, bytes: Uint8Array): void {
    this.#counters.streamBytes += bytes.length;
    this.begin(MESSAGE.DATA, number, direction).u64(offset).u32(bytes.length).u32(0).raw(bytes)
      .end();
  }

  /** A connection is over. */
  closed(number: number, reason: CloseReason): void {
    const reader = this.#open.get(number);
    if (reader === undefined) return;
    this.#starved.delete(reader);
    this.#open.delete(number);
    this.begin(MESSAGE.CLOSED, number, "from-host").u32(CLOSE_REASONS.indexOf(reason)).u32(0).end();
  }

  /** The scanner has read: connections that had to wait go on. */
  resume(): void {
    if (this.#starved.size === 0 || this.#out.length > this.#rights.queueBytes / 2) return;
    const starved = [...this.#starved];
    this.#starved.clear();
    for (const reader of starved) this.#table()?.resume(reader);
  }

  /** The process is gone. */
  end(): void {
    const open = [...this.#open.values()];
    this.#open.clear();
    this.#starved.clear();
    for (const reader of open) {
      if (reader.contain) {
        if (this.#rights.onFailure === "closed") this.#counters.failedClosed++;
        else this.#counters.failedOpen++;
      }
      this.#table()?.leave(reader, this.#rights.onFailure === "closed");
    }
  }

  /** Does what the scanner asks for. Says why it must be ended, when it must. */
  request(type: number, reader: MessageReader, start: number): string | undefined {
    const { view } = reader;
    const number = view.getUint32(start, true);
    if (number > this.#highest) return `request for connection ${number}, which it was not given`;
    const stream = this.#open.get(number);
    const entry = stream === undefined ? undefined : this.#table()?.connectionOf(stream);
    if (stream === undefined || entry === undefined) return undefined; // it is over
    const { connection, subscription } = entry;
    if (type === MESSAGE.RELEASE) {
      this.#open.delete(number);
      this.#starved.delete(stream);
      this.#table()?.leave(stream, false);
      return undefined;
    }
    if (!stream.contain) {
      return `request of type ${type} for connection ${number}, which it may only read`;
    }
    if (type === MESSAGE.KILL) {
      this.#counters.killed++;
      connection.kill();
      return undefined;
    }
    const way = view.getUint32(start + 4, true);
    if (way !== DIRECTION.FROM_HOST && way !== DIRECTION.TO_HOST) {
      return `direction ${way} is unknown`;
    }
    return this.#change(
      type,
      reader,
      start,
      connection,
      subscription,
      way === DIRECTION.TO_HOST ? 1 : 0,
    );
  }

  /** The connection and bytes that an alert is about. Undefined when it is over. */
  alerted(
    reader: MessageReader,
    start: number,
  ): { connection: Connection; original: Uint8Array<ArrayBuffer> } | undefined {
    const { view } = reader;
    const stream = this.#open.get(view.getUint32(start, true));
    const entry = stream === undefined ? undefined : this.#table()?.connectionOf(stream);
    if (entry === undefined) return undefined;
    const index = view.getUint32(start + 4, true) === DIRECTION.TO_HOST ? 1 : 0;
    const length = Math.min(MOST_ORIGINAL, view.getUint32(start + 16, true));
    const original = entry.connection.bytes(index, reader.u64(start + 8), length);
    return { connection: entry.connection, original };
  }

  #change(
    type: number,
    reader: MessageReader,
    start: number,
    connection: Connection,
    subscription: Subscription,
    index: 0 | 1,
  ): string | undefined {
    const offset = reader.u64(start + 8);
    switch (type) {
      case MESSAGE.PASS: {
        const skip = (reader.view.getUint32(start + 16, true) & FLAG_SKIP) !== 0;
        connection.pass(subscription, index, offset, skip);
        return undefined;
      }
      case MESSAGE.CUT: {
        const length = reader.u64(start + 16);
        this.#counters.cutBytes += length;
        return connection.cut(subscription, index, offset, length);
      }
      case MESSAGE.STREAM_INJECT: {
        const place = reader.view.getUint32(start + 16, true);
        const injection = this.#rights.injections[place];
        if (injection?.kind !== "stream") {
          return `injection ${place} is not registered for streams of this scanner`;
        }
        this.#counters.injected++;
        return connection.inject(subscription, index, offset, injection.frame);
      }
      default:
        connection.more(subscription, index, offset);
        return undefined;
    }
  }
}

/** A connection, as one scanner reads it. */
class ScannerStream implements StreamReader {
  readonly contain: boolean;
  readonly holdLimit: number;
  readonly #streams: SessionStreams;
  readonly #number: number;

  constructor(streams: SessionStreams, number: number, contain: boolean, holdLimit: number) {
    this.#streams = streams;
    this.#number = number;
    this.contain = contain;
    this.holdLimit = holdLimit;
  }

  room(): number {
    return this.#streams.room(this);
  }

  data(direction: Direction, offset: number, bytes: Uint8Array): void {
    this.#streams.data(this.#number, direction, offset, bytes);
  }

  gap(direction: Direction, offset: number, length: number): void {
    this.#streams.begin(MESSAGE.GAP, this.#number, direction).u64(offset).u64(length).end();
  }

  end(direction: Direction, offset: number): void {
    this.#streams.begin(MESSAGE.END, this.#number, direction).u64(offset).end();
  }

  closed(reason: CloseReason): void {
    this.#streams.closed(this.#number, reason);
  }
}
