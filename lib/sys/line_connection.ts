/**
 * Lines of text over a stream socket on a poll set. What is said in one round goes out in one piece, and
 * a peer that does not read is neither waited for nor read from.
 *
 * @module
 */
import { EPOLL, type Poller } from "./epoll.ts";
import { E, errno, libc } from "./libc.ts";
import { sendUnix } from "./unix_socket.ts";

/** What is done with what comes in. */
export interface LineHandlers {
  /** A line, without its end. */
  readonly line: (text: string) => void;
  /** The connection is over, and its descriptor closed. Called once, not for {@link LineConnection.close}. */
  readonly end: (why: string) => void;
}

/**
 * Octets taken from one connection before the next has its turn: some thirty requests of a broker, so that one
 * that floods delays others by a millisecond or two and not by twenty.
 */
const READ_SIZE = 8192;
const buffer = new Uint8Array(READ_SIZE);
const encoder = new TextEncoder();
const EMPTY = new Uint8Array();

/** One connection. */
export class LineConnection {
  readonly #poller: Poller;
  readonly #fd: number;
  readonly #longest: number;
  readonly #handlers: LineHandlers;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  /** The beginning of a line whose end has not come yet. */
  #rest: Uint8Array = EMPTY;
  #said: string[] = [];
  #out: Uint8Array = EMPTY;
  #reading = true;
  #blocked = false;
  #ending = false;
  #closed = false;

  /**
   * @param fd a connected stream socket, non-blocking; closed with the connection.
   * @param longest octets of a line; a longer one ends the connection.
   */
  constructor(poller: Poller, fd: number, longest: number, handlers: LineHandlers) {
    this.#poller = poller;
    this.#fd = fd;
    this.#longest = longest;
    this.#handlers = handlers;
    poller.add(fd, EPOLL.IN, (events) => this.#ready(events));
  }

  /** It was closed, by either side. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Octets that the peer has not taken yet, and that {@link flush} could not give it. */
  get backlog(): number {
    return this.#out.length;
  }

  /** Says a line; {@link flush} sends it. */
  send(line: string): void {
    if (!this.#closed) this.#said.push(line);
  }

  /** Sends what was said. */
  flush(): void {
    if (this.#closed || this.#said.length === 0) return;
    const data = encoder.encode(this.#said.join("\n") + "\n");
    this.#said = [];
    if (this.#out.length === 0) this.#out = data;
    else {
      const both = new Uint8Array(this.#out.length + data.length);
      both.set(this.#out);
      both.set(data, this.#out.length);
      this.#out = both;
    }
    this.#write();
  }

  /** Reads no more for now, or goes on reading. */
  read(on: boolean): void {
    if (this.#reading === on || this.#closed) return;
    this.#reading = on;
    this.#watch();
  }

  /** Sends what was said, as far as the peer takes it within a while, and then closes. */
  finish(): void {
    this.flush();
    if (this.#out.length === 0) return this.close();
    this.#ending = true;
  }

  /** Closes at once. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poller.remove(this.#fd);
    libc.close(this.#fd);
  }

  #ready(events: number): void {
    if ((events & EPOLL.OUT) !== 0) this.#write();
    if (this.#closed) return;
    if ((events & EPOLL.IN) !== 0 && this.#reading) return this.#read();
    // Nothing more will come, and nothing can be said: whatever there was to read was read.
    if ((events & (EPOLL.HUP | EPOLL.ERR)) !== 0) this.#end("the other end is gone");
  }

  #read(): void {
    const n = libc.recv(this.#fd, buffer, buffer.length, 0x40);
    if (n < 0) {
      const code = errno();
      if (code !== E.AGAIN && code !== E.INTR) this.#end("the other end is gone");
      return;
    }
    if (n === 0) return this.#end("the other end has closed");
    if (this.#ending) return;
    const last = buffer.lastIndexOf(10, n - 1);
    if (last === -1) {
      this.#keep(buffer.subarray(0, n));
    } else {
      const text = this.#decode(buffer.subarray(0, last));
      if (text === undefined) return this.#end("what came is not UTF-8");
      this.#rest = EMPTY;
      for (const line of text.split("\n")) {
        if (this.#closed || this.#ending) return;
        if (line.length > this.#longest) return this.#end("a line is too long");
        this.#handlers.line(line);
      }
      this.#keep(buffer.subarray(last + 1, n));
    }
    if (this.#rest.length > this.#longest) this.#end("a line is too long");
  }

  #keep(part: Uint8Array): void {
    if (this.#closed || part.length === 0) return;
    const rest = new Uint8Array(this.#rest.length + part.length);
    rest.set(this.#rest);
    rest.set(part, this.#rest.length);
    this.#rest = rest;
  }

  #decode(part: Uint8Array): string | undefined {
    let whole = part;
    if (this.#rest.length > 0) {
      whole = new Uint8Array(this.#rest.length + part.length);
      whole.set(this.#rest);
      whole.set(part, this.#rest.length);
    }
    try {
      return this.#decoder.decode(whole);
    } catch {
      // Fatal by option: there is no other reason, and the caller says it.
      return undefined;
    }
  }

  #write(): void {
    while (this.#out.length > 0) {
      const n = sendUnix(this.#fd, this.#out);
      if (n === -2) return this.#end("the other end is gone");
      if (n === -1) break;
      this.#out = n === this.#out.length ? EMPTY : this.#out.subarray(n);
    }
    if (this.#out.length === 0 && this.#ending) return this.close();
    const blocked = this.#out.length > 0;
    if (blocked === this.#blocked) return;
    this.#blocked = blocked;
    this.#watch();
  }

  #watch(): void {
    this.#poller.change(
      this.#fd,
      (this.#reading ? EPOLL.IN : 0) | (this.#blocked ? EPOLL.OUT : 0),
    );
  }

  #end(why: string): void {
    if (this.#closed) return;
    this.close();
    this.#handlers.end(why);
  }
}
