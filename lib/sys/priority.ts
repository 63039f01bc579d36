/**
 * How urgent threads are to the scheduler (setpriority(2)).
 *
 * @module
 */
import { libc } from "./libc.ts";

const PRIO_PROCESS = 0;

/**
 * Sets how nice a thread is; those that it starts later are as nice.
 *
 * @param thread 0: the calling one; a process: its first one.
 * @param nice from -20 (most urgent) to 19.
 * @returns false without the right to.
 */
export function setNice(thread: number, nice: number): boolean {
  return libc.setpriority(PRIO_PROCESS, thread, nice) === 0;
}
