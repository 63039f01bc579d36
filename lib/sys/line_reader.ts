/**
 * Lines of text from a descriptor, for threads that wait in the kernel and take no messages.
 *
 * @module
 */
import { libc } from "./libc.ts";

/** Reads lines, whatever pieces they come in. */
export class LineReader {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(65_536);
  readonly #decoder = new TextDecoder();
  #text = "";

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The lines that are whole now, without their ends; undefined when nobody can write any more. */
  read(): string[] | undefined {
    const n = libc.read(this.#fd, this.#buffer, this.#buffer.length);
    if (n < 0) return [];
    if (n === 0) return undefined;
    this.#text += this.#decoder.decode(this.#buffer.subarray(0, n), { stream: true });
    const lines = this.#text.split("\n");
    this.#text = lines.pop() ?? "";
    return lines;
  }
}
