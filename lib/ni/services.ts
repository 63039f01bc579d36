/**
 * Connections of a scanner to services such as a virus scanner: the kernel connects to the named Unix socket, if the
 * administrator has given that to the scanner, and carries bytes in both directions. The scanner itself never has a
 * descriptor of anything.
 *
 * @module
 */
import { HANGUP, MESSAGE, type MessageBuffer } from "../../niapp/sdk/protocol.ts";
import { readInto, writeFrom } from "../sys/child.ts";
import { EPOLL, type Poller } from "../sys/epoll.ts";
import { E, libc, SystemError } from "../sys/libc.ts";
import { connectUnix } from "../sys/unix_socket.ts";
import type { ServiceRequests } from "./scanner_session.ts";

/** Bytes that a scanner may write before the service has taken them. */
const WINDOW = 256 * 1024;
/** Connections of one scanner at the same time. */
const MOST = 32;
/** With so many bytes on the way to the scanner nothing more is read for it. */
const HIGH_WATER = 1024 * 1024;
const READ_SIZE = 64 * 1024;
const SHUT_WR = 1;

/** Counts of a scanner's use of services. */
export interface ServiceCounters {
  connected: number;
  refused: number;
}

interface Connection {
  readonly number: number;
  readonly fd: number;
  /** Not yet taken by the service. */
  out: Uint8Array<ArrayBuffer>;
  /** The scanner writes no more. */
  writingEnded: boolean;
  /** What is waited for; 0: nothing, it is not in the poll set. */
  watched: number;
  /** Taken by the service, and not told to the scanner, which has enough room. */
  taken: number;
}

/** All connections of one scanner process. */
export class ServiceConnections implements ServiceRequests {
  readonly #poller: Poller;
  readonly #services: () => Readonly<Record<string, string>>;
  readonly #out: MessageBuffer;
  readonly #counters: ServiceCounters;
  readonly #connections = new Map<number, Connection>();
  readonly #space = new Uint8Array(READ_SIZE);
  #next = 0;

  /**
   * @param services what the scanner may be connected to now.
   * @param out messages for the scanner.
   */
  constructor(
    poller: Poller,
    services: () => Readonly<Record<string, string>>,
    out: MessageBuffer,
    counters: ServiceCounters,
  ) {
    this.#poller = poller;
    this.#services = services;
    this.#out = out;
    this.#counters = counters;
  }

  /** As {@link ServiceRequests}: connects, or says why not by SERVICE_ENDED. */
  connect(number: number, name: string): string | undefined {
    if (number !== this.#next) return `connection ${number} is not the next one, ${this.#next}`;
    this.#next++;
    const fd = this.#open(name);
    if (typeof fd === "string") {
      this.#counters.refused++;
      this.#tellEnded(number, fd);
      return undefined;
    }
    this.#counters.connected++;
    const connection = {
      number,
      fd,
      out: new Uint8Array(0),
      writingEnded: false,
      watched: 0,
      taken: 0,
    };
    this.#connections.set(number, connection);
    this.#watch(connection);
    this.#out.begin(MESSAGE.SERVICE_CONNECTED).u32(number).u32(WINDOW).end();
    return undefined;
  }

  /** As {@link ServiceRequests}. */
  write(number: number, bytes: Uint8Array): string | undefined {
    const connection = this.#connections.get(number);
    if (connection === undefined) return this.#unknown(number);
    if (connection.writingEnded) return `it writes to connection ${number} after its end`;
    if (connection.out.length + bytes.length > WINDOW) {
      return `it writes more to connection ${number} than there is room for`;
    }
    connection.out = joined(connection.out, bytes);
    this.#send(connection);
    return undefined;
  }

  /** As {@link ServiceRequests}. */
  hangup(number: number, how: number): string | undefined {
    const connection = this.#connections.get(number);
    if (connection === undefined) return this.#unknown(number);
    if (how === HANGUP.ALL) {
      this.#close(connection);
    } else if (how === HANGUP.WRITING) {
      connection.writingEnded = true;
      this.#send(connection);
    } else return `it hangs up in a way that is unknown: ${how}`;
    return undefined;
  }

  /** The scanner has taken what was on its way: what had to wait goes on. */
  resume(): void {
    for (const connection of this.#connections.values()) this.#watch(connection);
  }

  /** The scanner's process is gone. */
  close(): void {
    for (const connection of [...this.#connections.values()]) this.#close(connection);
  }

  /** The descriptor, or why there is none. Paths are not told: a scanner need not know them. */
  #open(name: string): number | string {
    const services = this.#services();
    const path = Object.hasOwn(services, name) ? services[name] : undefined;
    if (path === undefined) return "the administrator gives this scanner no such service";
    if (this.#connections.size >= MOST) return `more than ${MOST} connections at once`;
    try {
      return connectUnix(path, "stream", { nonBlocking: true });
    } catch (error) {
      if (error instanceof RangeError) return "the service's path is too long";
      if (!(error instanceof SystemError)) throw error;
      return error.code === E.AGAIN ? "the service is busy" : "the service is not there";
    }
  }

  /** A message may cross the end of its connection; another one is a mistake. */
  #unknown(number: number): string | undefined {
    return number < this.#next ? undefined : `connection ${number} was never made`;
  }

  #ready(connection: Connection, events: number): void {
    if ((events & EPOLL.OUT) !== 0 && !this.#send(connection)) return;
    if ((events & ~EPOLL.OUT) !== 0) this.#read(connection);
  }

  #read(connection: Connection): void {
    const n = readInto(connection.fd, this.#space);
    if (n === "none") return;
    if (n === "end") return this.#end(connection, "");
    this.#out.begin(MESSAGE.SERVICE_DATA).u32(connection.number).u32(n).raw(this.#space, 0, n)
      .end();
    this.#watch(connection);
  }

  /** Writes what the service takes. @returns false when the connection is over. */
  #send(connection: Connection): boolean {
    const { number, fd, out } = connection;
    if (out.length > 0) {
      const n = writeFrom(fd, out, out.length);
      if (n === "end") {
        this.#end(connection, "the service takes no more");
        return false;
      }
      if (n > 0) {
        connection.out = out.slice(n);
        connection.taken += n;
        // Seldom, since every message wakes the scanner.
        if (connection.taken >= WINDOW / 2) {
          this.#out.begin(MESSAGE.SERVICE_ROOM).u32(number).u32(connection.taken).end();
          connection.taken = 0;
        }
      }
    }
    if (connection.out.length === 0 && connection.writingEnded) libc.shutdown(fd, SHUT_WR);
    this.#watch(connection);
    return true;
  }

  #watch(connection: Connection): void {
    const { fd, out, watched } = connection;
    const wanted = (this.#out.length < HIGH_WATER ? EPOLL.IN : 0) |
      (out.length > 0 ? EPOLL.OUT : 0);
    if (wanted === watched) return;
    connection.watched = wanted;
    // Out of the set, since a hang-up is told there whatever is asked for.
    if (wanted === 0) this.#poller.remove(fd);
    else if (watched !== 0) this.#poller.change(fd, wanted);
    else this.#poller.add(fd, wanted, (events) => this.#ready(connection, events));
  }

  #end(connection: Connection, why: string): void {
    this.#close(connection);
    this.#tellEnded(connection.number, why);
  }

  #tellEnded(number: number, why: string): void {
    this.#out.begin(MESSAGE.SERVICE_ENDED).u32(number).u32(0).raw(new TextEncoder().encode(why))
      .end();
  }

  #close(connection: Connection): void {
    if (!this.#connections.delete(connection.number)) return;
    this.#poller.remove(connection.fd);
    libc.close(connection.fd);
  }
}

function joined(first: Uint8Array<ArrayBuffer>, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}
