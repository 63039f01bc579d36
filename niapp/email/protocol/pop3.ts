/**
 * POP3 (RFC 1939, 2449, 2595, 5034): which bytes of the server's are a message.
 *
 * @module
 */
import { DotReader, Lines, LONGEST_LINE, type Side } from "./exchange.ts";
import { Dialogue } from "./dialogue.ts";

const MOST_PENDING = 1000;

interface Command {
  readonly verb: string;
  readonly argument: boolean;
}

/** A connection. */
export class Pop3 extends Dialogue {
  override readonly protocol = "pop3";
  readonly #client = new Lines();
  readonly #server = new Lines();
  readonly #dots = new DotReader();
  #pending: Command[] = [{ verb: "greeting", argument: false }];
  /** How the client's next line is to be read. */
  #state: "command" | "answer" | "secret" = "command";
  /** What the server is sending. */
  #sending: "answer" | "list" | "message" = "answer";
  #list = "";

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
    if (this.#state === "answer") return start;
    const stop = this.#client.take(data, start, end, offset);
    const { text, end: lineEnd, done } = this.#client;
    if (!done) {
      if (lineEnd - this.#client.start > LONGEST_LINE) this.events.pass("client", lineEnd);
      return stop;
    }
    this.events.pass("client", lineEnd);
    if (this.#state === "secret") {
      this.#state = "answer";
      return stop;
    }
    const [verb = "", ...rest] = text.trim().split(/\s+/);
    const command = { verb: verb.toUpperCase(), argument: rest.length > 0 };
    if (this.#pending.length < MOST_PENDING) this.#pending.push(command);
    else this.events.odd("too many commands without an answer", false);
    if (command.verb === "STLS" || (command.verb === "AUTH" && command.argument)) {
      this.#state = "answer";
    }
    return stop;
  }

  #takeServer(data: Uint8Array, start: number, end: number, offset: number): number {
    if (this.#sending === "message") {
      const stop = this.#dots.take(data, start, end, offset, this.events);
      if (stop === -1) return end;
      this.#sending = "answer";
      this.stop = !this.events.finished(offset + stop - start);
      return stop;
    }
    const stop = this.#server.take(data, start, end, offset);
    const { text, start: lineStart, end: lineEnd, done } = this.#server;
    if (!done) {
      if (lineEnd - lineStart > LONGEST_LINE) this.events.pass("server", lineEnd);
      return stop;
    }
    if (this.#sending === "list") {
      const strip = this.#list === "CAPA" && this.options.strip && /^STLS\s*$/i.test(text);
      if (strip) this.events.strip("server", lineStart, lineEnd - lineStart, false);
      this.events.pass("server", lineEnd);
      if (text === ".") this.#sending = "answer";
      return stop;
    }
    this.events.pass("server", lineEnd);
    this.#answer(text, lineEnd);
    return stop;
  }

  #answer(text: string, end: number): void {
    if (/^\+ /.test(text) || text === "+") {
      if (this.#state === "answer") this.#state = "secret";
      return;
    }
    const command = this.#pending.shift();
    const good = /^\+OK\b/i.test(text);
    if (this.#state === "answer" && (command?.verb === "STLS" || command?.verb === "AUTH")) {
      this.#state = "command";
    }
    if (command === undefined || !good) return;
    switch (command.verb) {
      case "STLS":
        this.opaque = true;
        this.events.opaque("STLS");
        return;
      case "RETR":
      case "TOP":
        this.#sending = "message";
        this.#dots.reset();
        this.events.begin({ side: "server", form: "whole", fixed: false }, end);
        return;
      case "LIST":
      case "UIDL":
      case "AUTH":
        if (command.argument) return;
        this.#sending = "list";
        this.#list = command.verb;
        return;
      case "CAPA":
        this.#sending = "list";
        this.#list = command.verb;
        return;
      default:
    }
  }
}
