/**
 * Frames that the NI kernel writes itself, in the name of one end of a connection: its link header, addresses and hop
 * limit are those of that end's own frames.
 *
 * @module
 */
import { addWords, finishChecksum, pseudoHeader } from "../../net/checksum.ts";
import { type Packet, PROTOCOL } from "../../net/packet.ts";

/** Room in front of a frame for its virtio-net header. */
export const LEAD = 16;

/** What a segment says. */
export interface SegmentFields {
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  /** As it is sent, not scaled. */
  readonly window: number;
  /** Options, padded to a multiple of 4 bytes. */
  readonly options: Uint8Array;
}

/** Headers of one end's frames. */
export class SegmentWriter {
  /** Link header and IP header without options. */
  readonly #headers: Uint8Array<ArrayBuffer>;
  readonly #network: number;
  /** Of IP. */
  readonly version: 4 | 6;
  readonly #ports: readonly [number, number];
  #identification: number;

  private constructor(
    headers: Uint8Array<ArrayBuffer>,
    network: number,
    version: 4 | 6,
    ports: readonly [number, number],
  ) {
    this.#headers = headers;
    this.#network = network;
    this.version = version;
    this.#ports = ports;
    this.#identification = (headers[network + 4] as number) << 8 | (headers[network + 5] as number);
  }

  /** For the end that sent a TCP packet. */
  static from(p: Packet): SegmentWriter {
    const size = p.version === 4 ? 20 : 40;
    const network = p.network - p.start;
    const headers = p.data.slice(p.start, p.network + size) as Uint8Array<ArrayBuffer>;
    if (p.version === 4) {
      headers[network] = 0x45;
      // No congestion experienced, none can be: these packets take no part in ECN.
      headers[network + 1] = (headers[network + 1] as number) & 0xfc;
      // May be fragmented: that the path carries less, only the true sender would be told.
      headers[network + 6] = 0;
      headers[network + 7] = 0;
      headers[network + 9] = PROTOCOL.TCP;
    } else {
      headers[network + 1] = (headers[network + 1] as number) & 0xcf;
      headers[network + 6] = PROTOCOL.TCP;
    }
    return new SegmentWriter(headers, network, p.version === 4 ? 4 : 6, [
      p.sourcePort,
      p.destinationPort,
    ]);
  }

  /** For the other end, of which nothing was seen yet. */
  reversed(): SegmentWriter {
    const headers = this.#headers.slice();
    if (this.#network >= 14) {
      headers.copyWithin(0, 6, 12);
      headers.set(this.#headers.subarray(0, 6), 6);
    }
    const size = this.version === 4 ? 4 : 16;
    const at = this.#network + (this.version === 4 ? 12 : 8);
    headers.set(this.#headers.subarray(at + size, at + 2 * size), at);
    headers.set(this.#headers.subarray(at, at + size), at + size);
    return new SegmentWriter(headers, this.#network, this.version, [
      this.#ports[1],
      this.#ports[0],
    ]);
  }

  /** Bytes in front of the payload. */
  size(options: number): number {
    return this.#headers.length + 20 + options;
  }

  /**
   * Writes headers and checksums around a payload that is in its place, {@link size} bytes behind `at`.
   *
   * @returns the byte after the frame.
   */
  write(data: Uint8Array, at: number, fields: SegmentFields, payload: number): number {
    data.fill(0, at - LEAD, at);
    data.set(this.#headers, at);
    const tcp = at + this.#headers.length;
    const header = 20 + fields.options.length;
    const end = tcp + header + payload;
    put16(data, tcp, this.#ports[0]);
    put16(data, tcp + 2, this.#ports[1]);
    put32(data, tcp + 4, fields.sequence);
    put32(data, tcp + 8, fields.acknowledgement);
    data[tcp + 12] = (header >> 2) << 4;
    data[tcp + 13] = fields.flags;
    put16(data, tcp + 14, fields.window);
    put32(data, tcp + 16, 0);
    data.set(fields.options, tcp + 20);
    const network = at + this.#network;
    if (this.version === 4) {
      put16(data, network + 2, end - network);
      this.#identification = (this.#identification + 1) & 0xffff;
      put16(data, network + 4, this.#identification);
      put16(data, network + 10, 0);
      put16(data, network + 10, finishChecksum(addWords(0, data, network, network + 20)));
    } else put16(data, network + 4, end - network - 40);
    const size = this.version === 4 ? 4 : 16;
    const addresses = network + (this.version === 4 ? 12 : 8);
    const sum = pseudoHeader(data, addresses, size, PROTOCOL.TCP, end - tcp);
    put16(data, tcp + 16, finishChecksum(addWords(sum, data, tcp, end)));
    return end;
  }
}

/** 16 bits in network order. */
export function put16(data: Uint8Array, at: number, value: number): void {
  data[at] = value >> 8;
  data[at + 1] = value & 0xff;
}

/** 32 bits in network order. */
export function put32(data: Uint8Array, at: number, value: number): void {
  data[at] = value >>> 24;
  data[at + 1] = (value >>> 16) & 0xff;
  data[at + 2] = (value >>> 8) & 0xff;
  data[at + 3] = value & 0xff;
}
