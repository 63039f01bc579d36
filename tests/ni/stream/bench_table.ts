/**
 * A table of shadows with one connection's packets written by hand, and a reader that keeps what it is given.
 *
 * @module
 */
import { addWords, finishChecksum, pseudoHeader } from "../../../lib/net/checksum.ts";
import { Packet, TCP } from "../../../lib/net/packet.ts";
import type { Direction } from "../../../lib/ni/frame.ts";
import type { StreamReader } from "../../../lib/ni/stream/subscriber.ts";
import {
  type Interest,
  StreamTable,
  type TableSettings,
  USUAL_STREAMS,
} from "../../../lib/ni/stream/table.ts";
import { frameMemory } from "../../../lib/sys/packet_socket.ts";

/** What a segment says; offsets count from the sender's first byte, so that its SYN is at -1. */
export interface Segment {
  readonly at?: number;
  readonly text?: string;
  readonly flags?: number;
  /** Offset in the other stream; of the peer's SYN itself: 0. */
  readonly ack?: number;
  readonly window?: number;
  readonly ttl?: number;
  /** Time stamps: value and echo. */
  readonly stamp?: readonly [number, number];
  readonly urgent?: number;
  readonly options?: readonly number[];
  readonly badChecksum?: boolean;
  readonly ports?: readonly [number, number];
}

/** First sequence numbers of client and server. */
export const FIRST = [1_000_000, 0xffffff00] as const;

/** Builds a frame over IPv4. */
export function build(direction: Direction, segment: Segment): Uint8Array<ArrayBuffer> {
  const { at = 0, text = "", flags = TCP.ACK, ack = 0, window = 8192, ttl = 64, urgent = 0 } =
    segment;
  const i = direction === "from-host" ? 0 : 1;
  const options = [...segment.options ?? []];
  if (segment.stamp !== undefined) {
    options.push(1, 1, 8, 10);
    for (const value of segment.stamp) {
      options.push(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
    }
  }
  while (options.length % 4 !== 0) options.push(1);
  const payload = new TextEncoder().encode(text);
  const tcp = 34;
  const header = 20 + options.length;
  const frame = new Uint8Array(tcp + header + payload.length);
  const view = new DataView(frame.buffer);
  frame.set([2, 0, 0, 0, 0, 2 - i, 2, 0, 0, 0, 0, 1 + i, 8, 0, 0x45]);
  view.setUint16(16, frame.length - 14);
  view.setUint16(18, 77);
  frame[20] = 0x40;
  frame[22] = ttl;
  frame[23] = 6;
  const [client, server] = [[192, 0, 2, 1], [198, 51, 100, 2]];
  frame.set(i === 0 ? [...client, ...server] : [...server, ...client], 26);
  view.setUint16(24, finishChecksum(addWords(0, frame, 14, 34)));
  const [clientPort, serverPort] = segment.ports ?? [40_000, 25];
  view.setUint16(tcp, i === 0 ? clientPort : serverPort);
  view.setUint16(tcp + 2, i === 0 ? serverPort : clientPort);
  view.setUint32(tcp + 4, (FIRST[i] + 1 + at) >>> 0);
  const other = FIRST[1 - i] as number;
  view.setUint32(tcp + 8, (flags & TCP.ACK) === 0 ? 0 : (other + 1 + ack) >>> 0);
  frame[tcp + 12] = (header >> 2) << 4;
  frame[tcp + 13] = flags;
  view.setUint16(tcp + 14, window);
  view.setUint16(tcp + 18, urgent);
  frame.set(options, tcp + 20);
  frame.set(payload, tcp + header);
  const sum = pseudoHeader(frame, 26, 4, 6, frame.length - tcp);
  const checksum = finishChecksum(addWords(sum, frame, tcp, frame.length));
  view.setUint16(tcp + 16, checksum ^ (segment.badChecksum === true ? 0x55 : 0));
  return frame;
}

/** Cuts a frame over IPv4 into fragments of so many bytes of payload. */
export function fragments(frame: Uint8Array, size: number): Uint8Array<ArrayBuffer>[] {
  const out: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 34; at < frame.length; at += size) {
    const piece = new Uint8Array(34 + Math.min(size, frame.length - at));
    piece.set(frame.subarray(0, 34));
    piece.set(frame.subarray(at, at + size), 34);
    const view = new DataView(piece.buffer);
    view.setUint16(16, piece.length - 14);
    view.setUint16(20, ((at - 34) >> 3) | (at + size < frame.length ? 0x2000 : 0));
    view.setUint16(24, 0);
    view.setUint16(24, finishChecksum(addWords(0, piece, 14, 34)));
    out.push(piece);
  }
  return out;
}

/** What left the table. */
export interface Left {
  readonly direction: Direction;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly text: string;
  readonly at: number;
  readonly ack: number;
  readonly flags: number;
  /** The checksums hold. */
  readonly sound: boolean;
}

/** The bench. */
export class Bench {
  now = 1_700_000_000_000;
  readonly table: StreamTable;
  readonly alerts: string[] = [];
  readonly left: Left[] = [];
  /** What the reader got in each direction. */
  readonly got: [string, string] = ["", ""];
  readonly gaps: number[] = [];
  readonly ended: [boolean, boolean] = [false, false];
  closedBy: string | undefined;
  opened = 0;
  /** How often it was too late. */
  late = 0;
  /** Passes everything at once. */
  passing: boolean;
  reader: StreamReader | undefined;
  readonly #memory = frameMemory(4096);
  readonly #packet = new Packet();

  constructor(
    interest: Interest = "contain",
    settings: Partial<TableSettings> = {},
    passing = interest !== "contain",
  ) {
    this.passing = passing;
    this.table = new StreamTable(1, {
      mayContain: true,
      wants: () => true,
      interest: () => interest,
      readers: () => [this.#reader(interest === "contain")],
      late: () => this.late++,
    }, {
      forward: (memory, start, end, direction) =>
        this.#leave(memory.data.slice(start, end), direction),
      event: (event) => this.alerts.push((event["alert"] as { signature: string }).signature),
    }, { ...USUAL_STREAMS, ...settings });
    this.table.setTime(this.now);
  }

  /** Sends a frame. */
  frame(direction: Direction, frame: Uint8Array): void {
    this.#memory.data.fill(0, 0, 32);
    this.#memory.data.set(frame, 32);
    this.table.frame(this.#memory, 32, 32 + frame.length, direction, {
      seconds: Math.floor(this.now / 1000),
      nanoseconds: 0,
      wireLength: frame.length,
    });
    this.table.settle();
  }

  /** The client, which is the host, sends. */
  client(segment: Segment): void {
    this.frame("from-host", build("from-host", segment));
  }

  /** The server sends. */
  server(segment: Segment): void {
    this.frame("to-host", build("to-host", segment));
  }

  /** Shakes hands. */
  open(stamp = false): void {
    const more = stamp ? { stamp: [100, 0] as const } : {};
    this.client({ at: -1, flags: TCP.SYN, options: [2, 4, 5, 180], ...more });
    this.server({ at: -1, flags: TCP.SYN | TCP.ACK, options: [2, 4, 5, 180], ...more });
    this.client(stamp ? { stamp: [101, 100] } : {});
    this.left.length = 0;
  }

  /** The texts that left in a direction. */
  texts(direction: Direction): string[] {
    return this.left.filter((l) => l.direction === direction && l.text !== "").map((l) => l.text);
  }

  /** The subscription, to ask for something. */
  get entry(): NonNullable<ReturnType<StreamTable["connectionOf"]>> {
    const entry = this.reader === undefined ? undefined : this.table.connectionOf(this.reader);
    if (entry === undefined) throw new Error("no connection");
    return entry;
  }

  /** Passes up to an offset. */
  pass(index: 0 | 1, upTo: number): void {
    this.entry.connection.pass(this.entry.subscription, index, upTo, false);
    this.table.settle();
  }

  /** Time goes by. */
  wait(milliseconds: number): void {
    this.now += milliseconds;
    this.table.tick(this.now);
    this.table.settle();
  }

  #reader(contain: boolean): StreamReader {
    this.opened++;
    const index = (direction: Direction) => direction === "from-host" ? 0 : 1;
    const reader: StreamReader = {
      contain,
      holdLimit: 5000,
      room: () => 1_000_000,
      data: (direction, offset, bytes) => {
        const i = index(direction);
        this.got[i] += new TextDecoder("latin1").decode(bytes);
        if (contain && this.passing) {
          const { connection, subscription } = this.entry;
          connection.pass(subscription, i, offset + bytes.length, false);
        }
      },
      gap: (_direction, _offset, length) => this.gaps.push(length),
      end: (direction) => this.ended[index(direction)] = true,
      closed: (reason) => this.closedBy = reason,
    };
    this.reader = reader;
    return reader;
  }

  #leave(bytes: Uint8Array<ArrayBuffer>, direction: Direction): void {
    const p = this.#packet.decode(bytes, 0, bytes.length);
    const i = direction === "from-host" ? 0 : 1;
    this.left.push({
      direction,
      bytes,
      text: p.isTcp
        ? new TextDecoder("latin1").decode(bytes.subarray(p.payload, p.payloadEnd))
        : "",
      at: (p.sequence - (FIRST[i] as number) - 1) | 0,
      ack: (p.acknowledgement - (FIRST[1 - i] as number) - 1) | 0,
      flags: p.tcpFlags,
      sound: p.networkChecksumHolds() && p.transportChecksumHolds(),
    });
  }
}
