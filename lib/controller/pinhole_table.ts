/**
 * The pinholes that are not closed, found by identity, by tuple, by socket and by end user.
 *
 * @module
 */
import { type Pinhole, type Protocol, tupleKey } from "../pinhole/pinhole.ts";

/** All living pinholes of one perimeter, in memory; the ledger holds the same durably. */
export class PinholeTable {
  readonly #byId = new Map<number, Pinhole>();
  readonly #byKey = new Map<string, Pinhole[]>();
  readonly #byCookie = new Map<bigint, Pinhole[]>();
  readonly #byBroker = new Map<string, Map<string, Pinhole>>();
  readonly #perUser = new Map<string, number>();
  readonly #perPort = new Int32Array(0x20000);

  /** How many pinholes live. */
  get size(): number {
    return this.#byId.size;
  }

  /** How many different tuples they have. */
  get tuples(): number {
    return this.#byKey.size;
  }

  /** Adds a pinhole. */
  add(p: Pinhole): void {
    this.#byId.set(p.id, p);
    append(this.#byKey, tupleKey(p.tuple), p);
    this.#count(p, 1);
    if (p.cookie !== 0n) append(this.#byCookie, p.cookie, p);
    if (p.origin !== undefined) {
      const { broker, key } = p.origin;
      const requests = this.#byBroker.get(broker);
      if (requests === undefined) this.#byBroker.set(broker, new Map([[key, p]]));
      else requests.set(key, p);
    }
    const { delegate, user } = p.requester;
    this.#perUser.set(endUserKey(delegate, user), this.openOf(delegate, user) + 1);
  }

  /** Takes a pinhole out. */
  delete(p: Pinhole): void {
    if (!this.#byId.delete(p.id)) return;
    take(this.#byKey, tupleKey(p.tuple), p);
    this.#count(p, -1);
    if (p.cookie !== 0n) take(this.#byCookie, p.cookie, p);
    if (p.origin !== undefined) {
      const requests = this.#byBroker.get(p.origin.broker);
      if (requests?.delete(p.origin.key) === true && requests.size === 0) {
        this.#byBroker.delete(p.origin.broker);
      }
    }
    const { delegate, user } = p.requester;
    const left = this.openOf(delegate, user) - 1;
    if (left <= 0) this.#perUser.delete(endUserKey(delegate, user));
    else this.#perUser.set(endUserKey(delegate, user), left);
  }

  /** The pinhole with this identity. */
  get(id: number): Pinhole | undefined {
    return this.#byId.get(id);
  }

  /** Pinholes with exactly this traffic: more than one when several sockets need the same. */
  sameTuple(p: Pinhole["tuple"]): readonly Pinhole[] {
    return this.#byKey.get(tupleKey(p)) ?? [];
  }

  /** Pinholes of a socket. */
  ofSocket(cookie: bigint): readonly Pinhole[] {
    return this.#byCookie.get(cookie) ?? [];
  }

  /** The pinhole that came of a broker's request. */
  ofRequest(broker: string, key: string): Pinhole | undefined {
    return this.#byBroker.get(broker)?.get(key);
  }

  /** All pinholes of a broker. */
  ofBroker(broker: string): Iterable<Pinhole> {
    return this.#byBroker.get(broker)?.values() ?? [];
  }

  /** Brokers that have pinholes. */
  brokers(): Iterable<string> {
    return this.#byBroker.keys();
  }

  /** How many pinholes an end user has in a delegate's name. */
  openOf(delegate: string, user: string): number {
    return this.#perUser.get(endUserKey(delegate, user)) ?? 0;
  }

  /** Some pinhole leads to this port. */
  hasPort(protocol: Protocol, port: number): boolean {
    return this.#perPort[portKey(protocol, port)] !== 0;
  }

  /** All of them, oldest first. May be walked while others are added and taken out. */
  all(): IterableIterator<Pinhole> {
    return this.#byId.values();
  }

  #count(p: Pinhole, change: number): void {
    const key = portKey(p.tuple.protocol, p.tuple.destinationPort);
    this.#perPort[key] = (this.#perPort[key] as number) + change;
  }
}

/** An end user in a delegate's name as a map's key; the last one is asked for again and again. */
export function endUserKey(delegate: string, user: string): string {
  if (delegate === lastUser.delegate && user === lastUser.user) return lastUser.key;
  lastUser = { delegate, user, key: `${delegate} ${user}` };
  return lastUser.key;
}

let lastUser = { delegate: "", user: "", key: " " };

/** A port of one protocol as a map's key. */
export function portKey(protocol: Protocol, port: number): number {
  return protocol === "tcp" ? port : port | 0x10000;
}

function append<K>(map: Map<K, Pinhole[]>, key: K, p: Pinhole): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [p]);
  else list.push(p);
}

function take<K>(map: Map<K, Pinhole[]>, key: K, p: Pinhole): void {
  const list = map.get(key);
  if (list === undefined) return;
  const at = list.indexOf(p);
  if (at !== -1) list.splice(at, 1);
  if (list.length === 0) map.delete(key);
}
