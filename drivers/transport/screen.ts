/**
 * What a terminal would show of a device's output: lines without escape sequences, with carriage returns
 * and backspaces carried out. Takes any bytes, never throws, and holds no more than it shows.
 *
 * @module
 */

const ESC = 0x1b;
/** A line longer than this is cut into lines, so that one endless line costs no more than many. */
const LONGEST_LINE = 65_536;
/** An escape sequence longer than this is none. */
const LONGEST_ESCAPE = 128;

/** The lines so far and the one that is being written. */
export class Screen {
  /** Called with each line that is complete, without its end. */
  onLine: (line: string) => void = () => {};
  #current = "";
  /** A carriage return came, and it is not known yet whether a line feed follows. */
  #returned = false;
  #escape = "";
  readonly #decoder = new TextDecoder();

  /** The line that is not complete. */
  get current(): string {
    return this.#current;
  }

  /** Forgets the line that is not complete: an answered question, a page's end. */
  clear(): void {
    this.#current = "";
    this.#returned = false;
  }

  /** Takes what the device sent. */
  write(piece: Uint8Array): void {
    const text = this.#decoder.decode(piece, { stream: true });
    let plain = 0;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (this.#escape === "" && code >= 0x20 && code !== 0x7f && code !== 0x9b) continue;
      this.#put(text.slice(plain, i));
      plain = i + 1;
      if (this.#escape === "") this.#control(code);
      else this.#continueEscape(text[i] as string, code);
    }
    this.#put(text.slice(plain));
  }

  #put(text: string): void {
    if (text === "") return;
    if (this.#returned) {
      this.#current = "";
      this.#returned = false;
    }
    this.#current += text;
    while (this.#current.length > LONGEST_LINE) {
      this.onLine(this.#current.slice(0, LONGEST_LINE));
      this.#current = this.#current.slice(LONGEST_LINE);
    }
  }

  #control(code: number): void {
    switch (code) {
      case 0x0a:
        this.#returned = false;
        this.onLine(this.#current);
        this.#current = "";
        break;
      case 0x0d:
        this.#returned = true;
        break;
      case 0x08:
      case 0x7f:
        this.#current = this.#current.slice(0, -1);
        break;
      case 0x09:
        this.#put("\t");
        break;
      case ESC:
        this.#escape = "\x1b";
        break;
      case 0x9b:
        this.#escape = "\x1b[";
        break;
      default: // bells, nulls and the like show nothing
    }
  }

  /** CSI sequences end with a letter or sign, OSC with a bell or ESC \, others are two characters. */
  #continueEscape(character: string, code: number): void {
    const kind = this.#escape[1];
    if (code === 0x0a || code === 0x0d) { // a broken sequence must not swallow a line's end
      this.#escape = "";
      this.#control(code);
      return;
    }
    this.#escape += character;
    const done = kind === undefined
      ? character !== "[" && character !== "]" && character !== "(" && character !== ")"
      : kind === "["
      ? code >= 0x40 && code <= 0x7e
      : kind === "]"
      ? code === 0x07 || (character === "\\" && this.#escape.at(-2) === "\x1b")
      : true;
    if (done || this.#escape.length > LONGEST_ESCAPE) this.#escape = "";
  }
}
