/**
 * Capture files: pcap (draft-ietf-opsawg-pcap) with microseconds or nanoseconds in either byte order, and
 * pcapng (draft-ietf-opsawg-pcapng). Files come from anywhere: every length is checked before it is used.
 *
 * @module
 */

/** A capture that cannot be read on. `offset` is where in the file. */
export class CaptureError extends Error {
  override readonly name = "CaptureError";
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(`${message} (byte ${offset})`);
    this.offset = offset;
  }
}

/** One captured frame; filled anew by each {@link CaptureParser.read}. */
export class CaptureRecord {
  /** Memory that holds the frame until the next call of the parser. */
  data: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** First byte of the frame. */
  start = 0;
  /** The byte after the last captured one. */
  end = 0;
  /** Bytes that the frame had on the wire, at least those captured. */
  wireLength = 0;
  /** Link type (LINKTYPE_*). */
  linkType = 1;
  /** Seconds since the epoch. */
  seconds = 0;
  /** And nanoseconds below one second. */
  nanoseconds = 0;
}

interface Interface {
  readonly linkType: number;
  readonly snapLength: number;
  /** Ticks of a second, 10^n or 2^n. */
  readonly resolution: bigint;
  /** Seconds to add. */
  readonly offset: bigint;
}

/** Longest frame that is believed: what no file of a real capture exceeds (BIG TCP frames included). */
const MAX_FRAME = 2 * 1024 * 1024;
/** Longest pcapng block: a frame with its options, or a list of names or secrets. */
const MAX_BLOCK = 16 * 1024 * 1024;
const BILLION = 1_000_000_000n;

const BLOCK = {
  SECTION: 0x0a0d0d0a,
  INTERFACE: 1,
  PACKET: 2,
  SIMPLE: 3,
  ENHANCED: 6,
} as const;

const MAGIC = {
  MICROSECONDS: 0xa1b2c3d4,
  NANOSECONDS: 0xa1b23c4d,
  /** Kuznetzov's: as microseconds, with 8 more bytes in each record. */
  MODIFIED: 0xa1b2cd34,
  BYTE_ORDER: 0x1a2b3c4d,
} as const;

/** Reads a capture whose bytes come in pieces of any size. */
export class CaptureParser {
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #view: DataView<ArrayBuffer> = new DataView(this.#bytes.buffer);
  /** Where in {@link #bytes} the next unread byte is. */
  #at = 0;
  /** Where in the file {@link #bytes} begins. */
  #base = 0;
  #format: "unknown" | "pcap" | "pcapng" = "unknown";
  #little = true;
  #nanoseconds = false;
  #recordHeader = 16;
  #linkType = 1;
  #interfaces: Interface[] = [];

  /** Takes the next bytes of the file. Frames read before are no longer valid. */
  push(bytes: Uint8Array): void {
    const left = this.#bytes.subarray(this.#at);
    const joined = new Uint8Array(left.length + bytes.length);
    joined.set(left);
    joined.set(bytes, left.length);
    this.#base += this.#at;
    this.#at = 0;
    this.#bytes = joined;
    this.#view = new DataView(joined.buffer);
  }

  /**
   * Reads the next frame.
   *
   * @returns false when more bytes are needed.
   * @throws {CaptureError} when the file is not a capture or is damaged.
   */
  read(record: CaptureRecord): boolean {
    if (this.#format === "unknown" && !this.#begin()) return false;
    return this.#format === "pcap" ? this.#pcapRecord(record) : this.#block(record);
  }

  /**
   * To be called when no bytes follow.
   *
   * @throws {CaptureError} when the file ends inside a record, or before it began.
   */
  finish(): void {
    if (this.#format === "unknown") throw this.#error("not a capture: it is too short");
    if (this.#at < this.#bytes.length) throw this.#error("the file ends inside a record");
  }

  #error(message: string): CaptureError {
    return new CaptureError(message, this.#base + this.#at);
  }

  #has(length: number): boolean {
    return this.#bytes.length - this.#at >= length;
  }

  #u32(offset: number): number {
    return this.#view.getUint32(this.#at + offset, this.#little);
  }

  #u16(offset: number): number {
    return this.#view.getUint16(this.#at + offset, this.#little);
  }

  #begin(): boolean {
    if (!this.#has(4)) return false;
    const magic = this.#view.getUint32(this.#at, true);
    if (magic === BLOCK.SECTION) {
      this.#format = "pcapng";
      return true;
    }
    if (!this.#has(24)) return false;
    for (const little of [true, false]) {
      this.#little = little;
      const value = this.#u32(0);
      this.#nanoseconds = value === MAGIC.NANOSECONDS;
      this.#recordHeader = value === MAGIC.MODIFIED ? 24 : 16;
      if (
        value === MAGIC.MICROSECONDS || value === MAGIC.NANOSECONDS || value === MAGIC.MODIFIED
      ) {
        const major = this.#u16(4);
        if (major !== 2) throw this.#error(`pcap version ${major} is not known`);
        // The upper bits tell about a frame check sequence.
        this.#linkType = this.#u32(20) & 0xffff;
        this.#format = "pcap";
        this.#at += 24;
        return true;
      }
    }
    throw this.#error("not a capture: neither pcap nor pcapng");
  }

  #pcapRecord(record: CaptureRecord): boolean {
    if (!this.#has(this.#recordHeader)) return false;
    const captured = this.#u32(8);
    if (captured > MAX_FRAME) throw this.#error(`a frame of ${captured} bytes is not believed`);
    if (!this.#has(this.#recordHeader + captured)) return false;
    const fraction = this.#u32(4);
    const nanoseconds = this.#nanoseconds ? fraction : fraction * 1000;
    record.seconds = this.#u32(0) + Math.floor(nanoseconds / 1e9);
    record.nanoseconds = nanoseconds % 1e9;
    this.#frame(record, this.#at + this.#recordHeader, captured, this.#u32(12));
    record.linkType = this.#linkType;
    this.#at += this.#recordHeader + captured;
    return true;
  }

  #frame(record: CaptureRecord, start: number, captured: number, wireLength: number): void {
    record.data = this.#bytes;
    record.start = start;
    record.end = start + captured;
    record.wireLength = Math.max(captured, wireLength);
  }

  /** Blocks up to the next frame. */
  #block(record: CaptureRecord): boolean {
    while (this.#has(12)) {
      const type = this.#view.getUint32(this.#at, this.#little);
      if (type === BLOCK.SECTION) this.#byteOrder();
      const length = this.#u32(4);
      if (length < 12 || length % 4 !== 0 || length > MAX_BLOCK) {
        throw this.#error(`a block of ${length} bytes is not possible`);
      }
      if (!this.#has(length)) return false;
      if (this.#u32(length - 4) !== length) throw this.#error("a block's two lengths differ");
      const found = this.#take(type, length, record);
      this.#at += length;
      if (found) return true;
    }
    return false;
  }

  #byteOrder(): void {
    for (const little of [true, false]) {
      this.#little = little;
      if (this.#u32(8) === MAGIC.BYTE_ORDER) return;
    }
    throw this.#error("a section without a byte order");
  }

  #take(type: number, length: number, record: CaptureRecord): boolean {
    switch (type) {
      case BLOCK.SECTION:
        if (length < 28) throw this.#error("a section header is too short");
        if (this.#u16(12) !== 1) throw this.#error(`pcapng version ${this.#u16(12)} is not known`);
        this.#interfaces = [];
        return false;
      case BLOCK.INTERFACE:
        this.#interface(length);
        return false;
      case BLOCK.ENHANCED:
        return this.#packet(length, record, 32, this.#u32(8), 12);
      case BLOCK.PACKET:
        return this.#packet(length, record, 32, this.#u16(8), 12);
      case BLOCK.SIMPLE:
        return this.#simple(length, record);
      default:
        return false; // names, statistics, secrets, comments
    }
  }

  #interface(length: number): void {
    if (length < 20) throw this.#error("an interface description is too short");
    let resolution = 1_000_000n;
    let offset = 0n;
    for (let at = 16; at + 4 <= length - 4;) {
      const code = this.#u16(at);
      const size = this.#u16(at + 2);
      if (code === 0) break;
      if (at + 4 + size > length - 4) throw this.#error("an option is longer than its block");
      if (code === 9 && size === 1) {
        const value = this.#bytes[this.#at + at + 4] as number;
        resolution = value < 0x80 ? 10n ** BigInt(Math.min(value, 18)) : 1n << BigInt(value & 0x3f);
      } else if (code === 14 && size === 8) {
        offset = this.#view.getBigInt64(this.#at + at + 4, this.#little);
      }
      at += 4 + size + (-size & 3);
    }
    this.#interfaces.push({
      linkType: this.#u16(8),
      snapLength: this.#u32(12),
      resolution,
      offset,
    });
  }

  #packet(
    length: number,
    record: CaptureRecord,
    headers: number,
    interfaceIndex: number,
    timeAt: number,
  ): boolean {
    if (length < headers) throw this.#error("a packet block is too short");
    const on = this.#interfaces[interfaceIndex];
    if (on === undefined) {
      throw this.#error(`a packet of interface ${interfaceIndex}, which is not described`);
    }
    const captured = this.#u32(20);
    if (captured > length - headers) throw this.#error("a frame is longer than its block");
    this.#frame(record, this.#at + 28, captured, this.#u32(24));
    const ticks = (BigInt(this.#u32(timeAt)) << 32n) | BigInt(this.#u32(timeAt + 4));
    this.#time(record, on, ticks);
    record.linkType = on.linkType;
    return true;
  }

  /** A frame without time or interface: those of the first, and the beginning of time. */
  #simple(length: number, record: CaptureRecord): boolean {
    const on = this.#interfaces[0];
    if (on === undefined) throw this.#error("a packet before any interface");
    if (length < 16) throw this.#error("a packet block is too short");
    const wire = this.#u32(8);
    const limit = on.snapLength === 0 ? wire : Math.min(wire, on.snapLength);
    this.#frame(record, this.#at + 12, Math.min(limit, length - 16), wire);
    record.seconds = 0;
    record.nanoseconds = 0;
    record.linkType = on.linkType;
    return true;
  }

  #time(record: CaptureRecord, on: Interface, ticks: bigint): void {
    const whole = ticks / on.resolution;
    record.nanoseconds = Number(((ticks % on.resolution) * BILLION) / on.resolution);
    record.seconds = Number(BigInt.asIntN(53, whole + on.offset));
  }
}

/** What a capture is written with. */
export interface CaptureFormat {
  readonly linkType: number;
  /** Precision of the times. */
  readonly precision: "us" | "ns";
  /** `pcapng` also carries nanoseconds and is what Wireshark writes; `pcap` is read by everything. */
  readonly format: "pcap" | "pcapng";
}

/** Longest frame that is written; what a capture file of tcpdump declares. */
const SNAP_LENGTH = 262_144;

/** The bytes that a capture file begins with. Little-endian. */
export function captureHeader(format: CaptureFormat): Uint8Array<ArrayBuffer> {
  if (format.format === "pcap") {
    const view = new DataView(new ArrayBuffer(24));
    view.setUint32(0, format.precision === "ns" ? MAGIC.NANOSECONDS : MAGIC.MICROSECONDS, true);
    view.setUint16(4, 2, true);
    view.setUint16(6, 4, true);
    view.setUint32(16, SNAP_LENGTH, true);
    view.setUint32(20, format.linkType, true);
    return new Uint8Array(view.buffer);
  }
  const view = new DataView(new ArrayBuffer(28 + 32));
  view.setUint32(0, BLOCK.SECTION, true);
  view.setUint32(4, 28, true);
  view.setUint32(8, MAGIC.BYTE_ORDER, true);
  view.setUint16(12, 1, true);
  view.setBigInt64(16, -1n, true); // length of the section: not told
  view.setUint32(24, 28, true);
  view.setUint32(28, BLOCK.INTERFACE, true);
  view.setUint32(32, 32, true);
  view.setUint16(36, format.linkType, true);
  view.setUint32(40, SNAP_LENGTH, true);
  view.setUint16(44, 9, true); // if_tsresol
  view.setUint16(46, 1, true);
  view.setUint8(48, format.precision === "ns" ? 9 : 6);
  view.setUint32(56, 32, true); // after opt_endofopt
  return new Uint8Array(view.buffer);
}

/**
 * The bytes of one frame in a capture file. Times beyond what the format holds are cut to it.
 *
 * @param wireLength bytes that the frame had on the wire.
 */
export function captureFrame(
  format: CaptureFormat,
  frame: Uint8Array,
  seconds: number,
  nanoseconds: number,
  wireLength: number = frame.length,
): Uint8Array<ArrayBuffer> {
  const fraction = format.precision === "ns" ? nanoseconds : Math.floor(nanoseconds / 1000);
  if (format.format === "pcap") {
    const out = new Uint8Array(16 + frame.length);
    const view = new DataView(out.buffer);
    view.setUint32(0, seconds, true);
    view.setUint32(4, fraction, true);
    view.setUint32(8, frame.length, true);
    view.setUint32(12, wireLength, true);
    out.set(frame, 16);
    return out;
  }
  const padded = frame.length + (-frame.length & 3);
  const out = new Uint8Array(32 + padded);
  const view = new DataView(out.buffer);
  const ticks = BigInt(seconds) * (format.precision === "ns" ? BILLION : 1_000_000n) +
    BigInt(fraction);
  view.setUint32(0, BLOCK.ENHANCED, true);
  view.setUint32(4, out.length, true);
  view.setUint32(12, Number((ticks >> 32n) & 0xffffffffn), true);
  view.setUint32(16, Number(ticks & 0xffffffffn), true);
  view.setUint32(20, frame.length, true);
  view.setUint32(24, wireLength, true);
  out.set(frame, 28);
  view.setUint32(28 + padded, out.length, true);
  return out;
}
