/**
 * Resource limits of this process (getrlimit(2)).
 *
 * @module
 */
const SYMBOLS = {
  getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

const RLIMIT_NOFILE = 7;

/**
 * Allows this process as many descriptors as its hard limit does.
 *
 * @returns the limit that now holds.
 */
export function raiseDescriptorLimit(): number {
  const library = Deno.dlopen("libc.so.6", SYMBOLS);
  try {
    const limit = new BigUint64Array(2);
    if (library.symbols.getrlimit(RLIMIT_NOFILE, limit) !== 0) return 1024;
    const soft = limit[0] as bigint;
    limit[0] = limit[1] as bigint;
    return Number(library.symbols.setrlimit(RLIMIT_NOFILE, limit) === 0 ? limit[0] : soft);
  } finally {
    library.close();
  }
}
