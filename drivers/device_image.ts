/**
 * What is known of a device's ACLs: what the last listing showed, with what was seen since of single pinholes.
 *
 * @module
 */
import { type FiveTuple, tupleKey } from "../lib/pinhole/pinhole.ts";

/** An entry that a device lists; the tuple when it is a pinhole of ours. */
export interface DeviceEntry {
  readonly family: 4 | 6;
  readonly tuple: FiveTuple | undefined;
  readonly packets: number | undefined;
  readonly bytes: number | undefined;
}

/** The entries of our ACLs, found by pinhole. */
export class DeviceImage<E extends DeviceEntry> {
  /** By the pinhole's key; more than one after a foreign edit. */
  readonly #pinholes = new Map<string, E[]>();
  readonly #others: E[] = [];
  readonly #present = new Map<string, 4 | 6>();
  #entries: readonly E[] | undefined;

  constructor(entries: Iterable<E>) {
    for (const entry of entries) {
      if (entry.tuple === undefined) this.#others.push(entry);
      else this.#add(tupleKey(entry.tuple), entry);
    }
  }

  /** All entries, in no order. */
  get entries(): readonly E[] {
    return this.#entries ??= [...this.#others, ...[...this.#pinholes.values()].flat()];
  }

  /** The keys of the pinholes that are open, with their address families. */
  get present(): ReadonlyMap<string, 4 | 6> {
    return this.#present;
  }

  /** Puts what was seen of some pinholes in the place of what was known of them. */
  update(keys: ReadonlySet<string>, seen: readonly E[]): void {
    this.#entries = undefined;
    for (const key of keys) {
      this.#pinholes.delete(key);
      this.#present.delete(key);
    }
    for (const entry of seen) {
      const key = entry.tuple === undefined ? undefined : tupleKey(entry.tuple);
      if (key !== undefined && keys.has(key)) this.#add(key, entry);
    }
  }

  #add(key: string, entry: E): void {
    const same = this.#pinholes.get(key);
    if (same === undefined) this.#pinholes.set(key, [entry]);
    else same.push(entry);
    this.#present.set(key, entry.family);
  }
}
