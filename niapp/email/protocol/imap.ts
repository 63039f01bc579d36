/**
 * IMAP4rev1 (RFC 3501, with LITERAL+, BINARY, CATENATE, MULTIAPPEND): which bytes are a message or a part of one. IMAP
 * sends messages in pieces that do not tell what they are; the exchange does.
 *
 * @module
 */
import { Lines, LONGEST_LINE, type MessageInfo, type Side } from "./exchange.ts";
import { Dialogue } from "./dialogue.ts";

/** Bytes of a command or response that are kept, over all its lines. */
const LONGEST_TEXT = 2 * LONGEST_LINE;
/** Sizes of pieces that were asked for and are kept. */
const MOST_ASKED = 64;

/** What a literal or quoted text is. */
type Literal = { readonly info: MessageInfo } | undefined;

interface Stream {
  readonly lines: Lines;
  /** The command or response so far, without its literals. */
  text: string;
  /** Bytes of a literal to come. */
  left: number;
  literal: Literal;
}

/** A connection. */
export class Imap extends Dialogue {
  override readonly protocol = "imap";
  readonly #client: Stream = { lines: new Lines(), text: "", left: 0, literal: undefined };
  readonly #server: Stream = { lines: new Lines(), text: "", left: 0, literal: undefined };
  /** How the client's bytes are to be read: `asks` waits for leave to send a literal. */
  #state: "command" | "asks" | "answer" | "secret" = "command";
  #asked: { readonly size: number; readonly literal: Literal } = { size: 0, literal: undefined };
  /** The tag whose answer is waited for. */
  #tag = "";
  #verb = "";
  /** Mailboxes that were selected so far: message numbers mean something else in each. */
  #mailbox = 0;
  /** What sizes of pieces were asked for, by section and place. */
  #pieces = new Map<string, number>();

  protected override step(
    side: Side,
    data: Uint8Array,
    start: number,
    end: number,
    offset: number,
  ): number {
    const stream = side === "client" ? this.#client : this.#server;
    if (side === "client" && (this.#state === "asks" || this.#state === "answer")) return start;
    if (stream.left > 0) return this.#literalBytes(stream, side, data, start, end, offset);
    const { lines } = stream;
    const stop = lines.take(data, start, end, offset);
    if (!lines.done) {
      if (lines.end - lines.start > LONGEST_LINE) this.events.pass(side, lines.end);
      return stop;
    }
    if (side === "client") this.#clientLine(lines);
    else this.#serverLine(lines);
    return stop;
  }

  #literalBytes(
    stream: Stream,
    side: Side,
    data: Uint8Array,
    start: number,
    end: number,
    offset: number,
  ): number {
    const stop = Math.min(end, start + stream.left);
    stream.left -= stop - start;
    const stopOffset = offset + stop - start;
    if (stream.literal === undefined) this.events.pass(side, stopOffset);
    else {
      this.events.content(data, start, stop, offset);
      if (stream.left === 0) this.stop = !this.events.finished(stopOffset);
    }
    return stop;
  }

  /** A literal comes: what was before it may go on. */
  #literal(stream: Stream, side: Side, size: number, literal: Literal, offset: number): void {
    this.events.pass(side, offset);
    stream.left = size;
    stream.literal = literal;
    if (literal !== undefined && size > 0) this.events.begin(literal.info, offset);
  }

  #clientLine(lines: Lines): void {
    const { text: line, end } = lines;
    if (this.#state === "secret") {
      this.events.pass("client", end);
      // The client may give up with a star; the answer ends it in any case.
      return;
    }
    const stream = this.#client;
    const text = stream.text + line;
    const found = /~?\{(\d{1,15})(\+)?\}$/.exec(line);
    if (found !== null) {
      const literal = this.#appended(text);
      const size = Number(found[1]);
      if (text.length < LONGEST_TEXT) {
        stream.text = text.slice(0, text.length - found[0].length) + "{}";
      }
      if (found[2] !== undefined) return this.#literal(stream, "client", size, literal, end);
      this.#asked = { size, literal };
      this.#tag = text.split(" ", 1)[0] ?? "";
      this.#state = "asks";
      this.events.pass("client", end);
      return;
    }
    stream.text = "";
    this.events.pass("client", end);
    this.#command(text);
  }

  /** What a literal of a command is: APPEND's are messages, but for the name of the mailbox. */
  #appended(text: string): Literal {
    const found = /^\S+ APPEND +(.*)$/is.exec(text);
    if (found === null || /^~?\{\d+\+?\}$/.test(found[1] as string)) return undefined;
    // A piece of a message that is put together from pieces stands for the whole.
    return { info: { side: "client", form: "whole", fixed: true } };
  }

  #command(text: string): void {
    const [tag = "", verb = "", ...rest] = text.split(" ");
    this.#verb = verb.toUpperCase();
    switch (this.#verb) {
      case "STARTTLS":
      case "COMPRESS":
        this.#tag = tag;
        this.#state = "answer";
        break;
      case "AUTHENTICATE":
        this.#tag = tag;
        this.#state = "secret";
        break;
      case "SELECT":
      case "EXAMINE":
        this.#mailbox++;
        break;
      case "FETCH":
      case "UID":
        for (const piece of rest.join(" ").matchAll(/\[([^\]]*)\]<(\d{1,15})\.(\d{1,15})>/g)) {
          if (this.#pieces.size >= MOST_ASKED) this.#pieces.clear();
          this.#pieces.set(`${piece[1]?.toUpperCase()} ${piece[2]}`, Number(piece[3]));
        }
        break;
      default:
    }
  }

  #serverLine(lines: Lines): void {
    const { text: line, start, end } = lines;
    const stream = this.#server;
    const isFirst = stream.text === "";
    const text = stream.text + line;
    const found = /~?\{(\d{1,15})\}$/.exec(line);
    this.#quoted(text, line, start);
    if (this.options.strip) this.#strip(line, start);
    if (found !== null) {
      const literal = this.#fetched(text.slice(0, text.length - found[0].length), Number(found[1]));
      if (text.length < LONGEST_TEXT) {
        stream.text = text.slice(0, text.length - found[0].length) + "{}";
      }
      return this.#literal(stream, "server", Number(found[1]), literal, end);
    }
    stream.text = "";
    this.events.pass("server", end);
    if (isFirst) this.#answer(line);
  }

  /** What a literal of a response is, told by what stands before it. */
  #fetched(before: string, size: number): Literal {
    const fetch = /^\* (\d{1,10}) FETCH /i.exec(before);
    if (fetch === null) return undefined;
    const item = /(BODY|BINARY)\[([^\]]*)\](?:<(\d{1,15})>)? +$|(RFC822(?:\.TEXT|\.HEADER)?) +$/i
      .exec(before);
    if (item === null) return undefined;
    const section = (item[4] === undefined ? item[2] ?? "" : item[4].replace(/^RFC822\.?/i, ""))
      .toUpperCase();
    if (/(^|\.)(HEADER|MIME)/.test(section)) return undefined;
    const form = section === "" ? "whole" : section === "TEXT" ? "body" : "part";
    const info: MessageInfo = { side: "server", form, fixed: true };
    if (item[3] === undefined) return { info };
    const origin = Number(item[3]);
    const asked = this.#pieces.get(`${section} ${origin}`);
    return {
      info: {
        ...info,
        piece: {
          of: `${this.#mailbox} ${fetch[1]} ${section}`,
          origin,
          last: asked === undefined || size < asked,
        },
      },
    };
  }

  /** Short parts may come as quoted texts. */
  #quoted(text: string, line: string, start: number): void {
    if (!line.includes('] "') && !/RFC822(\.TEXT)? "/i.test(line)) return;
    const shift = text.length - line.length;
    const items =
      /(?:(?:BODY|BINARY)\[[^\]]*\](?:<\d{1,15}>)?|RFC822(?:\.TEXT)?) +"((?:[^"\\]|\\.)*)"/gi;
    for (const found of text.matchAll(items)) {
      const value = found[1] as string;
      const at = found.index + found[0].length - 1 - value.length;
      if (at < shift || value === "") continue;
      const literal = this.#fetched(text.slice(0, at - 1), value.length);
      if (literal === undefined) continue;
      const offset = start + at - shift;
      this.events.pass("server", offset);
      this.events.begin(literal.info, offset);
      const bytes = Uint8Array.from(value, (letter) => letter.charCodeAt(0) & 255);
      this.events.content(bytes, 0, bytes.length, offset);
      this.stop = !this.events.finished(offset + bytes.length) || this.stop;
    }
  }

  #strip(line: string, start: number): void {
    if (!/^\* (CAPABILITY|OK \[CAPABILITY)|^\S+ OK \[CAPABILITY/i.test(line)) return;
    const until = line.indexOf("]") === -1 ? line.length : line.indexOf("]");
    for (const found of line.slice(0, until).matchAll(/ (STARTTLS|COMPRESS=\S+)(?= |$)/gi)) {
      this.events.strip("server", start + found.index, found[0].length, false);
    }
  }

  #answer(line: string): void {
    if (/^\+( |$)/.test(line)) {
      if (this.#state !== "asks") return;
      this.#state = "command";
      const { size, literal } = this.#asked;
      return this.#literal(this.#client, "client", size, literal, this.#client.lines.end);
    }
    const [tag, status] = line.split(" ", 2);
    if (tag === "*" || tag !== this.#tag || this.#state === "command") return;
    const verb = this.#verb;
    const state = this.#state;
    this.#state = "command";
    this.#client.text = "";
    if (state !== "answer" || status?.toUpperCase() !== "OK") return;
    this.opaque = true;
    this.events.opaque(verb);
  }
}
