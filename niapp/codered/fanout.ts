/**
 * Counts different destinations in the last second and the last minute.
 *
 * @module
 */

/** One connection to an address that no name was translated to. */
interface Contact {
  readonly time: number;
  readonly destination: string;
}

/** Contacts remembered at most; beyond it any limit is long passed. */
const MOST = 10_000;

/** A window of one minute over random connections. Times in milliseconds. */
export class Fanout {
  #contacts: Contact[] = [];
  #first = 0;
  readonly #inMinute = new Map<string, number>();

  /** Notes a connection. */
  add(destination: string, time: number): void {
    this.#expire(time);
    if (this.#contacts.length - this.#first >= MOST) this.#drop();
    this.#contacts.push({ time, destination });
    this.#inMinute.set(destination, (this.#inMinute.get(destination) ?? 0) + 1);
  }

  /** Different destinations in the minute before. */
  minute(now: number): number {
    this.#expire(now);
    return this.#inMinute.size;
  }

  /** Different destinations in the second before, counted to `limit` + 1 and no further. */
  second(now: number, limit: number): number {
    const seen = new Set<string>();
    for (let i = this.#contacts.length - 1; i >= this.#first && seen.size <= limit; i--) {
      const { time, destination } = this.#contacts[i] as Contact;
      if (time <= now - 1000) break;
      seen.add(destination);
    }
    return seen.size;
  }

  #expire(now: number): void {
    while (this.#first < this.#contacts.length) {
      if ((this.#contacts[this.#first] as Contact).time > now - 60_000) break;
      this.#drop();
    }
    if (this.#first > 1024 && this.#first * 2 > this.#contacts.length) {
      this.#contacts = this.#contacts.slice(this.#first);
      this.#first = 0;
    }
  }

  #drop(): void {
    const { destination } = this.#contacts[this.#first++] as Contact;
    const left = (this.#inMinute.get(destination) as number) - 1;
    if (left === 0) this.#inMinute.delete(destination);
    else this.#inMinute.set(destination, left);
  }
}
