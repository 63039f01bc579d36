/**
 * The addresses that names were translated to, each with the time until which the translation holds: a hash
 * table in flat memory, 16 bytes a slot for IPv4 at most (CMU-CS-02-144, section 5.3, has 16 bytes an entry).
 *
 * @module
 */

/** Slots that are in use at most, of all. More would make probes long. */
const MOST_USED = 0.75;
/** What stays when nothing has expired and room is needed. */
const KEPT = 0.9;

/** A set of IPv4 addresses (as numbers) or IPv6 addresses (as four), pruned only for space. */
export class AddressTable {
  /** Entries at most. */
  readonly capacity: number;
  /** Entries now, expired ones too. */
  size = 0;
  readonly #words: 1 | 4;
  #mask = 0;
  #keys: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  /** Seconds since the epoch until which an entry holds, at least 1; 0: the slot is free. */
  #until: Uint32Array<ArrayBuffer> = new Uint32Array(0);

  /** @param words of 32 bits in an address: 1 or 4. */
  constructor(words: 1 | 4, capacity: number) {
    this.#words = words;
    this.capacity = capacity;
    this.#allocate(256);
  }

  /** Bytes that the table takes. */
  get bytes(): number {
    return this.#keys.byteLength + this.#until.byteLength;
  }

  /** Whether an address was translated. Not whether that still holds: programs use old answers. */
  has(a: number, b = 0, c = 0, d = 0): boolean {
    return this.#until[this.#slot(a, b, c, d)] !== 0;
  }

  /**
   * Notes a translation; the later of two times counts.
   *
   * @param until seconds since the epoch, `now` as well.
   */
  add(until: number, now: number, a: number, b = 0, c = 0, d = 0): void {
    let slot = this.#slot(a, b, c, d);
    const time = Math.min(0xffffffff, Math.max(1, Math.ceil(until)));
    const known = this.#until[slot] as number;
    if (known !== 0) {
      if (time > known) this.#until[slot] = time;
      return;
    }
    if (this.size >= this.capacity) this.#prune(now);
    else if (this.size + 1 > this.#until.length * MOST_USED) this.#grow();
    slot = this.#slot(a, b, c, d);
    this.#put(slot, time, a, b, c, d);
    this.size++;
  }

  #put(slot: number, time: number, a: number, b: number, c: number, d: number): void {
    const at = slot * this.#words;
    this.#keys[at] = a;
    if (this.#words === 4) {
      this.#keys[at + 1] = b;
      this.#keys[at + 2] = c;
      this.#keys[at + 3] = d;
    }
    this.#until[slot] = time;
  }

  /** The slot that holds an address, or the free one where it belongs. */
  #slot(a: number, b: number, c: number, d: number): number {
    let slot = hash(a, b, c, d) & this.#mask;
    while (this.#until[slot] !== 0 && !this.#is(slot, a, b, c, d)) slot = (slot + 1) & this.#mask;
    return slot;
  }

  #is(slot: number, a: number, b: number, c: number, d: number): boolean {
    const at = slot * this.#words;
    if (this.#keys[at] !== a >>> 0) return false;
    return this.#words === 1 ||
      (this.#keys[at + 1] === b >>> 0 && this.#keys[at + 2] === c >>> 0 &&
        this.#keys[at + 3] === d >>> 0);
  }

  #allocate(slots: number): void {
    this.#mask = slots - 1;
    this.#keys = new Uint32Array(slots * this.#words);
    this.#until = new Uint32Array(slots);
  }

  #grow(): void {
    this.#rebuild(this.#until.length * 2, 0);
  }

  /** Drops what has expired, and when that is too little, what will be the first to. */
  #prune(now: number): void {
    this.#rebuild(this.#until.length, Math.floor(now));
    if (this.size <= this.capacity * KEPT) return;
    const times = this.#until.filter((time) => time !== 0).sort();
    this.#rebuild(this.#until.length, times[Math.ceil(times.length * (1 - KEPT))] as number);
    // When all have the same time, none is below it: the first ones found go.
    if (this.size >= this.capacity) {
      this.#rebuild(this.#until.length, 0, Math.floor(this.capacity * KEPT));
    }
  }

  /** Keeps entries that hold at `from` or longer, at most `most`. */
  #rebuild(slots: number, from: number, most = Infinity): void {
    const keys = this.#keys;
    const until = this.#until;
    this.#allocate(slots);
    this.size = 0;
    for (let i = 0; i < until.length && this.size < most; i++) {
      const time = until[i] as number;
      if (time === 0 || time < from) continue;
      const at = i * this.#words;
      const [a = 0, b = 0, c = 0, d = 0] = this.#words === 1
        ? [keys[at]]
        : [keys[at], keys[at + 1], keys[at + 2], keys[at + 3]];
      this.#put(this.#slot(a, b, c, d), time, a, b, c, d);
      this.size++;
    }
  }
}

/** Murmur's finalizer, seeded anew in each process, so that nobody outside can make all addresses collide. */
const SEED = crypto.getRandomValues(new Uint32Array(1))[0] as number;

function hash(a: number, b: number, c: number, d: number): number {
  let h = SEED;
  h = mix(h ^ a);
  if ((b | c | d) !== 0) h = mix(mix(mix(h ^ b) ^ c) ^ d);
  return h >>> 0;
}

function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
