/**
 * SMTP (RFC 5321) with PIPELINING, CHUNKING, AUTH and STARTTLS: which bytes are a message.
 *
 * What comes after a command whose answer decides how it is to be read (DATA, AUTH, STARTTLS) waits for that answer,
 * so that a server that refuses cannot be made to see other bounds than are seen here.
 *
 * @module
 */
import { DotReader, Lines, LONGEST_LINE, type Side } from "./exchange.ts";
import { Dialogue } from "./dialogue.ts";

type Client = "command" | "answer" | "data" | "chunk" | "secret";

/** Recipients that are kept of one message, and commands that wait for an answer. */
const MOST_RECIPIENTS = 100;
const MOST_PENDING = 1000;

/** A connection. */
export class Smtp extends Dialogue {
  override readonly protocol = "smtp";
  readonly #client = new Lines();
  readonly #server = new Lines();
  readonly #dots = new DotReader();
  #state: Client = "command";
  /** Commands without an answer, oldest first. */
  #pending: string[] = ["greeting"];
  #from = "";
  #to: string[] = [];
  /** Of a chunk: bytes to come, and whether it is the message's last. */
  #left = 0;
  #last = false;
  #inMessage = false;

  protected override step(
    side: Side,
    data: Uint8Array,
    start: number,
    end: number,
    offset: number,
  ): number {
    return side === "server"
      ? this.#takeServer(data, start, end, offset)
      : this.#takeClient(data, start, end, offset);
  }

  #takeClient(data: Uint8Array, start: number, end: number, offset: number): number {
    switch (this.#state) {
      case "answer":
        return start;
      case "data": {
        const stop = this.#dots.take(data, start, end, offset, this.events);
        if (stop === -1) return end;
        this.#state = "command";
        this.#messageEnds(offset + stop - start);
        return stop;
      }
      case "chunk": {
        const stop = Math.min(end, start + this.#left);
        if (stop > start) this.events.content(data, start, stop, offset);
        this.#left -= stop - start;
        if (this.#left === 0) this.#chunkEnds(offset + stop - start);
        return stop;
      }
      case "secret":
      case "command": {
        const stop = this.#client.take(data, start, end, offset);
        if (!this.#client.done) {
          if (this.#client.end - this.#client.start > LONGEST_LINE) {
            this.events.pass("client", this.#client.end);
          }
          return stop;
        }
        if (this.#state === "secret") {
          this.#state = "answer";
          this.events.pass("client", this.#client.end);
        } else this.#command(this.#client.text, this.#client.end);
        return stop;
      }
    }
  }

  #command(text: string, end: number): void {
    const [, word = "", rest = ""] = /^\s*([A-Za-z]+)(.*)$/s.exec(text) ?? [];
    const verb = word.toUpperCase();
    if (this.#pending.length < MOST_PENDING) this.#pending.push(verb);
    else this.events.odd("too many commands without an answer", false);
    switch (verb) {
      case "BDAT": {
        const found = /^\s+(\d{1,15})(\s+LAST)?\s*$/i.exec(rest);
        if (found === null) break; // the server refuses it too
        if (this.#inMessage) this.events.flush(end);
        else this.#begin(true, end);
        this.#left = Number(found[1]);
        this.#last = found[2] !== undefined;
        this.#state = "chunk";
        if (this.#left === 0) this.#chunkEnds(end);
        return;
      }
      case "DATA":
      case "AUTH":
      case "STARTTLS":
        this.#state = "answer";
        break;
      case "MAIL":
        this.#abort(end);
        this.#from = address(rest);
        this.#to = [];
        break;
      case "RCPT":
        if (this.#to.length < MOST_RECIPIENTS) this.#to.push(address(rest));
        break;
      case "RSET":
      case "EHLO":
      case "HELO":
        this.#abort(end);
        break;
      default:
    }
    if (this.#inMessage) this.events.flush(end);
    else this.events.pass("client", end);
  }

  #begin(fixed: boolean, offset: number): void {
    if (this.#inMessage) return;
    this.#inMessage = true;
    if (fixed) this.events.pass("client", offset);
    this.events.begin(
      { side: "client", form: "whole", fixed, from: this.#from, to: [...this.#to] },
      offset,
    );
  }

  #chunkEnds(offset: number): void {
    this.#state = "command";
    if (this.#last) this.#messageEnds(offset);
    else this.events.flush(offset);
  }

  #messageEnds(offset: number): void {
    this.#inMessage = false;
    if (this.#state !== "command") this.#state = "command";
    this.stop = !this.events.finished(offset);
  }

  #abort(offset: number): void {
    if (!this.#inMessage) return;
    this.#inMessage = false;
    this.events.abort(offset);
  }

  #takeServer(data: Uint8Array, start: number, end: number, offset: number): number {
    const stop = this.#server.take(data, start, end, offset);
    const { text, start: lineStart, end: lineEnd, done } = this.#server;
    if (!done) {
      if (lineEnd - lineStart > LONGEST_LINE) this.events.pass("server", lineEnd);
      return stop;
    }
    const found = /^(\d{3})(?:([ -])(.*))?$/s.exec(text);
    const last = found !== null && found[2] !== "-";
    if (this.#pending[0] === "EHLO" && found?.[1] === "250" && this.#isStripped(found[3] ?? "")) {
      this.events.strip("server", lineStart, lineEnd - lineStart, last);
    }
    this.events.pass("server", lineEnd);
    if (last) this.#answer(Number(found[1]));
    return stop;
  }

  #isStripped(keyword: string): boolean {
    const word = keyword.trim().split(/\s/)[0]?.toUpperCase();
    return (this.options.strip && word === "STARTTLS") ||
      (this.options.stripChunking && word === "CHUNKING");
  }

  #answer(code: number): void {
    const verb = this.#pending.shift();
    switch (verb) {
      case "DATA":
      // A message's own answer: the end of its text was counted as a command of its own.
      case "AUTH":
      case "STARTTLS":
        if (this.#state === "answer") this.#decided(verb, code);
        return;
      default:
    }
  }

  #decided(verb: string, code: number): void {
    this.#state = "command";
    if (verb === "STARTTLS" && code === 220) {
      this.opaque = true;
      this.events.opaque("STARTTLS");
    } else if (verb === "AUTH" && code === 334) {
      this.#state = "secret";
      this.#pending.unshift("AUTH");
    } else if (verb === "DATA" && code === 354) {
      this.#state = "data";
      this.#pending.unshift("end of data");
      this.#dots.reset();
      this.#begin(false, this.#client.end);
    }
  }
}

/** The address of a command, without its brackets. */
function address(rest: string): string {
  return (/<([^>]*)>/.exec(rest)?.[1] ?? /:\s*(\S*)/.exec(rest)?.[1] ?? "").slice(0, 320);
}
