/**
 * One message while it is transferred: its bytes, where each stands in the stream, and what is known of its structure.
 *
 * @module
 */
import { MimeParser } from "./mime/parser.ts";
import type { MessageInfo } from "./protocol/exchange.ts";

/**
 * Stands before a part's body whose header was not transferred with it: whatever it says that it is, it is looked at
 * in that way too.
 */
const ANY_PART = new TextEncoder().encode(
  [
    "Content-Type: application/octet-stream",
    "Content-Type: message/rfc822",
    "Content-Type: multipart/mixed",
    "Content-Transfer-Encoding: base64",
    "Content-Transfer-Encoding: quoted-printable",
    "Content-Transfer-Encoding: x-uuencode",
    "Content-Transfer-Encoding: binary",
    "",
    "",
  ].join("\r\n"),
);
const NOTHING = new Uint8Array();

/** A message that is held until it is whole. */
export class Message {
  readonly info: MessageInfo;
  /** Where it begins in the stream. */
  readonly offset: number;
  /** Its usual reading, made as it comes. */
  readonly parser = new MimeParser();
  /** Nothing is to be decided about it: it is too large, and goes on. */
  ignored = false;
  /** The kernel was asked to get more of it than the sender sends by itself. */
  asked = false;
  /** Bytes before this one were not transferred here and now, so they cannot be changed. */
  readonly fixedUntil: number;
  /** Bytes before this one have gone on already. */
  passedUntil: number;
  /** Where it ended in the stream, when it is whole. */
  end = 0;
  /** What becomes of it is known. */
  decided = false;
  readonly #prefix: number;
  #bytes: Uint8Array<ArrayBuffer>;
  #length = 0;
  /** From where on the stream is so many bytes ahead of the message. */
  readonly #froms: number[] = [];
  readonly #offsets: number[] = [];

  /** @param before bytes of a part that came in earlier pieces. */
  constructor(info: MessageInfo, offset: number, before: Uint8Array = NOTHING) {
    this.info = info;
    this.offset = offset;
    this.#bytes = new Uint8Array(16 * 1024);
    const prefix = info.form === "whole" ? NOTHING : ANY_PART;
    this.#prefix = prefix.length;
    this.#append(prefix, 0, prefix.length);
    this.#append(before, 0, before.length);
    this.fixedUntil = this.passedUntil = this.#length;
  }

  /** What was transferred of it so far, with what stands in front. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Bytes without what stands in front. */
  get own(): Uint8Array {
    return this.#bytes.subarray(this.#prefix, this.#length);
  }

  /** Bytes so far. */
  get length(): number {
    return this.#length;
  }

  /** Adds bytes that stand at an offset of the stream. */
  add(bytes: Uint8Array, start: number, end: number, offset: number): void {
    const last = this.#offsets.length - 1;
    const expected = last < 0
      ? -1
      : (this.#offsets[last] as number) + this.#length - (this.#froms[last] as number);
    if (offset !== expected) {
      this.#froms.push(this.#length);
      this.#offsets.push(offset);
    }
    this.#append(bytes, start, end);
  }

  /** Frees the memory of a message that is not looked at any more. */
  forget(): void {
    this.ignored = true;
    this.#bytes = new Uint8Array(0);
    this.#length = 0;
  }

  /** Where a byte of the message stands in the stream. It must not be before {@link fixedUntil}. */
  streamOffset(at: number): number {
    let low = 0;
    let high = this.#froms.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#froms[middle] as number) <= at) low = middle;
      else high = middle - 1;
    }
    return (this.#offsets[low] ?? this.offset) + at - (this.#froms[low] ?? this.fixedUntil);
  }

  /** Where in the stream a change begins: with the doubled dot before its first byte, when there is one. */
  changeStart(at: number): number {
    return at <= this.fixedUntil ? this.offset : this.streamOffset(at - 1) + 1;
  }

  #append(bytes: Uint8Array, start: number, end: number): void {
    const length = this.#length + end - start;
    if (length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(length, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(
      start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end),
      this.#length,
    );
    this.#length = length;
    this.parser.take(bytes, start, end);
  }
}
