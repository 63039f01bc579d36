/**
 * The structure of a mail, from bytes in any pieces: which bytes are which part's header and body. One parser reads
 * a message in one way ({@link Reading}) and notes where other readers may differ; readings.ts has them all read.
 *
 * Positions count the message's bytes from 0. Nothing throws, and memory is bounded whatever comes.
 *
 * @module
 */
import { ascii } from "./decode.ts";
import { boundaries, candidates, type Field, structured } from "./fields.ts";

/** Where readers differ. A reading is a set of these, and a choice among candidates. */
export const DOUBT = {
  /** A line that is not a header field: it begins the body, or is ignored. */
  IGNORE_JUNK: 1,
  /** A line of blanks only ends the header. */
  BLANK_ENDS: 2,
  /** A delimiter may be followed by more. */
  PREFIX: 4,
  /** A multipart goes on behind its closing delimiter. */
  REOPEN: 8,
  /** A multipart or message that says it is encoded is. */
  ENCODED: 16,
  /** A carriage return alone ends a line. */
  BARE_CR: 32,
  /** A multipart that names no boundary, or none that comes, is divided by the first line that looks like one. */
  GUESS: 64,
  /** What names a boundary is a multipart, whatever type it says. */
  BOUNDARY_DECIDES: 128,
} as const;

/** One way to read a message. */
export interface Reading {
  /** Of {@link DOUBT}. */
  readonly doubts: number;
  /** Which of the candidates for Content-Type counts; the last one, when there are fewer. */
  readonly type: number;
  /** Which of the candidates for the boundary. */
  readonly boundary: number;
}

/** How most read it. */
export const USUAL: Reading = { doubts: 0, type: 0, boundary: 0 };

/** A part without parts. */
export interface Part {
  /** Numbers as in IMAP, of parts within parts; empty for a message that has none. */
  readonly path: string;
  /** What holds it: replacing a multipart's part is simpler than a message's only one. */
  readonly within: "message" | "multipart";
  readonly fields: readonly Field[];
  /** First byte of its header. */
  readonly start: number;
  readonly bodyStart: number;
  /** Behind its last byte; the line break before a delimiter is not the body's. */
  bodyEnd: number;
  /** Type and subtype in small letters. */
  readonly type: string;
  /** What it may be encoded with, in small letters. */
  readonly encodings: readonly string[];
  /** Where uuencoded files may begin. */
  readonly uu: number[];
  /** It holds text of an encoding that is not opened. */
  opaque: "yenc" | "binhex" | undefined;
  /** It is only a piece of a message (message/partial). */
  readonly partial: boolean;
  /** The message's end is its end, and no delimiter. */
  open: boolean;
}

/** Limits of what is kept of one message. */
const MOST_PARTS = 4096;
const MOST_FIELDS = 2048;
const LONGEST_VALUE = 64 * 1024;
const MOST_LEVELS = 64;
const MOST_UU = 64;
/** Bytes of a line that are looked at. */
const LONGEST_LINE = 64 * 1024;
const LONGEST_BODY_LINE = 1024;

interface Level {
  /** `--` and the boundary; undefined: none was named. */
  delimiter: Uint8Array | undefined;
  readonly digest: boolean;
  readonly path: string;
  /** The part that it is when no delimiter comes. */
  readonly whole: Part;
  seen: boolean;
  /** A line that looks like a delimiter came before its own. */
  other: boolean;
  closed: boolean;
  count: number;
}

type State = "header" | "body" | "preamble" | "epilogue";

/** Reads one message in one way. */
export class MimeParser {
  /** Parts, in the order of their bodies. */
  readonly parts: Part[] = [];
  /** Fields of the message's own header. */
  fields: readonly Field[] = [];
  /** Doubts that made a difference, of {@link DOUBT}. */
  doubts = 0;
  /** Candidates that there were at most. */
  types = 1;
  boundaries = 1;
  /** A limit was reached: parts of the message were not read. */
  exceeded = false;

  readonly #reading: Reading;
  readonly #levels: Level[] = [];
  #state: State = "header";
  #fields: Field[] = [];
  #start = 0;
  #within: Part["within"] = "message";
  #path = "";
  #digest = false;
  #partial = false;
  #part: Part | undefined;
  #root = true;
  /** Bytes of a line whose end has not come, as far as they are kept. */
  #line = new Uint8Array(256);
  #kept = 0;
  #lineStart = 0;
  #position = 0;
  #lastByte = 0;
  #breakLength = 0;
  /** Where the next carriage return of the bytes at hand is; -1: not looked for. */
  #nextCr = -1;

  /** @param reading how. */
  constructor(reading: Reading = USUAL) {
    this.#reading = reading;
  }

  /** Takes the next bytes. */
  take(data: Uint8Array, start = 0, end: number = data.length): void {
    const bareCr = (this.#reading.doubts & DOUBT.BARE_CR) !== 0;
    this.#nextCr = -1;
    let at = start;
    while (at < end) {
      if (bareCr && this.#lastByte === 0x0d && this.#position > this.#lineStart) {
        // A carriage return ended the piece before: what follows says what it was.
        if (data[at] !== 0x0a) this.#ended(1);
      }
      let stop = data.indexOf(0x0a, at);
      if (stop === -1 || stop >= end) stop = end;
      if (bareCr) {
        const cr = data.indexOf(0x0d, at);
        if (cr !== -1 && cr < stop && cr + 1 < stop) stop = cr;
        else if (cr !== -1 && cr < stop && cr + 1 === end) stop = end;
      }
      if (stop === end) {
        this.#keep(data, at, end);
        return;
      }
      if (!bareCr && this.#isPlain(data, at)) {
        this.#plainLine(data, at, stop);
        at = stop + 1;
        continue;
      }
      const lf = data[stop] === 0x0a;
      if (this.#kept === 0 && this.#position === this.#lineStart) {
        const cr = lf && stop > at && data[stop - 1] === 0x0d;
        this.#position += stop + 1 - at;
        this.#wholeLine(data, at, cr ? stop - 1 : stop, cr ? 2 : 1);
      } else {
        this.#keep(data, at, stop);
        const cr = lf && this.#lastByte === 0x0d;
        this.#position++;
        this.#lastByte = data[stop] as number;
        this.#ended(cr ? 2 : 1, cr ? 1 : 0);
      }
      this.#lastByte = data[stop] as number;
      at = stop + 1;
    }
  }

  /** The message is over. */
  end(): void {
    if (this.#position > this.#lineStart) {
      const cr = (this.#reading.doubts & DOUBT.BARE_CR) !== 0 && this.#lastByte === 0x0d;
      this.#ended(cr ? 1 : 0, cr ? 1 : 0);
    }
    if (this.#state === "header") this.#headerEnds(this.#position);
    this.#finishPart(this.#position, true);
    while (this.#levels.length > 0) this.#popLevel(this.#position);
  }

  #keep(data: Uint8Array, start: number, end: number): void {
    const most = this.#state === "header" ? LONGEST_LINE : LONGEST_BODY_LINE;
    const count = Math.min(end - start, Math.max(0, most - this.#kept));
    if (count < end - start && this.#state === "header") this.exceeded = true;
    if (this.#kept + count > this.#line.length) {
      const larger = new Uint8Array(Math.max(this.#line.length * 2, this.#kept + count));
      larger.set(this.#line.subarray(0, this.#kept));
      this.#line = larger;
    }
    this.#line.set(data.subarray(start, start + count), this.#kept);
    this.#kept += count;
    this.#position += end - start;
    if (end > start) this.#lastByte = data[end - 1] as number;
  }

  /** The kept line is whole. `extra` bytes of its break are among the kept ones. */
  #ended(breakLength: number, extra = breakLength): void {
    const length = this.#position - this.#lineStart - (breakLength - extra);
    const isWhole = this.#kept === length;
    const end = isWhole ? Math.max(0, this.#kept - extra) : this.#kept;
    this.#kept = 0;
    this.#nextCr = -1;
    this.#wholeLine(this.#line, 0, end, breakLength);
    this.#nextCr = -1;
  }

  /** A body's line that begins with nothing of note: most of a message. */
  #isPlain(data: Uint8Array, at: number): boolean {
    if (this.#kept !== 0 || this.#state === "header" || this.#position !== this.#lineStart) {
      return false;
    }
    const first = data[at];
    return first !== 0x2d && first !== 0x62 && first !== 0x3d && first !== 0x28;
  }

  #plainLine(data: Uint8Array, at: number, stop: number): void {
    this.#noteCr(data, at, stop - 1);
    this.#position += stop + 1 - at;
    this.#lineStart = this.#position;
    this.#breakLength = stop > at && data[stop - 1] === 0x0d ? 2 : 1;
    this.#lastByte = 0x0a;
  }

  /** Notes a carriage return that is not part of a line's end. */
  #noteCr(data: Uint8Array, start: number, end: number): void {
    if (this.#nextCr < start) {
      this.#nextCr = data.indexOf(0x0d, start);
      if (this.#nextCr === -1) this.#nextCr = Infinity;
    }
    if (this.#nextCr < end) this.doubts |= DOUBT.BARE_CR;
  }

  #wholeLine(data: Uint8Array, start: number, end: number, breakLength: number): void {
    const at = this.#lineStart;
    const next = this.#position;
    this.#lineStart = next;
    this.#noteCr(data, start, end);
    const dashes = end - start >= 2 && data[start] === 0x2d && data[start + 1] === 0x2d;
    if (!dashes || this.#levels.length === 0 || !this.#delimiter(data, start, end, at, next)) {
      if (this.#state === "header") this.#headerLine(data, start, end, at, next);
      else if (this.#state === "body") this.#bodyLine(data, start, end, at);
    }
    this.#breakLength = breakLength;
  }

  #delimiter(data: Uint8Array, start: number, end: number, at: number, next: number): boolean {
    for (let place = this.#levels.length - 1; place >= 0; place--) {
      const level = this.#levels[place] as Level;
      if (!level.seen && end - start >= 3) level.other = true;
      if (level.delimiter === undefined || (!level.seen && this.#isGuess(level))) {
        if (!this.#guess(level, data, start, end)) continue;
      }
      const kind = this.#compare(level.delimiter as Uint8Array, data, start, end);
      if (kind === undefined) continue;
      if (level.closed) {
        this.doubts |= DOUBT.REOPEN;
        if ((this.#reading.doubts & DOUBT.REOPEN) === 0) continue;
      }
      this.#divide(place, kind, at, next);
      return true;
    }
    return false;
  }

  #isGuess(level: Level): boolean {
    return (this.#reading.doubts & DOUBT.GUESS) !== 0 && this.#levels.at(-1) === level &&
      this.#state === "preamble";
  }

  /** A multipart whose delimiter is not known, and a line that looks like one. */
  #guess(level: Level, data: Uint8Array, start: number, end: number): boolean {
    if (end - start < 3 || this.#levels.at(-1) !== level || this.#state !== "preamble") {
      return false;
    }
    this.doubts |= DOUBT.GUESS;
    if ((this.#reading.doubts & DOUBT.GUESS) === 0) return level.delimiter !== undefined;
    let stop = end;
    while (stop > start && isBlank(data[stop - 1])) stop--;
    level.delimiter = data.slice(start, stop);
    return true;
  }

  #compare(
    delimiter: Uint8Array,
    data: Uint8Array,
    start: number,
    end: number,
  ): "part" | "close" | undefined {
    const rest = start + delimiter.length;
    if (rest > end) return undefined;
    for (let at = 2; at < delimiter.length; at++) {
      if (data[start + at] !== delimiter[at]) return undefined;
    }
    const close = end - rest >= 2 && data[rest] === 0x2d && data[rest + 1] === 0x2d;
    let blank = rest + (close ? 2 : 0);
    while (blank < end && isBlank(data[blank])) blank++;
    if (blank < end) {
      this.doubts |= DOUBT.PREFIX;
      if ((this.#reading.doubts & DOUBT.PREFIX) === 0) return undefined;
    }
    return close ? "close" : "part";
  }

  /** A delimiter of a level: what is deeper is over. */
  #divide(place: number, kind: "part" | "close", at: number, next: number): void {
    if (this.#state === "header") this.#headerEnds(at);
    this.#finishPart(Math.max(0, at - this.#breakLength), false);
    while (this.#levels.length > place + 1) this.#popLevel(at);
    const level = this.#levels[place] as Level;
    level.seen = true;
    if (kind === "close") {
      level.closed = true;
      this.#state = "epilogue";
      return;
    }
    level.closed = false;
    level.count++;
    const path = level.path === "" ? `${level.count}` : `${level.path}.${level.count}`;
    this.#begin(next, "multipart", path, level.digest);
  }

  #begin(start: number, within: Part["within"], path: string, digest: boolean): void {
    this.#state = "header";
    this.#fields = [];
    this.#start = start;
    this.#within = within;
    this.#path = path;
    this.#digest = digest;
  }

  #headerLine(data: Uint8Array, start: number, end: number, at: number, next: number): void {
    if (start === end) return this.#headerEnds(next);
    const first = data[start] as number;
    if (isBlank(first)) {
      let blank = start;
      while (blank < end && isBlank(data[blank])) blank++;
      if (blank === end) {
        this.doubts |= DOUBT.BLANK_ENDS;
        if ((this.#reading.doubts & DOUBT.BLANK_ENDS) !== 0) return this.#headerEnds(next);
      }
      const field = this.#fields.at(-1);
      if (field === undefined) return;
      field.end = next;
      if (field.value.length + end - start <= LONGEST_VALUE) field.value += ascii(data, start, end);
      else this.exceeded = true;
      return;
    }
    const name = fieldName(data, start, end);
    if (name === -1) {
      if (at === this.#start && ascii(data, start, Math.min(end, start + 5)) === "From ") return;
      this.doubts |= DOUBT.IGNORE_JUNK;
      if ((this.#reading.doubts & DOUBT.IGNORE_JUNK) !== 0) return;
      this.#headerEnds(at);
      // It is the body's first line, or the next header's.
      if (this.#state === "body") this.#bodyLine(data, start, end, at);
      else if (this.#state === "header") this.#headerLine(data, start, end, at, next);
      return;
    }
    if (this.#fields.length >= MOST_FIELDS) {
      this.exceeded = true;
      return;
    }
    this.#fields.push({
      name: ascii(data, start, name).trimEnd().toLowerCase(),
      value: ascii(data, name + 1, end),
      start: at,
      end: next,
    });
  }

  #headerEnds(bodyStart: number): void {
    const fields = this.#fields;
    if (this.#root) this.fields = fields;
    this.#root = false;
    const types = candidates(fields, "content-type");
    this.types = Math.max(this.types, types.length);
    const value = types[Math.min(this.#reading.type, types.length - 1)];
    const fallback = this.#digest ? "message/rfc822" : "text/plain";
    let type = value === undefined
      ? fallback
      : /^[^\s/;]+\/[^\s/;]+/.exec(structured(value).token)?.[0] ?? "text/plain";
    if (value !== undefined && !type.startsWith("multipart/") && /boundary/i.test(value)) {
      this.doubts |= DOUBT.BOUNDARY_DECIDES;
      if ((this.#reading.doubts & DOUBT.BOUNDARY_DECIDES) !== 0) type = "multipart/mixed";
    }
    const encodings = candidates(fields, "content-transfer-encoding")
      .map((text) => structured(text ?? "").token.replace(/^"|"$/g, ""));
    const part: Part = {
      path: this.#path,
      within: this.#within,
      fields,
      start: this.#start,
      bodyStart,
      bodyEnd: bodyStart,
      type,
      encodings,
      uu: [],
      opaque: undefined,
      partial: this.#partial || type === "message/partial",
      open: true,
    };
    this.#partial = false;
    const isMultipart = type.startsWith("multipart/");
    const isMessage = type.startsWith("message/") && type !== "message/delivery-status";
    const encoded = (isMultipart || isMessage) && encodings.some(isEncoding);
    if (encoded) this.doubts |= DOUBT.ENCODED;
    const asLeaf = encoded && (this.#reading.doubts & DOUBT.ENCODED) !== 0;
    const tooDeep = this.#levels.length >= MOST_LEVELS || this.#path.length > 4 * MOST_LEVELS;
    if (tooDeep && (isMultipart || isMessage)) this.exceeded = true;
    if (isMultipart && !asLeaf && !tooDeep) {
      const found = boundaries(value ?? "");
      this.boundaries = Math.max(this.boundaries, found.length);
      const boundary = found[Math.min(this.#reading.boundary, found.length - 1)];
      this.#levels.push({
        delimiter: boundary === undefined
          ? undefined
          : Uint8Array.from(`--${boundary}`, (letter) => letter.charCodeAt(0) & 255),
        digest: type === "multipart/digest",
        path: this.#path,
        whole: part,
        seen: false,
        other: false,
        closed: false,
        count: 0,
      });
      this.#state = "preamble";
    } else if (isMessage && !asLeaf && !tooDeep) {
      this.#partial = part.partial;
      this.#begin(bodyStart, "message", this.#path === "" ? "1" : `${this.#path}.1`, false);
    } else {
      this.#part = part;
      this.#state = "body";
    }
  }

  #bodyLine(data: Uint8Array, start: number, end: number, at: number): void {
    const part = this.#part;
    if (part === undefined) return;
    const first = data[start];
    if (first === 0x62) {
      if (part.uu.length >= MOST_UU) return;
      if (/^begin(-base64)? [0-7]{3}/.test(ascii(data, start, Math.min(end, start + 20)))) {
        part.uu.push(at);
      }
    } else if (first === 0x3d) {
      if (ascii(data, start, Math.min(end, start + 8)) === "=ybegin ") part.opaque = "yenc";
    } else if (first === 0x28) {
      const text = ascii(data, start, Math.min(end, start + 40));
      if (text === "(This file must be converted with BinHex") part.opaque = "binhex";
    }
  }

  #finishPart(end: number, open: boolean): void {
    const part = this.#part;
    this.#part = undefined;
    if (part === undefined || this.#state !== "body") return;
    part.bodyEnd = Math.max(part.bodyStart, end);
    part.open = open;
    this.#add(part);
  }

  #popLevel(end: number): void {
    const level = this.#levels.pop() as Level;
    if (level.seen) return;
    if (level.other) this.doubts |= DOUBT.GUESS;
    level.whole.bodyEnd = Math.max(level.whole.bodyStart, end);
    this.#add(level.whole);
  }

  #add(part: Part): void {
    if (this.parts.length >= MOST_PARTS) this.exceeded = true;
    else this.parts.push(part);
  }
}

function isEncoding(text: string): boolean {
  return /base64|quoted-printable|uu/.test(text);
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09;
}

/** Where the colon behind a field's name is, -1 when the line is no field. */
function fieldName(data: Uint8Array, start: number, end: number): number {
  let blank = false;
  for (let at = start; at < end; at++) {
    const byte = data[at] as number;
    if (byte === 0x3a) return at;
    if (isBlank(byte)) blank = true;
    // Blanks are allowed before the colon only (RFC 5322, section 4.5); within comments, lenient readers see them too.
    else if (byte < 0x20 && byte !== 0) return -1;
    else if (blank && byte !== 0x28 && byte !== 0x29 && !inComment(data, start, at)) return -1;
  }
  return -1;
}

function inComment(data: Uint8Array, start: number, at: number): boolean {
  let depth = 0;
  for (let i = start; i < at; i++) {
    if (data[i] === 0x28) depth++;
    else if (data[i] === 0x29) depth--;
  }
  return depth > 0;
}
