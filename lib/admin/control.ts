/**
 * The console's control socket, as docs/protocols/control.md describes it for daemons: one request a connection, lines
 * of JSON. Requests may be longer here, since bundles come by it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createServer, type Server, Socket } from "node:net";
import { userName } from "../sys/accounts.ts";
import { peerCredentials } from "../sys/unix_socket.ts";

/** Octets of a request: a bundle as base64, and a little. */
const LONGEST_REQUEST = 48 * 1024 * 1024;
const MOST_CONNECTIONS = 256;
/** Octets that wait for a slow reader; then it is cut off. */
const BACKLOG = 4 * 1024 * 1024;

/** Who asks, as the kernel says. */
export interface Asker {
  readonly uid: number;
  readonly name: string;
}

/** Why a request was not done; `code` is the exit code that the command line ends with. */
export class ControlError extends Error {
  readonly code: 1 | 2 | 3 | 5;
  readonly next: string;
  constructor(code: 1 | 2 | 3 | 5, message: string, next: string) {
    super(message);
    this.code = code;
    this.next = next;
  }
}

/** Answers a request by items, as long as there are any. `gone` is aborted when nobody reads them any more. */
export type ControlAnswerer = (
  request: unknown,
  asker: Asker,
  gone: AbortSignal,
) => AsyncIterable<unknown>;

/** A listening control socket. */
export class ConsoleControl {
  readonly #server: Server;
  readonly #answer: ControlAnswerer;
  readonly #failed: (error: unknown) => void;
  readonly #sockets = new Set<Socket>();

  /** @param failed told of errors that no request explains. */
  constructor(answer: ControlAnswerer, failed: (error: unknown) => void) {
    this.#answer = answer;
    this.#failed = failed;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** Takes over a listening descriptor. */
  listen(fd: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ fd }, () => resolve());
    });
  }

  /** Ends everything. */
  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #accept(socket: Socket): void {
    if (this.#sockets.size >= MOST_CONNECTIONS) {
      const [oldest] = this.#sockets;
      oldest?.destroy(); // an administrator must get in also when somebody holds them all open
    }
    this.#sockets.add(socket);
    const gone = new AbortController();
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => {
      this.#sockets.delete(socket);
      gone.abort();
    });
    const fd = (socket as unknown as { _handle: { fd: number } })._handle.fd;
    const { uid } = peerCredentials(fd);
    const asker = { uid, name: userName(uid) ?? String(uid) };
    const parts: Uint8Array[] = [];
    let size = 0;
    let begun = false;
    socket.on("data", (data: Uint8Array) => {
      if (begun) return;
      parts.push(data);
      size += data.length;
      if (data.indexOf(10) === -1 && size <= LONGEST_REQUEST) return;
      begun = true;
      const text = Buffer.concat(parts).toString();
      void this.#serve(socket, text.slice(0, text.indexOf("\n")), asker, gone.signal);
    });
  }

  async #serve(socket: Socket, line: string, asker: Asker, gone: AbortSignal): Promise<void> {
    const say = (reply: unknown) => {
      if (socket.writableLength > BACKLOG) socket.destroy();
      else socket.write(JSON.stringify(reply) + "\n");
    };
    try {
      let request: unknown;
      try {
        request = JSON.parse(line);
      } catch {
        throw new ControlError(2, "the request is not JSON", "is it the same version of diaper?");
      }
      for await (const item of this.#answer(request, asker, gone)) {
        if (socket.destroyed) return;
        say({ data: item });
        if (socket.writableNeedDrain) await drained(socket);
      }
      say({ end: true });
    } catch (error) {
      if (error instanceof ControlError) {
        say({ error: { code: error.code, message: error.message, next: error.next } });
      } else {
        this.#failed(error);
        const message = error instanceof Error ? error.message : String(error);
        say({ error: { code: 1, message, next: "see the console's messages" } });
      }
    }
    socket.end();
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once("drain", resolve);
    socket.once("close", resolve);
  });
}
