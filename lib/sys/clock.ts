/**
 * The kernel's clocks, for times that are compared with the kernel's own.
 *
 * @module
 */
import { check, libc } from "./libc.ts";

const CLOCK_MONOTONIC = 1;
const PR_SET_TIMERSLACK = 29;

/** CLOCK_MONOTONIC, as eBPF programs read it. Nanoseconds. */
export function monotonicNanoseconds(): bigint {
  const time = new DataView(new ArrayBuffer(16));
  check("clock_gettime", libc.clock_gettime(CLOCK_MONOTONIC, time));
  return time.getBigInt64(0, true) * 1_000_000_000n + time.getBigInt64(8, true);
}

/**
 * Lets whatever this thread waits for by a time-out come later, so that the kernel can wait for it together with
 * its own clock tick (PR_SET_TIMERSLACK). Else a thread that sleeps for a millisecond again and again, and is
 * woken before, has the kernel set the processor's timer twice each time: 7 microseconds each on virtual
 * machines.
 *
 * @param ms at most; ticks are 1 to 10 ms apart. 0: as usual, which is 50 microseconds.
 */
export function tolerateLateTimers(ms: number): void {
  check("prctl PR_SET_TIMERSLACK", libc.prctl(PR_SET_TIMERSLACK, BigInt(ms * 1e6), 0n, 0n, 0n));
}
