/**
 * How NETCONF messages are told apart in a stream of bytes (RFC 6242): an end mark in version 1.0, chunks with
 * lengths in version 1.1.
 *
 * @module
 */

const END = new TextEncoder().encode("]]>]]>");
const LF = 0x0a;
const HASH = 0x23;

/** Takes a stream apart. Version 1.0 until it is told otherwise, as both ends begin. */
export class NetconfDecoder {
  /** Chunks from the next message on. */
  chunked = false;
  readonly #most: number;
  #input: Uint8Array = new Uint8Array(0);
  #length = 0;
  /** So much of the input has no end mark in it. */
  #looked = 0;
  #chunks: Uint8Array[] = [];
  #size = 0;

  /** @param most bytes of the largest message that is taken. */
  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Takes a piece.
   *
   * @returns the messages that are complete.
   * @throws {SyntaxError} when the framing is broken or a message is too large; nothing more can be read then.
   */
  write(piece: Uint8Array): string[] {
    this.#append(piece);
    const messages: string[] = [];
    for (;;) {
      const message = this.chunked ? this.#takeChunks() : this.#takeMarked();
      if (message === undefined) break;
      messages.push(new TextDecoder().decode(message));
      // What comes after a hello may be framed in the other way.
      if (!this.chunked) break;
    }
    if (this.#length + this.#size > this.#most) {
      throw new SyntaxError(`Cannot read NETCONF: a message is larger than ${this.#most} bytes`);
    }
    return messages;
  }

  #append(piece: Uint8Array): void {
    if (this.#length + piece.length > this.#input.length) {
      const larger = new Uint8Array(Math.max(4096, 2 * (this.#length + piece.length)));
      larger.set(this.#input.subarray(0, this.#length));
      this.#input = larger;
    }
    this.#input.set(piece, this.#length);
    this.#length += piece.length;
  }

  #drop(count: number): void {
    this.#input.copyWithin(0, count, this.#length);
    this.#length -= count;
    this.#looked = 0;
  }

  #takeMarked(): Uint8Array | undefined {
    const input = this.#input.subarray(0, this.#length);
    for (let at = input.indexOf(END[0] as number, this.#looked); at !== -1;) {
      if (at + END.length > input.length) {
        this.#looked = at;
        return undefined;
      }
      if (END.every((byte, i) => input[at + i] === byte)) {
        const message = input.slice(0, at);
        this.#drop(at + END.length);
        return message;
      }
      at = input.indexOf(END[0] as number, at + 1);
    }
    this.#looked = input.length;
    return undefined;
  }

  #takeChunks(): Uint8Array | undefined {
    for (;;) {
      const input = this.#input.subarray(0, this.#length);
      // "\n#" length "\n" data, or "\n##\n". Some devices put more line feeds in front.
      let at = 0;
      while (at < input.length && (input[at] === LF || input[at] === 0x0d)) at++;
      if (at + 2 > input.length) return undefined;
      if (input[at] !== HASH) throw broken("a chunk does not begin with #");
      const end = input.indexOf(LF, at);
      if (end === -1) {
        if (input.length - at > 16) throw broken("a chunk has no length");
        return undefined;
      }
      const head = new TextDecoder().decode(input.subarray(at + 1, end)).trim();
      if (head === "#") {
        this.#drop(end + 1);
        const whole = new Uint8Array(this.#size);
        let to = 0;
        for (const chunk of this.#chunks) {
          whole.set(chunk, to);
          to += chunk.length;
        }
        this.#chunks = [];
        this.#size = 0;
        return whole;
      }
      if (!/^[1-9][0-9]{0,9}$/.test(head)) throw broken(`${JSON.stringify(head)} is no length`);
      const length = Number(head);
      if (length > this.#most) throw broken(`a chunk of ${length} bytes is too large`);
      if (input.length < end + 1 + length) return undefined;
      this.#chunks.push(input.slice(end + 1, end + 1 + length));
      this.#size += length;
      this.#drop(end + 1 + length);
    }
  }
}

/** A message as it is sent. */
export function encodeNetconf(text: string, chunked: boolean): Uint8Array {
  const encoder = new TextEncoder();
  if (!chunked) return encoder.encode(`${text}]]>]]>\n`);
  return encoder.encode(`\n#${encoder.encode(text).length}\n${text}\n##\n`);
}

function broken(why: string): SyntaxError {
  return new SyntaxError(`Cannot read NETCONF: ${why}`);
}
