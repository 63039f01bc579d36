/**
 * A scanner's side of its connections to services.
 *
 * @module
 */
import { HANGUP, MESSAGE, type MessageBuffer } from "./protocol.ts";
import type { ServiceConnection, ServiceEvents } from "./scanner.ts";

/** Bytes in one message. */
const PIECE = 64 * 1024;

class Connection implements ServiceConnection {
  readonly events: ServiceEvents;
  readonly #number: number;
  readonly #out: MessageBuffer;
  readonly #forget: () => void;
  #waiting: Uint8Array[] = [];
  #room = 0;
  #writing: "open" | "ending" | "ended" = "open";
  #over = false;
  resting = false;

  constructor(number: number, out: MessageBuffer, events: ServiceEvents, forget: () => void) {
    this.#number = number;
    this.#out = out;
    this.events = events;
    this.#forget = forget;
  }

  write(bytes: Uint8Array): void {
    if (this.#writing !== "open") throw new Error("The connection's writing has been ended");
    if (bytes.length === 0 || this.#over) return;
    this.resting = false;
    this.#waiting.push(bytes.slice());
    this.#send();
  }

  rest(): void {
    this.resting = true;
  }

  end(): void {
    if (this.#writing !== "open") return;
    this.#writing = "ending";
    this.#send();
  }

  close(): void {
    if (this.#over) return;
    this.over();
    this.#out.begin(MESSAGE.SERVICE_HANGUP).u32(this.#number).u32(HANGUP.ALL).end();
  }

  over(): void {
    this.#over = true;
    this.#waiting = [];
    this.#forget();
  }

  room(bytes: number): void {
    this.#room += bytes;
    this.#send();
  }

  #send(): void {
    while (this.#room > 0 && this.#waiting.length > 0) {
      const first = this.#waiting[0] as Uint8Array;
      const length = Math.min(first.length, this.#room, PIECE);
      this.#out.begin(MESSAGE.SERVICE_WRITE).u32(this.#number).u32(length).raw(first, 0, length)
        .end();
      this.#room -= length;
      if (length === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(length);
    }
    if (this.#waiting.length > 0 || this.#writing !== "ending" || this.#over) return;
    // The kernel takes it only for a connection that there is; SERVICE_CONNECTED gives room.
    if (this.#room === 0) return;
    this.#writing = "ended";
    this.#out.begin(MESSAGE.SERVICE_HANGUP).u32(this.#number).u32(HANGUP.WRITING).end();
  }
}

/** All connections of a scanner. */
export class ServiceClient {
  readonly #out: MessageBuffer;
  readonly #connections = new Map<number, Connection>();
  #next = 0;

  /** @param out messages for the kernel. */
  constructor(out: MessageBuffer) {
    this.#out = out;
  }

  /** Something is still to come over some connection. */
  get busy(): boolean {
    for (const { resting } of this.#connections.values()) if (!resting) return true;
    return false;
  }

  /** As {@link Ni.connect}. */
  connect(service: string, events: ServiceEvents): ServiceConnection {
    const number = this.#next++;
    const forget = () => this.#connections.delete(number);
    const connection = new Connection(number, this.#out, events, forget);
    this.#connections.set(number, connection);
    this.#out.begin(MESSAGE.SERVICE_CONNECT).u32(number).u32(0);
    this.#out.raw(new TextEncoder().encode(service)).end();
    return connection;
  }

  /** The kernel has room for more bytes of a connection. */
  room(number: number, bytes: number): void {
    this.#connections.get(number)?.room(bytes);
  }

  /** Bytes came. */
  data(number: number, bytes: Uint8Array): void {
    this.#connections.get(number)?.events.data(bytes);
  }

  /** A connection is over. */
  ended(number: number, why: string): void {
    const connection = this.#connections.get(number);
    connection?.over();
    connection?.events.ended(why);
  }
}
