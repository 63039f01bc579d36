/**
 * Writes each direction of each connection of a capture to a file of its own, as `tshark -z follow,tcp,raw` prints it.
 *
 * @module
 */
import type { Direction } from "./frame.ts";
import type { CloseReason, ConnectionFacts, StreamReader } from "./stream/subscriber.ts";

/** Bytes that are collected before they are written. */
const ENOUGH = 256 * 1024;

/** The files of a directory. */
export class StreamFiles {
  readonly #directory: string;
  readonly #files = new Set<StreamFile>();

  /** @throws {Deno.errors.PermissionDenied} and others when it cannot be made. */
  constructor(directory: string) {
    this.#directory = directory;
    Deno.mkdirSync(directory, { recursive: true });
  }

  /** A reader that writes a connection. */
  reader(facts: ConnectionFacts): StreamReader {
    const name = (from: ConnectionFacts["client"], to: ConnectionFacts["client"]) =>
      `${this.#directory}/${facts.number}-${from.address}.${from.port}-${to.address}.${to.port}.bin`;
    const client = new StreamFile(name(facts.client, facts.server));
    const server = new StreamFile(name(facts.server, facts.client));
    this.#files.add(client).add(server);
    const of = (direction: Direction) => direction === facts.clientDirection ? client : server;
    return {
      contain: false,
      holdLimit: Infinity,
      room: () => Infinity,
      data: (direction, _offset, bytes) => of(direction).add(bytes),
      // What was not captured leaves nothing in the file.
      gap: () => {},
      end: () => {},
      closed: (_reason: CloseReason) => {
        for (const file of [client, server]) {
          file.close();
          this.#files.delete(file);
        }
      },
    };
  }

  /** Writes what is left. */
  close(): void {
    for (const file of this.#files) file.close();
    this.#files.clear();
  }
}

/** One direction. The file is open only while it is written: a capture may have many connections. */
class StreamFile {
  readonly #path: string;
  #parts: Uint8Array[] = [];
  #length = 0;
  #made = false;

  constructor(path: string) {
    this.#path = path;
  }

  add(bytes: Uint8Array): void {
    this.#parts.push(bytes.slice());
    this.#length += bytes.length;
    if (this.#length >= ENOUGH) this.#write();
  }

  close(): void {
    if (this.#length > 0 || !this.#made) this.#write();
  }

  #write(): void {
    const file = Deno.openSync(this.#path, {
      write: true,
      create: true,
      truncate: !this.#made,
      append: this.#made,
    });
    this.#made = true;
    try {
      for (const part of this.#parts) {
        for (let at = 0; at < part.length;) at += file.writeSync(part.subarray(at));
      }
    } finally {
      file.close();
    }
    this.#parts = [];
    this.#length = 0;
  }
}
