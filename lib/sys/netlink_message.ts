/**
 * Writing and reading netlink messages and their attributes (netlink(7), RFC 3549) in one reused
 * buffer, without objects for each attribute.
 *
 * Netlink uses the host's byte order for headers; Deno runs on little-endian machines only. What
 * nfnetlink wants in network order is written by the functions whose name ends in `Net`.
 *
 * @module
 */

/** Bytes of `struct nlmsghdr`. */
export const NLMSG_HDRLEN = 16;
/** Message flags (linux/netlink.h). */
export const NLM_F = {
  REQUEST: 0x1,
  MULTI: 0x2,
  ACK: 0x4,
  DUMP_INTR: 0x10,
  DUMP: 0x300,
  EXCL: 0x200,
  CREATE: 0x400,
  CAPPED: 0x100,
  ACK_TLVS: 0x200,
} as const;
/** Control message types (linux/netlink.h). */
export const NLMSG = { NOOP: 1, ERROR: 2, DONE: 3, OVERRUN: 4 } as const;

const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

/** Rounds a length up to the 4 bytes that netlink aligns to. */
export function align4(length: number): number {
  return (length + 3) & ~3;
}

/** Builds netlink messages one after the other in one buffer. */
export class MessageWriter {
  /** The bytes written are `bytes[0 .. length)`. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same buffer as 32-bit words in host order. */
  readonly words: Uint32Array<ArrayBuffer>;
  /** Bytes written so far; always a multiple of 4 between attributes. */
  length = 0;
  #message = -1;
  readonly #view: DataView<ArrayBuffer>;

  /** Makes a writer over a buffer of `size` bytes, rounded up to whole words. */
  constructor(size: number) {
    const buffer = new ArrayBuffer(align4(size));
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer);
    this.#view = new DataView(buffer);
  }

  /** Bytes that can still be written. */
  get room(): number {
    return this.bytes.length - this.length;
  }

  /** Forgets everything written. */
  reset(): void {
    this.length = 0;
    this.#message = -1;
  }

  /**
   * Starts a message; {@link end} completes it.
   *
   * @returns the offset of its header.
   */
  begin(type: number, flags: number, sequence: number): number {
    const at = this.length;
    this.#need(NLMSG_HDRLEN);
    const w = at >> 2;
    this.words[w] = 0;
    this.words[w + 1] = type | (flags << 16);
    this.words[w + 2] = sequence;
    this.words[w + 3] = 0;
    this.length = at + NLMSG_HDRLEN;
    this.#message = at;
    return at;
  }

  /** Completes the message begun last by writing its length. */
  end(): void {
    this.words[this.#message >> 2] = this.length - this.#message;
  }

  /** The `struct nfgenmsg` that nfnetlink messages start with. `resource` is in host order. */
  nfgen(family: number, resource: number, version = 0): void {
    this.#need(4);
    this.words[this.length >> 2] = family | version << 8 | ((resource >> 8) & 0xff) << 16 |
      (resource & 0xff) << 24;
    this.length += 4;
  }

  /** Raw bytes, padded with zeros to a whole word. */
  raw(data: Uint8Array): void {
    this.#need(align4(data.length));
    this.bytes.set(data, this.length);
    this.bytes.fill(0, this.length + data.length, this.length + align4(data.length));
    this.length += align4(data.length);
  }

  /** An attribute with the given bytes. */
  attribute(type: number, data: Uint8Array): void {
    this.#header(type, data.length);
    this.raw(data);
  }

  /** An attribute that is a zero-terminated string of ASCII characters. */
  string(type: number, text: string): void {
    const data = new Uint8Array(text.length + 1);
    for (let i = 0; i < text.length; i++) data[i] = text.charCodeAt(i);
    this.attribute(type, data);
  }

  /** An 8-bit attribute. */
  u8(type: number, value: number): void {
    this.#header(type, 1);
    this.words[this.length >> 2] = value & 0xff;
    this.length += 4;
  }

  /** A 16-bit attribute in network order. */
  u16Net(type: number, value: number): void {
    this.#header(type, 2);
    this.words[this.length >> 2] = 0;
    this.#view.setUint16(this.length, value);
    this.length += 4;
  }

  /** A 32-bit attribute in network order. */
  u32Net(type: number, value: number): void {
    this.#header(type, 4);
    this.#view.setUint32(this.length, value);
    this.length += 4;
  }

  /** A 32-bit attribute in host order. */
  u32(type: number, value: number): void {
    this.#header(type, 4);
    this.words[this.length >> 2] = value;
    this.length += 4;
  }

  /** An attribute whose `length` bytes the caller writes to {@link words}, from the result on. */
  reserve(type: number, length: number): number {
    this.#header(type, length);
    const at = this.length >> 2;
    this.length += align4(length);
    return at;
  }

  /** Starts a nested attribute; pass the result to {@link endNest}. */
  beginNest(type: number): number {
    const at = this.length;
    this.#header(type | NLA_F_NESTED, 0);
    return at;
  }

  /** Completes a nested attribute. */
  endNest(at: number): void {
    const length = this.length - at;
    if (length > 0xffff) {
      throw new RangeError(
        `Cannot write a netlink attribute of ${length} bytes: 65535 is the most`,
      );
    }
    this.#view.setUint16(at, length, true);
  }

  #header(type: number, length: number): void {
    this.#need(4 + align4(length));
    this.words[this.length >> 2] = (length + 4) | (type << 16);
    this.length += 4;
  }

  #need(bytes: number): void {
    if (this.room < bytes) {
      throw new RangeError(`Cannot write ${bytes} bytes more: the netlink buffer is full`);
    }
  }
}

/**
 * Finds an attribute among those in `bytes[start .. end)`. Malformed attributes end the search.
 *
 * @returns the offset of its header, or -1. Its data starts 4 bytes later.
 */
export function findAttribute(view: DataView, type: number, start: number, end: number): number {
  let at = start;
  while (at + 4 <= end) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > end) return -1;
    if ((view.getUint16(at + 2, true) & NLA_TYPE_MASK) === type) return at;
    at += align4(length);
  }
  return -1;
}

/** Calls `visit(type, start, end)` with the data range of each attribute; stops at a malformed one. */
export function eachAttribute(
  view: DataView,
  start: number,
  end: number,
  visit: (type: number, start: number, end: number) => void,
): void {
  let at = start;
  while (at + 4 <= end) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > end) return;
    visit(view.getUint16(at + 2, true) & NLA_TYPE_MASK, at + 4, at + length);
    at += align4(length);
  }
}

/** End of the attribute whose header is at `at`. */
export function attributeEnd(view: DataView, at: number): number {
  return at + view.getUint16(at, true);
}

/** A zero-terminated string among `bytes[start .. end)`. */
export function readString(bytes: Uint8Array, start: number, end: number): string {
  let stop = start;
  while (stop < end && bytes[stop] !== 0) stop++;
  return new TextDecoder().decode(bytes.subarray(start, stop));
}
