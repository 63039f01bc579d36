/**
 * Network namespaces (network_namespaces(7)).
 *
 * @module
 */
import { errno, SystemError } from "./libc.ts";

const SYMBOLS = {
  unshare: { parameters: ["i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

const CLONE_NEWNET = 0x40000000;

/**
 * Moves this thread, and the programs that it starts from now on, into a network namespace of its own that
 * ends with them. There is no way back.
 *
 * @throws {SystemError} without the right to do so.
 */
export function enterOwnNetwork(): void {
  const library = Deno.dlopen("libc.so.6", SYMBOLS);
  try {
    if (library.symbols.unshare(CLONE_NEWNET) !== 0) throw new SystemError("unshare", errno());
  } finally {
    library.close();
  }
}
