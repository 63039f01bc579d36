/**
 * The kernel's clocks, for times that are compared with the kernel's own.
 *
 * @module
 */
import { check, libc } from "./libc.ts";

const CLOCK_MONOTONIC = 1;

/** CLOCK_MONOTONIC, as eBPF programs read it. Nanoseconds. */
export function monotonicNanoseconds(): bigint {
  const time = new DataView(new ArrayBuffer(16));
  check("clock_gettime", libc.clock_gettime(CLOCK_MONOTONIC, time));
  return time.getBigInt64(0, true) * 1_000_000_000n + time.getBigInt64(8, true);
}
