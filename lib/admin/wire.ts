/**
 * Messages between a console and its peers: a JSON object and, where there is more than text, bytes with it.
 * Each is two lengths (32 bits, big-endian), the JSON, and the bytes. See docs/protocols/console.md.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";

/** Octets of a message's JSON. */
export const LONGEST_JSON = 1024 * 1024;
/** Octets that go with a message. */
export const LONGEST_BYTES = 1024 * 1024;
const HEADER = 8;

/** A message as it came, and the octets that it had on the wire. */
export interface WireMessage {
  readonly value: unknown;
  readonly bytes: Uint8Array;
  readonly size: number;
}

/** Called for each message; a string that it returns ends the connection and says why. */
export type WireHandler = (message: WireMessage) => string | undefined;

const NOTHING = new Uint8Array();

/** Takes a stream of octets apart into messages. */
export class WireReader {
  #parts: Uint8Array[] = [];
  #length = 0;

  /**
   * Takes octets.
   *
   * @returns what is wrong with them, when something is; nothing can be read after that.
   */
  take(data: Uint8Array, handle: WireHandler): string | undefined {
    this.#parts.push(data);
    this.#length += data.length;
    while (this.#length >= HEADER) {
      const head = this.#peek(HEADER);
      const view = new DataView(head.buffer, head.byteOffset, HEADER);
      const text = view.getUint32(0);
      const bytes = view.getUint32(4);
      if (text > LONGEST_JSON || bytes > LONGEST_BYTES || text < 2) {
        return `a message of ${text} + ${bytes} octets is not possible`;
      }
      const size = HEADER + text + bytes;
      if (this.#length < size) return undefined;
      const whole = this.#peek(size);
      this.#drop(size);
      let value: unknown;
      try {
        value = JSON.parse(decoder.decode(whole.subarray(HEADER, HEADER + text)));
      } catch {
        return "a message is not JSON"; // whatever is wrong with it: the text is the peer's
      }
      const wrong = handle({ value, bytes: whole.subarray(HEADER + text), size });
      if (wrong !== undefined) return wrong;
    }
    return undefined;
  }

  /** The first octets in one piece. */
  #peek(count: number): Uint8Array {
    const first = this.#parts[0] ?? NOTHING;
    if (first.length >= count) return first.subarray(0, count);
    const joined = Buffer.concat(this.#parts, this.#length);
    this.#parts = [joined];
    return joined.subarray(0, count);
  }

  #drop(count: number): void {
    const first = this.#parts[0] as Uint8Array;
    this.#length -= count;
    if (first.length === count) this.#parts.shift();
    else this.#parts[0] = first.subarray(count);
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** A message as octets. @throws {RangeError} when it is longer than a message can be. */
export function encodeMessage(value: unknown, bytes: Uint8Array = NOTHING): Uint8Array {
  const text = Buffer.from(JSON.stringify(value));
  if (text.length > LONGEST_JSON || bytes.length > LONGEST_BYTES) {
    throw new RangeError(`Cannot send a message of ${text.length} + ${bytes.length} octets`);
  }
  const out = Buffer.allocUnsafe(HEADER + text.length + bytes.length);
  out.writeUInt32BE(text.length, 0);
  out.writeUInt32BE(bytes.length, 4);
  text.copy(out, HEADER);
  out.set(bytes, HEADER + text.length);
  return out;
}

/** Messages over a channel. */
export class WireChannel {
  readonly #channel: Duplex;
  readonly #reader = new WireReader();
  #ended = false;
  #paused = false;
  readonly #drained: (() => void)[] = [];

  /**
   * @param handle takes each message.
   * @param ended the channel is over; called once.
   */
  constructor(channel: Duplex, handle: WireHandler, ended: (why: string) => void) {
    this.#channel = channel;
    const end = (why: string) => {
      if (this.#ended) return;
      this.#ended = true;
      channel.destroy();
      for (const go of this.#drained.splice(0)) go();
      ended(why);
    };
    channel.on("data", (data: Uint8Array) => {
      if (this.#ended) return;
      const wrong = this.#reader.take(data, handle);
      if (wrong !== undefined) end(wrong);
    });
    channel.on("drain", () => {
      for (const go of this.#drained.splice(0)) go();
    });
    channel.on("error", (error: Error) => end(error.message));
    channel.on("close", () => end("the connection was closed"));
    channel.on("end", () => end("the other end has closed"));
  }

  /** It is over. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Octets that the peer has not taken yet. */
  get backlog(): number {
    return this.#channel.writableLength;
  }

  /** Sends a message; false when the peer should be given time ({@link drained}). */
  send(value: unknown, bytes?: Uint8Array): boolean {
    if (this.#ended) return true;
    return this.#channel.write(encodeMessage(value, bytes));
  }

  /** Resolves when the peer has taken what was sent, or is gone. */
  drained(): Promise<void> {
    if (this.#ended || !this.#channel.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /** Reads no more for now, or goes on: what the peer sends meanwhile waits on its side. */
  pause(on: boolean): void {
    if (this.#paused === on || this.#ended) return;
    this.#paused = on;
    if (on) this.#channel.pause();
    else this.#channel.resume();
  }
}
