/**
 * Transfer encodings of mail, decoded as leniently as the most lenient reader does. Nothing throws; where readers
 * differ about damaged text, there is an answer for each way.
 *
 * @module
 */

const ASCII = new TextDecoder("latin1");
const SKIP = 255;
const PAD = 254;

const BASE64 = new Uint8Array(256).fill(SKIP);
for (
  const [value, letter] of [
    ..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
  ].entries()
) BASE64[letter.charCodeAt(0)] = value;
BASE64["=".charCodeAt(0)] = PAD;

/** Decoded bytes, and other ways to decode the same. */
export interface Decoded {
  readonly bytes: Uint8Array;
  /** What other readers make of it; empty when all agree. */
  readonly others: readonly Uint8Array[];
}

/**
 * Base64 (RFC 2045, section 6.8). What is not of the alphabet is skipped. Text behind a padding: some readers stop
 * there, some begin anew.
 */
export function decodeBase64(data: Uint8Array, start = 0, end: number = data.length): Decoded {
  try {
    // What is as it should be, which is nearly everything, is the runtime's to decode.
    return { bytes: Uint8Array.fromBase64(ASCII.decode(data.subarray(start, end))), others: [] };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return decodeDamaged(data, start, end);
  }
}

function decodeDamaged(data: Uint8Array, start: number, end: number): Decoded {
  const out = new Uint8Array(Math.ceil((end - start) * 3 / 4) + 3);
  let length = 0;
  let bits = 0;
  let count = 0;
  let stopped = -1;
  let strange = false;
  for (let at = start; at < end; at++) {
    const value = BASE64[data[at] as number] as number;
    if (value < 64) {
      bits = bits << 6 | value;
      if (++count === 4) {
        out[length++] = bits >> 16 & 255;
        out[length++] = bits >> 8 & 255;
        out[length++] = bits & 255;
        bits = count = 0;
      }
    } else if (value === PAD) {
      if (count === 0) continue;
      length = flush(out, length, bits, count);
      bits = count = 0;
      if (stopped === -1) stopped = length;
    } else strange ||= !isSpace(data[at] as number);
  }
  length = flush(out, length, bits, count);
  const others: Uint8Array[] = [];
  if (stopped !== -1 && stopped !== length) {
    others.push(out.slice(0, stopped), decodeWithoutPadding(data, start, end));
  }
  if (strange) others.push(decodeUpToJunk(data, start, end));
  return { bytes: out.subarray(0, length), others };
}

function flush(out: Uint8Array, length: number, bits: number, count: number): number {
  if (count > 1) out[length++] = bits >> (count === 2 ? 4 : 10) & 255;
  if (count > 2) out[length++] = bits >> 2 & 255;
  return length;
}

/** The padding taken for nothing. */
function decodeWithoutPadding(data: Uint8Array, start: number, end: number): Uint8Array {
  const rest = data.slice(start, end).filter((byte) => byte !== 0x3d);
  return decodeDamaged(rest, 0, rest.length).bytes;
}

/** A reader that takes strange letters for the end of what is encoded. */
function decodeUpToJunk(data: Uint8Array, start: number, end: number): Uint8Array {
  let stop = start;
  while (
    stop < end && (BASE64[data[stop] as number] !== SKIP || isSpace(data[stop] as number))
  ) stop++;
  return decodeDamaged(data, start, stop).bytes;
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 9 && byte <= 13);
}

/** Quoted-printable (RFC 2045, section 6.7). What is not a code stands for itself. */
export function decodeQuotedPrintable(
  data: Uint8Array,
  start = 0,
  end: number = data.length,
): Decoded {
  const out = new Uint8Array(end - start);
  let length = 0;
  /** Spaces and tabs at a line's end were added on the way. */
  let blanks = 0;
  for (let at = start; at < end; at++) {
    const byte = data[at] as number;
    if (byte === 0x3d) {
      const high = hex(data[at + 1], at + 1 < end);
      const low = hex(data[at + 2], at + 2 < end);
      if (high !== undefined && low !== undefined) {
        out[length++] = high << 4 | low;
        at += 2;
        blanks = 0;
        continue;
      }
      const after = softBreak(data, at + 1, end);
      if (after !== -1) {
        at = after - 1;
        blanks = 0;
        continue;
      }
    }
    if (byte === 0x0a || (byte === 0x0d && data[at + 1] === 0x0a)) length -= blanks;
    blanks = byte === 0x20 || byte === 0x09 ? blanks + 1 : 0;
    out[length++] = byte;
  }
  return { bytes: out.subarray(0, length), others: [] };
}

function softBreak(data: Uint8Array, at: number, end: number): number {
  while (at < end && (data[at] === 0x20 || data[at] === 0x09)) at++;
  if (at === end) return at;
  if (data[at] === 0x0d && at + 1 < end && data[at + 1] === 0x0a) return at + 2;
  return data[at] === 0x0a ? at + 1 : -1;
}

function hex(byte: number | undefined, isThere: boolean): number | undefined {
  if (!isThere || byte === undefined) return undefined;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : undefined;
}

/** A file within text, as uuencode makes it. */
export interface UuFile {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** From the `b` of `begin` to behind the line of `end`, or where it stops. */
  readonly start: number;
  readonly end: number;
}

/**
 * Reads one uuencoded file.
 *
 * @param at where `begin MODE NAME` would stand.
 * @returns undefined when there is none.
 */
export function decodeUu(data: Uint8Array, at: number, end: number): UuFile | undefined {
  const first = lineEnd(data, at, end);
  const begin = /^begin(-base64)? [0-7]{1,6} ?(.*)$/.exec(
    ascii(data, at, Math.min(first.end, at + 1000)),
  );
  if (begin === null) return undefined;
  const name = (begin[2] ?? "").trim();
  if (begin[1] !== undefined) {
    let stop = first.next;
    while (stop < end && ascii(data, stop, stop + 4) !== "====") {
      stop = lineEnd(data, stop, end).next;
    }
    const { bytes } = decodeBase64(data, first.next, stop);
    return { name, bytes, start: at, end: lineEnd(data, stop, end).next };
  }
  const out = new Uint8Array(end - first.next);
  let length = 0;
  let position = first.next;
  while (position < end) {
    const line = lineEnd(data, position, end);
    if (line.end - position >= 3 && ascii(data, position, position + 3) === "end") {
      position = line.next;
      break;
    }
    const count = line.end > position ? (data[position] as number) - 0x20 & 63 : 0;
    let made = 0;
    for (let from = position + 1; made < count; from += 4) {
      const a = six(data, from, line.end);
      const b = six(data, from + 1, line.end);
      const c = six(data, from + 2, line.end);
      const d = six(data, from + 3, line.end);
      const bits = a << 18 | b << 12 | c << 6 | d;
      for (let shift = 16; shift >= 0 && made < count; shift -= 8) {
        if (length < out.length) out[length++] = bits >> shift & 255;
        made++;
      }
    }
    position = line.next;
  }
  return { name, bytes: out.subarray(0, length), start: at, end: position };
}

function six(data: Uint8Array, at: number, end: number): number {
  return at < end ? (data[at] as number) - 0x20 & 63 : 0;
}

/** Where a line ends without and with its line break. */
export function lineEnd(
  data: Uint8Array,
  at: number,
  end: number,
): { readonly end: number; readonly next: number } {
  let next = data.indexOf(0x0a, at);
  if (next === -1 || next >= end) return { end, next: end };
  next++;
  return { end: next - (next - 2 >= at && data[next - 2] === 0x0d ? 2 : 1), next };
}

/** Bytes as text, each a character. */
export function ascii(data: Uint8Array, start: number, end: number): string {
  let text = "";
  const stop = Math.min(end, data.length);
  for (let at = start; at < stop; at += 4096) {
    text += String.fromCharCode(...data.subarray(at, Math.min(stop, at + 4096)));
  }
  return text;
}
