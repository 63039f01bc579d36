/**
 * The scanner protocol, version 1: numbers and offsets of docs/protocols/scanner.md. Both ends use this page,
 * the SDK and the NI kernel.
 *
 * @module
 */

/** Version of the protocol. */
export const PROTOCOL_VERSION = 1;

/** Types of messages. */
export const MESSAGE = {
  /** From the kernel. */
  WELCOME: 0x01,
  SUBSCRIBED: 0x02,
  FRAME: 0x03,
  TIME: 0x04,
  SYNC: 0x05,
  LOST: 0x06,
  STOP: 0x07,
  OPTION: 0x08,
  /** Of reconstructed streams. */
  OPENED: 0x20,
  DATA: 0x21,
  GAP: 0x22,
  END: 0x23,
  CLOSED: 0x24,
  /** Of services. */
  SERVICE_CONNECTED: 0x40,
  SERVICE_DATA: 0x41,
  SERVICE_ROOM: 0x42,
  SERVICE_ENDED: 0x43,
  /** From the scanner. */
  HELLO: 0x81,
  SUBSCRIBE: 0x82,
  VERDICT: 0x83,
  INJECT: 0x84,
  ALERT: 0x85,
  DONE: 0x86,
  FINISHED: 0x87,
  WAKE: 0x88,
  RESET: 0x89,
  /** Of reconstructed streams. */
  SUBSCRIBE_STREAMS: 0xa0,
  PASS: 0xa1,
  CUT: 0xa2,
  STREAM_INJECT: 0xa3,
  MORE: 0xa4,
  KILL: 0xa5,
  RELEASE: 0xa6,
  STREAM_ALERT: 0xa7,
  /** Of services. */
  SERVICE_CONNECT: 0xc0,
  SERVICE_WRITE: 0xc1,
  SERVICE_HANGUP: 0xc2,
} as const;

/** Bytes of a message's header: u32 length of all, u16 type, u16 zero. */
export const HEADER_SIZE = 8;
/** Bytes of a FRAME before the frame's own. */
export const FRAME_HEADER = 40;
/** Longest message. A frame of 64 KiB fits. */
export const MAX_MESSAGE = 128 * 1024;

/** What a scanner may do with what it subscribes to. */
export const RIGHT = { READ: 1, CONTAIN: 2 } as const;
/** Decisions about a frame. */
export const VERDICT = { PASS: 1, CUT: 2 } as const;
/** Where a frame comes from. */
export const DIRECTION = { FROM_HOST: 0, TO_HOST: 1 } as const;
/** The scanner's verdict about this frame is waited for. */
export const FLAG_VERDICT = 1;
/** The connection's beginning was not seen. */
export const FLAG_MIDSTREAM = 2;
/** Passed bytes need not be delivered. */
export const FLAG_SKIP = 1;
/** No more of this option comes. */
export const FLAG_LAST = 1;
/** Bytes of a DATA before the stream's own. */
export const DATA_HEADER = 40;
/** Who opened the connections that are asked for. */
export const OPENER = { HOST: 1, NET: 2, EITHER: 3 } as const;
/** An offset that is beyond every stream: 2^53 - 1. */
export const WHOLE_STREAM: number = Number.MAX_SAFE_INTEGER;
/** Why a connection is over, by number. */
export const CLOSE_REASONS = ["", "closed", "reset", "timeout", "limit", "killed"] as const;

/** How a scanner ends a connection to a service: it writes no more, or it is done with it. */
export const HANGUP = { WRITING: 1, ALL: 2 } as const;

/** Rounds a length up to what messages are padded to. */
export function padded(length: number): number {
  return (length + 3) & ~3;
}

/** Collects messages in memory that is used again, until they are sent together. */
export class MessageBuffer {
  /** Memory; the first {@link length} bytes are messages. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Bytes of messages. */
  length = 0;
  #view: DataView<ArrayBuffer>;
  #start = 0;

  /** @param size bytes to begin with; grows as needed. */
  constructor(size = 64 * 1024) {
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** Begins a message. */
  begin(type: number): this {
    this.#start = this.length;
    this.u32(0);
    this.u16(type);
    return this.u16(0);
  }

  /**
   * Begins and ends a message whose body has a known length, and leaves the body to be written to {@link bytes} or
   * {@link view}.
   *
   * @returns where the body begins.
   */
  claim(type: number, length: number): number {
    const whole = padded(HEADER_SIZE + length);
    this.#room(whole);
    const start = this.length;
    const view = this.#view;
    // Padding, if there is any: the rest is written over.
    view.setUint32(start + whole - 4, 0, true);
    view.setUint32(start, whole, true);
    view.setUint32(start + 4, type, true);
    this.length = start + whole;
    return start + HEADER_SIZE;
  }

  /** View of {@link bytes}. */
  get view(): DataView<ArrayBuffer> {
    return this.#view;
  }

  /** Ends the message begun last: pads it and writes its length. */
  end(): void {
    while ((this.length & 3) !== 0) this.u8(0);
    this.#view.setUint32(this.#start, this.length - this.#start, true);
  }

  /** 8 bits. */
  u8(value: number): this {
    this.#room(1);
    this.bytes[this.length++] = value;
    return this;
  }

  /** 16 bits. */
  u16(value: number): this {
    this.#room(2);
    this.#view.setUint16(this.length, value, true);
    this.length += 2;
    return this;
  }

  /** 32 bits. */
  u32(value: number): this {
    this.#room(4);
    this.#view.setUint32(this.length, value, true);
    this.length += 4;
    return this;
  }

  /** 64 bits; what a number holds exactly. */
  u64(value: number): this {
    return this.u32(value >>> 0).u32(Math.floor(value / 0x100000000));
  }

  /** Bytes as they are. */
  raw(data: Uint8Array, start = 0, end: number = data.length): this {
    this.#room(end - start);
    if (start === 0 && end === data.length) this.bytes.set(data, this.length);
    else this.bytes.set(data.subarray(start, end), this.length);
    this.length += end - start;
    return this;
  }

  /** Forgets the first bytes, which were sent. */
  consume(count: number): void {
    this.bytes.copyWithin(0, count, this.length);
    this.length -= count;
  }

  #room(count: number): void {
    if (this.length + count <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.length + count));
    larger.set(this.bytes);
    this.bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** Called with a message's type, and where its body is in {@link MessageReader.view}. */
export type MessageHandler = (type: number, start: number, end: number) => void;

/** Takes messages apart, whatever pieces they come in. */
export class MessageReader {
  /** Memory that holds the messages. */
  bytes: Uint8Array<ArrayBuffer>;
  /** View of {@link bytes}. */
  view: DataView<ArrayBuffer>;
  #length = 0;

  /** @param size bytes that can be read at once; a whole message must fit. */
  constructor(size = 512 * 1024) {
    this.bytes = new Uint8Array(Math.max(size, 2 * MAX_MESSAGE));
    this.view = new DataView(this.bytes.buffer);
  }

  /** Where the next bytes are to be read to. */
  space(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(this.#length);
  }

  /**
   * Tells that bytes were read to {@link space}, and handles all messages that are whole.
   *
   * @returns what is wrong with what came; nothing more can be read then.
   */
  take(count: number, handle: MessageHandler): string | undefined {
    this.#length += count;
    let at = 0;
    while (this.#length - at >= HEADER_SIZE) {
      const length = this.view.getUint32(at, true);
      if (length < HEADER_SIZE || length > MAX_MESSAGE || length % 4 !== 0) {
        return `a message of ${length} bytes is not possible`;
      }
      if (this.view.getUint16(at + 6, true) !== 0) return "a header's last field is not 0";
      if (this.#length - at < length) break;
      handle(this.view.getUint16(at + 4, true), at + HEADER_SIZE, at + length);
      at += length;
    }
    if (at > 0) {
      this.bytes.copyWithin(0, at, this.#length);
      this.#length -= at;
    }
    return undefined;
  }

  /** A 64-bit number, as exactly as a number can be. */
  u64(at: number): number {
    return this.view.getUint32(at, true) + this.view.getUint32(at + 4, true) * 0x100000000;
  }
}
