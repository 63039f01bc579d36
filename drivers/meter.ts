/**
 * Counters that only grow, made of counters that a device resets now and then: at a rebind, when a rule is
 * moved, at a reboot. A count that fell began again from 0, which is not the same as no traffic.
 *
 * @module
 */
import type { Counters } from "./enforcer.ts";

interface Reading {
  packets: number;
  bytes: number;
  basePackets: number;
  baseBytes: number;
}

/** The counters of all pinholes of one device. */
export class Meter {
  #readings = new Map<string, Reading>();

  /**
   * Takes what the device shows now for all its pinholes, and forgets those that are not among them.
   *
   * @param shown undefined for one that is there but was not counted this time.
   */
  update(shown: ReadonlyMap<string, Counters | undefined>): void {
    const next = new Map<string, Reading>();
    for (const [key, counters] of shown) next.set(key, this.#read(key, counters));
    this.#readings = next;
  }

  /** The same for some pinholes only; of the others nothing is known anew. */
  replace(keys: Iterable<string>, shown: ReadonlyMap<string, Counters | undefined>): void {
    for (const key of keys) {
      if (shown.has(key)) this.#readings.set(key, this.#read(key, shown.get(key)));
      else this.#readings.delete(key);
    }
  }

  /** Begins to count a pinhole from 0 again, since it was closed and opened. */
  restart(key: string): void {
    const reading = this.#readings.get(key);
    if (reading === undefined) return;
    reading.basePackets = -reading.packets;
    reading.baseBytes = -reading.bytes;
  }

  /** What has come through since the pinhole was opened, or undefined when it is not there. */
  read(key: string): Counters | undefined {
    const reading = this.#readings.get(key);
    if (reading === undefined) return undefined;
    return {
      packets: reading.basePackets + reading.packets,
      bytes: reading.baseBytes + reading.bytes,
    };
  }

  #read(key: string, counters: Counters | undefined): Reading {
    const before = this.#readings.get(key);
    const reading = before ?? { packets: 0, bytes: 0, basePackets: 0, baseBytes: 0 };
    if (counters === undefined) return reading;
    const { packets, bytes } = counters;
    if (packets < reading.packets) reading.basePackets += reading.packets;
    if (bytes < reading.bytes) reading.baseBytes += reading.bytes;
    reading.packets = packets;
    reading.bytes = bytes;
    return reading;
  }
}
