/**
 * What was said in a session with a device, both ways, without its secrets: for errors that say where in
 * the talk something went wrong, and for files that an administrator reads afterwards.
 *
 * @module
 */
import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";

/** The newest characters that are kept in memory. */
const KEPT = 65_536;
/** A file grows no larger; what comes later is only counted. */
const LARGEST_FILE = 64 * 1024 * 1024;

/** How a transcript is made. */
export interface TranscriptOptions {
  /** The device's name, for the file's name and for errors. */
  readonly device: string;
  /** Directory for a file of the whole session; undefined: none is written. */
  readonly directory?: string | undefined;
  /** Never written, wherever they appear. */
  readonly secrets?: readonly string[];
}

/** The transcript of one session. */
export class Transcript {
  readonly #device: string;
  readonly #secrets: string[];
  #file: number | undefined;
  readonly #path: string | undefined;
  #written = 0;
  #tail = "";
  #line = 1;
  /** Not written yet, since it could be the beginning of a secret. */
  #held = "";
  #direction: "<" | ">" | undefined;

  /** @throws {Error} of the operating system when the file cannot be made. */
  constructor(options: TranscriptOptions) {
    this.#device = options.device;
    this.#secrets = (options.secrets ?? []).filter((secret) => secret !== "");
    if (options.directory !== undefined) {
      mkdirSync(options.directory, { recursive: true, mode: 0o700 });
      const moment = new Date().toISOString().replaceAll(":", "");
      const name = options.device.replaceAll(/[^A-Za-z0-9_.-]/g, "_");
      this.#path = `${options.directory}/${name}-${moment}-${crypto.randomUUID().slice(0, 8)}.log`;
      this.#file = openSync(this.#path, "wx", 0o600);
    }
  }

  /** Where the talk is now, for errors: `ios 192.0.2.1, transcript line 42 (/var/log/…)`. */
  place(): string {
    const file = this.#path === undefined ? "" : ` of ${this.#path}`;
    return `${this.#device}, transcript line ${this.#line}${file}`;
  }

  /** The newest text, at most `length` characters, as one line. */
  tail(length = 200): string {
    const text = this.#remove(this.#tail + this.#held).slice(-length);
    return text.replaceAll(/[^\x20-\x7e]+/g, " ").trim();
  }

  /** Notes what the device sent. */
  received(text: string): void {
    this.#add("<", text);
  }

  /** Notes what was sent to the device; `secret`: only that something was. */
  sent(text: string, secret = false): void {
    this.#add(">", secret ? "(secret removed)\n" : text);
  }

  /** Writes what is held and closes the file. */
  close(): void {
    this.#release(true);
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #add(direction: "<" | ">", text: string): void {
    if (direction !== this.#direction) {
      this.#release(true);
      this.#direction = direction;
      if (this.#file !== undefined) this.#write(`\n${direction} `);
    }
    this.#held += text;
    this.#release(false);
  }

  /** A secret may come in pieces: as much is held back as the longest one is long. */
  #release(all: boolean): void {
    const longest = Math.max(0, ...this.#secrets.map((secret) => secret.length - 1));
    const clean = this.#remove(this.#held);
    const keep = all ? 0 : Math.min(longest, clean.length);
    const out = clean.slice(0, clean.length - keep);
    this.#held = clean.slice(clean.length - keep);
    if (out !== "") this.#write(out);
  }

  #remove(text: string): string {
    for (const secret of this.#secrets) text = text.replaceAll(secret, "(secret removed)");
    return text;
  }

  #write(text: string): void {
    for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) this.#line++;
    this.#tail = (this.#tail + text).slice(-KEPT);
    if (this.#file === undefined || this.#written > LARGEST_FILE) return;
    this.#written += text.length;
    writeSync(this.#file, text);
  }
}
