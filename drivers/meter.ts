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
    for (const [key, counters] of shown) {
      const before = this.#readings.get(key);
      const reading = before ?? { packets: 0, bytes: 0, basePackets: 0, baseBytes: 0 };
      next.set(key, reading);
      if (counters === undefined) continue;
      const { packets, bytes } = counters;
      if (packets < reading.packets) reading.basePackets += reading.packets;
      if (bytes < reading.bytes) reading.baseBytes += reading.bytes;
      reading.packets = packets;
      reading.bytes = bytes;
    }
    this.#readings = next;
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
}
