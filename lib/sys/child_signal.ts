/**
 * Signals to children that may have ended by themselves meanwhile.
 *
 * @module
 */

/** Sends a signal to a child; one that has ended already needs none. */
export function signalChild(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    // Deno tells so of a child that has ended, whether or not its status was read.
    const ended = error instanceof TypeError || error instanceof Deno.errors.NotFound;
    if (!ended) throw error;
  }
}
