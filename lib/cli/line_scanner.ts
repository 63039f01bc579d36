/**
 * Lines of a growing file, forwards and backwards, in bounded memory whatever stands in it.
 *
 * @module
 */

/** Longest line that is given, in octets; a longer one is given as undefined. */
export const LONGEST_LINE = 256 * 1024;
const BLOCK = 64 * 1024;
const NEWLINE = 10;

/** A line without its end, or undefined for one that is too long, and where it starts in the file. */
export interface ScannedLine {
  readonly text: string | undefined;
  readonly offset: number;
}

/** Reads a file's lines as they are added. A line is given when its end is there. */
export class LineScanner {
  readonly #file: Deno.FsFile;
  readonly #decoder = new TextDecoder();
  readonly #block = new Uint8Array(BLOCK);
  #offset: number;
  /** Octets of a line whose end was not read yet. */
  #rest: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** The line being read is too long already. */
  #overlong = false;

  /** @param offset where to begin; the start of a line. */
  constructor(file: Deno.FsFile, offset = 0) {
    this.#file = file;
    this.#offset = offset;
  }

  /** Lines whose ends have come since the last call. */
  *lines(): Generator<ScannedLine> {
    for (;;) {
      this.#rewind();
      this.#file.seekSync(this.#offset, Deno.SeekMode.Start);
      const n = this.#file.readSync(this.#block);
      if (n === null || n === 0) return;
      yield* this.#split(this.#block.subarray(0, n));
    }
  }

  /** Something stands after the last line end. */
  get unfinished(): boolean {
    return this.#rest.length > 0 || this.#overlong;
  }

  *#split(data: Uint8Array<ArrayBuffer>): Generator<ScannedLine> {
    let start = 0;
    for (let end; (end = data.indexOf(NEWLINE, start)) !== -1; start = end + 1) {
      const bytes = append(this.#rest, data.subarray(start, end));
      const text = this.#overlong || bytes.length > LONGEST_LINE
        ? undefined
        : this.#decoder.decode(bytes);
      const offset = this.#offset + start - this.#rest.length;
      this.#rest = new Uint8Array(0);
      this.#overlong = false;
      yield { text, offset };
    }
    this.#offset += data.length;
    this.#rest = append(this.#rest, data.subarray(start));
    if (this.#rest.length > LONGEST_LINE) {
      this.#rest = new Uint8Array(0);
      this.#overlong = true;
    }
  }

  /** A file that became shorter was emptied by rotation (copytruncate): it begins anew. */
  #rewind(): void {
    if (this.#file.statSync().size >= this.#offset) return;
    this.#offset = 0;
    this.#rest = new Uint8Array(0);
    this.#overlong = false;
  }
}

/** The lines of a file from the last to the first; text after the last line end is left out. */
export function* linesBackward(file: Deno.FsFile): Generator<ScannedLine> {
  const decoder = new TextDecoder();
  let position = file.statSync().size;
  let rest: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  let overlong = false;
  let ended = false;
  while (position > 0) {
    const size = Math.min(BLOCK, position);
    position -= size;
    const block = readAt(file, position, size);
    let end = block.length;
    for (let at; end > 0 && (at = block.lastIndexOf(NEWLINE, end - 1)) !== -1; end = at) {
      if (ended) {
        const bytes = append(block.subarray(at + 1, end), rest);
        const text = overlong || bytes.length > LONGEST_LINE ? undefined : decoder.decode(bytes);
        yield { text, offset: position + at + 1 };
      }
      ended = true;
      rest = new Uint8Array(0);
      overlong = false;
    }
    if (!ended) continue;
    rest = append(block.subarray(0, end), rest);
    if (rest.length > LONGEST_LINE) {
      rest = new Uint8Array(0);
      overlong = true;
    }
  }
  if (ended) yield { text: overlong ? undefined : decoder.decode(rest), offset: 0 };
}

function readAt(
  file: Deno.FsFile,
  position: number,
  size: number,
): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(size);
  file.seekSync(position, Deno.SeekMode.Start);
  let done = 0;
  while (done < size) {
    const n = file.readSync(data.subarray(done));
    if (n === null) break;
    done += n;
  }
  return data.subarray(0, done);
}

function append(
  first: Uint8Array<ArrayBuffer>,
  second: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  if (first.length === 0) return second.slice();
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}
