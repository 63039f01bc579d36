/**
 * The terminal side of a simulated device: takes keys, echoes them when their line is read, breaks lines where
 * the terminal ends, stops at the end of a page, and prints log lines in between.
 *
 * @module
 */
import type { DeviceClock } from "./clock.ts";
import type { Faults } from "./faults.ts";
import type { DeviceChannel } from "./ssh_server.ts";

/** The client is gone. */
export class Hangup extends Error {}

/** What a terminal is made with. */
export interface TerminalOptions {
  readonly channel: DeviceChannel;
  readonly clock: DeviceClock;
  readonly faults: Faults;
  /** The pager's line, such as ` --More-- `. */
  readonly more: string;
  /** A log line, as the device prints it. */
  readonly logLine: () => string;
}

/** One terminal. */
export class Terminal {
  /** Lines of a page; 0: no pages. */
  length = 24;
  /** Columns of a line; an echo that is longer is broken. */
  width = 80;
  /** Set while `| include …` is in force: only lines that match it are shown in pages. */
  filter: RegExp | undefined;
  readonly #options: TerminalOptions;
  readonly #decoder = new TextDecoder();
  #input = "";
  #output = "";
  #column = 0;
  #wake: (() => void) | undefined;
  #closed = false;
  #lines = 0;
  #skipNewline = false;

  constructor(options: TerminalOptions) {
    this.#options = options;
    options.channel.onData = (piece) => {
      this.#input += this.#decoder.decode(piece, { stream: true });
      this.#wake?.();
    };
    options.channel.onClose = () => {
      this.#closed = true;
      this.#wake?.();
    };
  }

  /** Shows text; `\n` becomes a terminal's line end. */
  show(text: string): void {
    this.#output += text.replaceAll("\n", "\r\n");
  }

  /** Sends bytes as they are. */
  raw(bytes: Uint8Array): void {
    this.flush();
    this.#options.channel.write(bytes);
  }

  /** Sends what was shown. */
  flush(): void {
    if (this.#output === "") return;
    this.#options.channel.write(this.#output);
    this.#output = "";
  }

  /** The lines that the filter lets through. */
  filtered(lines: readonly string[]): readonly string[] {
    const { filter } = this;
    return filter === undefined ? lines : lines.filter((line) => filter.test(line));
  }

  /** Shows lines a page at a time. */
  async page(lines: readonly string[]): Promise<void> {
    let room = this.length - 1;
    for (const line of this.filtered(lines)) {
      if (this.length > 0 && room <= 0) {
        const { more } = this.#options;
        this.#output += more;
        const key = await this.#key();
        this.#output += `\r${" ".repeat(more.length)}\r`;
        if (key === "q" || key === "Q" || key === "\x03") return;
        room = key === "\r" || key === "\n" ? 1 : this.length - 1;
      }
      this.show(`${line}\n`);
      room--;
    }
  }

  /**
   * Shows a prompt and reads a line.
   *
   * @param hidden without echo, for passwords.
   * @returns undefined for ^C and ^D.
   * @throws {Hangup} when the client is gone.
   */
  async line(prompt: string, hidden = false): Promise<string | undefined> {
    const { faults, clock } = this.#options;
    this.show(prompt);
    this.#column = prompt.length;
    let line = "";
    if (clock.busy) {
      this.flush();
      await clock.settle();
    }
    for (;;) {
      if (this.#input === "") await this.#wait();
      if (this.#skipNewline && this.#input.startsWith("\n")) this.#input = this.#input.slice(1);
      this.#skipNewline = false;
      const plain = /^[\x20-\x7e\x80-\uffff]+/.exec(this.#input)?.[0];
      if (plain !== undefined) {
        if (faults.slowEcho > 0) {
          this.flush();
          await clock.sleep(faults.slowEcho);
        }
        this.#input = this.#input.slice(plain.length);
        line += plain;
        if (!hidden) this.#echo(plain);
        continue;
      }
      const key = this.#input[0];
      if (key === undefined) continue;
      this.#input = this.#input.slice(1);
      if (key === "\r" || key === "\n") {
        this.#skipNewline = key === "\r";
        this.show("\n");
        this.#lines++;
        if (faults.logEvery > 0 && this.#lines % faults.logEvery === 0) {
          this.show(`${this.#options.logLine()}\n`);
        }
        return line;
      }
      if (key === "\x03" || key === "\x04") {
        this.show("\n");
        return undefined;
      }
      if ((key === "\x7f" || key === "\b") && line !== "") {
        line = line.slice(0, -1);
        if (!hidden) this.show("\b \b");
      } else if (key === "\x15") {
        if (!hidden) this.show("\b \b".repeat(line.length));
        line = "";
      } else if (key === "\x1a") {
        this.show("\n");
        return "\x1a";
      }
    }
  }

  /** Reads text up to ^D, echoing it, as `load set terminal` does. */
  async untilEndOfText(): Promise<string[]> {
    const lines: string[] = [];
    for (;;) {
      const line = await this.line("");
      if (line === undefined) return lines;
      lines.push(line);
    }
  }

  #echo(text: string): void {
    const width = this.#options.faults.narrow ? 80 : this.width;
    for (const character of text) {
      if (width > 0 && this.#column >= width) {
        this.#output += "\r\n";
        this.#column = 0;
      }
      this.#output += character;
      this.#column++;
    }
  }

  async #key(): Promise<string> {
    if (this.#input === "") await this.#wait();
    const key = this.#input[0] ?? "";
    this.#input = this.#input.slice(1);
    return key;
  }

  async #wait(): Promise<void> {
    const { clock, faults } = this.#options;
    await clock.settle();
    if (!faults.silent) this.flush();
    while (this.#input === "") {
      if (this.#closed) throw new Hangup("the client is gone");
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
    clock.begin();
  }
}
