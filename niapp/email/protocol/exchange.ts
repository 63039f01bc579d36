/**
 * What the parsers of mail protocols have in common: they follow both sides of a connection and tell which bytes are
 * a message. Offsets are those of a side's stream.
 *
 * @module
 */

/** Who sent bytes. */
export type Side = "client" | "server";

/** What a message is, as far as the protocol tells. */
export interface MessageInfo {
  readonly side: Side;
  /** `whole`: header and body. `body`: what stands behind a header that is not there. `part`: a part's body. */
  readonly form: "whole" | "body" | "part";
  /** Its length was told before it: what takes the place of bytes must have as many. */
  readonly fixed: boolean;
  readonly from?: string;
  readonly to?: readonly string[];
  /** Of pieces that are transferred one by one: what they are pieces of, and the piece's place in it. */
  readonly piece?: { readonly of: string; readonly origin: number; readonly last: boolean };
}

/** What a parser tells. */
export interface ExchangeEvents {
  /** What lies before this offset is no part of a message: it may go on. */
  pass(side: Side, offset: number): void;
  /** A message begins. Nothing of its side is passed before it ends. */
  begin(info: MessageInfo, offset: number): void;
  /** Bytes of the message, and where the first one is in the stream. */
  content(bytes: Uint8Array, start: number, end: number, offset: number): void;
  /** The sender waits for an answer in the middle of the message: what came so far has to go on. */
  flush(offset: number): void;
  /**
   * The message is over.
   *
   * @param offset behind what ends it.
   * @returns false: nothing more of this side is to be taken before the parser is called again.
   */
  finished(offset: number): boolean;
  /** The message was given up by its sender. */
  abort(offset: number): void;
  /** A line is to be kept from the other end. `instead`: the answer's last line takes its place. */
  strip(side: Side, offset: number, length: number, instead: boolean): void;
  /** From here on both sides are not understood: encrypted or compressed. */
  opaque(why: string): void;
  /** Something odd, for people. `grave`: ends of messages may be seen elsewhere by others. */
  odd(what: string, grave: boolean): void;
}

/** A parser of one connection. */
export interface Exchange {
  /** The protocol's name. */
  readonly protocol: "smtp" | "pop3" | "imap";
  /**
   * Takes bytes of a side.
   *
   * @param offset of `data[start]`.
   * @returns the first byte that was not taken: it waits for the other side or for a verdict and is to be given again.
   */
  take(side: Side, data: Uint8Array, start: number, end: number, offset: number): number;
}

/** What is to be hidden from the other end. */
export interface ExchangeOptions {
  /** Offers of encryption and compression are taken out. */
  readonly strip: boolean;
  /** The offer to send messages in chunks is taken out. */
  readonly stripChunking: boolean;
}

/** Longest line that is looked at. */
export const LONGEST_LINE: number = 64 * 1024;

/** Collects lines of one side from pieces. */
export class Lines {
  /** The line, without its break; each character is a byte. */
  text = "";
  /** Where it begins in the stream. */
  start = 0;
  /** Behind its break. */
  end = 0;
  #parts = "";
  #begun = false;

  /** Forgets what was begun. */
  clear(): void {
    this.#parts = "";
    this.#begun = false;
  }

  /**
   * Takes bytes up to a line's end.
   *
   * @returns the first byte that is not of the line; {@link done} says whether it is whole.
   */
  take(data: Uint8Array, start: number, end: number, offset: number): number {
    if (!this.#begun) {
      this.#begun = true;
      this.start = offset;
    }
    let stop = data.indexOf(0x0a, start);
    const whole = stop !== -1 && stop < end;
    stop = whole ? stop + 1 : end;
    const room = LONGEST_LINE - this.#parts.length;
    if (room > 0) this.#parts += latin1(data, start, Math.min(stop, start + room));
    this.end = offset + stop - start;
    this.done = whole;
    if (whole) {
      this.text = this.#parts.replace(/\r?\n$/, "");
      this.clear();
    }
    return stop;
  }

  /** The last call of {@link take} came to a line's end. */
  done = false;
}

function latin1(data: Uint8Array, start: number, end: number): string {
  if (end - start < 4096) return String.fromCharCode(...data.subarray(start, end));
  return new TextDecoder("latin1").decode(data.subarray(start, end)).replace(
    /[^\0-\xff]/g,
    "?",
  );
}

const CR = new Uint8Array([0x0d]);

type DotState = "start" | "dot" | "dot-cr" | "line" | "lf" | "lf-dot" | "lf-dot-cr";

/** Reads text that a line with a dot ends, and takes doubled dots away (RFC 5321, section 4.5.2). */
export class DotReader {
  #state: DotState = "start";
  #last = 0;

  /** Text begins. */
  reset(): void {
    this.#state = "start";
    this.#last = 0;
  }

  /**
   * @returns the first byte behind the text, with its end, or -1 when it goes on.
   */
  take(
    data: Uint8Array,
    start: number,
    end: number,
    offset: number,
    events: Pick<ExchangeEvents, "content" | "odd">,
  ): number {
    const emit = (from: number, to: number) => {
      if (to > from) events.content(data, from, to, offset + from - start);
    };
    let at = start;
    while (at < end) {
      const byte = data[at] as number;
      switch (this.#state) {
        case "start":
          this.#state = byte === 0x2e ? "dot" : "line";
          if (byte === 0x2e) at++;
          break;
        case "dot":
          if (byte === 0x0d) {
            this.#state = "dot-cr";
            at++;
          } else {
            if (byte === 0x0a) events.odd("a dot alone in a line with a bare line feed", true);
            this.#state = "line";
          }
          break;
        case "dot-cr":
          if (byte === 0x0a) {
            this.reset();
            return at + 1;
          }
          events.content(CR, 0, 1, offset + at - 1 - start);
          this.#last = 0x0d;
          this.#state = "line";
          break;
        case "lf":
          this.#state = byte === 0x2e ? "lf-dot" : "line";
          if (byte === 0x2e) emit(at, ++at);
          break;
        case "lf-dot":
          if (byte === 0x0a) events.odd("a dot alone in a line with bare line feeds", true);
          this.#state = byte === 0x0d ? "lf-dot-cr" : "line";
          if (byte === 0x0d) emit(at, ++at);
          this.#last = 0x0d;
          break;
        case "lf-dot-cr":
          if (byte === 0x0a) events.odd("a dot alone in a line behind a bare line feed", true);
          this.#state = "line";
          this.#last = 0x0d;
          break;
        case "line": {
          // Only a dot behind a line feed matters: what lies between goes on in one piece.
          let dot = data.indexOf(0x2e, at + 1);
          while (dot !== -1 && dot < end && data[dot - 1] !== 0x0a) {
            dot = data.indexOf(0x2e, dot + 1);
          }
          if (dot === -1 || dot >= end) {
            emit(at, end);
            const before = end - 2 >= at ? data[end - 2] : this.#last;
            this.#last = data[end - 1] as number;
            if (this.#last === 0x0a) this.#state = before === 0x0d ? "start" : "lf";
            return -1;
          }
          const before = dot - 2 >= at ? data[dot - 2] : this.#last;
          const crlf = before === 0x0d;
          this.#state = crlf ? "dot" : "lf-dot";
          emit(at, crlf ? dot : dot + 1);
          this.#last = 0x0a;
          at = dot + 1;
        }
      }
    }
    return -1;
  }
}
