/**
 * Gives a scanner the tables among its options, piece by piece: as much as it has read, and no more, is in memory.
 *
 * @module
 */
import { type OptionTable, tableLine } from "./option_files.ts";

/** Bytes that are read at once; a message has room for them. */
const PIECE = 48 * 1024;

/** Whole lines of a table, and whether they are its last. */
export interface TablePiece {
  readonly option: string;
  readonly text: string;
  readonly last: boolean;
}

/** The tables of one scanner, from the first line of the first one to the last of the last. */
export class OptionFeed {
  readonly #tables: OptionTable[];
  readonly #space = new Uint8Array(PIECE);
  #file: Deno.FsFile | undefined;
  #decoder = new TextDecoder();
  #rest = "";

  constructor(tables: readonly OptionTable[]) {
    this.#tables = [...tables];
  }

  /**
   * The next piece; undefined when there is none.
   *
   * @throws {Error} when a file cannot be read any more.
   */
  next(): TablePiece | undefined {
    const [table] = this.#tables;
    if (table === undefined) return undefined;
    this.#file ??= Deno.openSync(table.path);
    const count = this.#file.readSync(this.#space);
    const lines = (this.#rest + this.#decoder.decode(this.#space.subarray(0, count ?? 0), {
      stream: count !== null,
    })).split("\n");
    this.#rest = count === null ? "" : lines.pop() ?? "";
    // A line that has no end is none of a table's: the scanner will say so.
    if (this.#rest.length > PIECE) {
      lines.push(this.#rest);
      this.#rest = "";
    }
    if (count === null) {
      this.close();
      this.#tables.shift();
      this.#decoder = new TextDecoder();
    }
    const text = lines.map(tableLine).filter((line) => line !== "").join("\n");
    return { option: table.option, text, last: count === null };
  }

  /** Lets go of the file that is being read. */
  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }
}
