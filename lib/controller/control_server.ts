/**
 * The daemon's end of the control socket, on the data plane's poll set. Reads one request a connection
 * and writes its answer as the reader takes it: a slow reader slows itself alone.
 *
 * @module
 */
import { EPOLL, type Poller } from "../sys/epoll.ts";
import { E, errno, libc } from "../sys/libc.ts";
import { acceptUnix, type Credentials, peerCredentials, sendUnix } from "../sys/unix_socket.ts";
import {
  type ControlFailure,
  type ControlReply,
  type ControlRequest,
  LONGEST_REQUEST,
  parseControlRequest,
} from "./control_protocol.ts";

/**
 * Answers a request: either with the lines of the answer, given as they are taken, or by taking the
 * connection as a watcher (see {@link ControlServer.broadcast}).
 *
 * @throws {ControlRefusal} when it is not done.
 */
export type ControlHandler = (
  request: ControlRequest,
  peer: Credentials,
) => AsyncIterable<unknown> | "watch";

/** A request that is not done, with the reason. */
export class ControlRefusal extends Error {
  readonly failure: ControlFailure;
  constructor(failure: ControlFailure) {
    super(failure.message);
    this.failure = failure;
  }
}

interface Connection {
  readonly fd: number;
  readonly peer: Credentials;
  input: string;
  /** Bytes on their way out. */
  out: Uint8Array[];
  outBytes: number;
  lines: AsyncIterator<unknown> | undefined;
  watching: boolean;
  ending: boolean;
  closed: boolean;
}

const MAX_CONNECTIONS = 256;
/** Most that waits for a slow watcher; then it is cut off, and told so by the missing end. */
const WATCHER_BACKLOG = 4 * 1024 * 1024;
/** Data lines given to one connection in one round. */
const LINES_PER_ROUND = 256;
const HIGH_WATER = 256 * 1024;

/** All connections of the control socket. */
export class ControlServer {
  readonly #poller: Poller;
  readonly #listener: number;
  readonly #handler: ControlHandler;
  readonly #connections = new Set<Connection>();
  readonly #buffer = new Uint8Array(LONGEST_REQUEST);
  readonly #decoder = new TextDecoder();
  readonly #encoder = new TextEncoder();

  /** @param listener a listening stream socket; the server closes it in the end. */
  constructor(poller: Poller, listener: number, handler: ControlHandler) {
    this.#poller = poller;
    this.#listener = listener;
    this.#handler = handler;
    poller.add(listener, EPOLL.IN, () => this.#accept());
  }

  /** Some answer can go on without waiting for its reader. */
  get busy(): boolean {
    for (const c of this.#connections) if (this.#wantsMore(c)) return true;
    return false;
  }

  /** Goes on with the answers whose readers have taken what they were given. */
  async pump(): Promise<void> {
    for (const c of this.#connections) if (this.#wantsMore(c)) await this.#produce(c);
  }

  /** Sends a line to all watchers. */
  broadcast(line: string): void {
    let data: Uint8Array | undefined;
    for (const c of this.#connections) {
      if (!c.watching) continue;
      data ??= this.#encoder.encode(`{"data":${line}}\n`);
      if (c.outBytes > WATCHER_BACKLOG) this.#drop(c);
      else this.#write(c, data);
    }
  }

  /** Closes all connections and the listener. */
  close(): void {
    this.#poller.remove(this.#listener);
    libc.close(this.#listener);
    for (const c of [...this.#connections]) this.#drop(c);
  }

  #accept(): void {
    for (;;) {
      const fd = acceptUnix(this.#listener);
      if (fd === "none") return;
      if (fd === "limit" || this.#connections.size >= MAX_CONNECTIONS) {
        // The oldest makes room: an administrator must get in also when somebody holds them all open.
        const oldest = this.#connections.values().next().value;
        if (oldest !== undefined) this.#drop(oldest);
        if (fd === "limit") return;
      }
      const c: Connection = {
        fd,
        peer: peerCredentials(fd),
        input: "",
        out: [],
        outBytes: 0,
        lines: undefined,
        watching: false,
        ending: false,
        closed: false,
      };
      this.#connections.add(c);
      this.#poller.add(fd, EPOLL.IN | EPOLL.RDHUP, (events) => this.#ready(c, events));
    }
  }

  #ready(c: Connection, events: number): void {
    if ((events & EPOLL.OUT) !== 0) this.#send(c);
    if (c.closed) return;
    if ((events & (EPOLL.IN | EPOLL.RDHUP | EPOLL.HUP | EPOLL.ERR)) !== 0) this.#read(c);
  }

  #read(c: Connection): void {
    const n = libc.recv(c.fd, this.#buffer, this.#buffer.length, 0x40);
    if (n < 0) {
      const code = errno();
      if (code !== E.AGAIN && code !== E.INTR) this.#drop(c);
      return;
    }
    if (n === 0) return this.#drop(c);
    if (c.lines !== undefined || c.watching || c.ending) {
      return this.#fail(c, { code: 2, message: "one request a connection", next: "connect anew" });
    }
    c.input += this.#decoder.decode(this.#buffer.subarray(0, n));
    const end = c.input.indexOf("\n");
    if (end === -1) {
      if (c.input.length >= LONGEST_REQUEST) {
        this.#fail(c, { code: 2, message: "request is too long", next: "see diaper(8)" });
      }
      return;
    }
    const request = parseControlRequest(c.input.slice(0, end));
    if (typeof request === "string") {
      return this.#fail(c, {
        code: 2,
        message: request,
        next: "is it the same version of diaper?",
      });
    }
    this.#start(c, request);
  }

  #start(c: Connection, request: ControlRequest): void {
    try {
      const answer = this.#handler(request, c.peer);
      if (answer === "watch") c.watching = true;
      else c.lines = answer[Symbol.asyncIterator]();
    } catch (error) {
      if (!(error instanceof ControlRefusal)) throw error;
      this.#fail(c, error.failure);
    }
  }

  #wantsMore(c: Connection): boolean {
    return c.lines !== undefined && c.outBytes < HIGH_WATER;
  }

  async #produce(c: Connection): Promise<void> {
    const text: string[] = [];
    try {
      for (let i = 0; i < LINES_PER_ROUND && c.lines !== undefined; i++) {
        const next = await c.lines.next();
        if (next.done === true) {
          c.lines = undefined;
          c.ending = true;
          text.push('{"end":true}\n');
        } else {
          text.push(JSON.stringify({ data: next.value } satisfies ControlReply) + "\n");
        }
      }
    } catch (error) {
      if (!(error instanceof ControlRefusal)) throw error;
      c.lines = undefined;
      c.ending = true;
      text.push(JSON.stringify({ error: error.failure } satisfies ControlReply) + "\n");
    }
    this.#write(c, this.#encoder.encode(text.join("")));
  }

  #fail(c: Connection, failure: ControlFailure): void {
    c.lines = undefined;
    c.watching = false;
    c.ending = true;
    this.#write(
      c,
      this.#encoder.encode(JSON.stringify({ error: failure } satisfies ControlReply) + "\n"),
    );
  }

  #write(c: Connection, data: Uint8Array): void {
    if (c.closed) return;
    c.out.push(data);
    c.outBytes += data.length;
    if (c.out.length === 1) this.#send(c);
  }

  #send(c: Connection): void {
    while (c.out.length > 0) {
      const data = c.out[0] as Uint8Array;
      const n = sendUnix(c.fd, data);
      if (n === -2) return this.#drop(c);
      if (n === -1) {
        this.#poller.change(c.fd, EPOLL.IN | EPOLL.RDHUP | EPOLL.OUT);
        return;
      }
      c.outBytes -= n;
      if (n < data.length) c.out[0] = data.subarray(n);
      else c.out.shift();
    }
    if (c.ending) return this.#drop(c);
    this.#poller.change(c.fd, EPOLL.IN | EPOLL.RDHUP);
  }

  #drop(c: Connection): void {
    if (c.closed) return;
    c.closed = true;
    c.lines = undefined;
    this.#connections.delete(c);
    this.#poller.remove(c.fd);
    libc.close(c.fd);
  }
}
