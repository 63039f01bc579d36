/**
 * Becoming another program (execve(2)).
 *
 * @module
 */
import { errno, SystemError } from "./libc.ts";

const SYMBOLS = {
  execve: { parameters: ["buffer", "buffer", "buffer"], result: "i32" },
  signal: { parameters: ["i32", "usize"], result: "pointer" },
  sigprocmask: { parameters: ["i32", "buffer", "pointer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

const SIGPIPE = 13;
const SIG_SETMASK = 2;

/**
 * Replaces this process by a program. Does not return when it succeeds; nothing of this process stays but its
 * number, its standard descriptors and its place.
 *
 * @param path the executable; no search is made.
 * @throws {SystemError} when the kernel does not take it.
 */
export function execute(
  path: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): never {
  const { symbols } = Deno.dlopen("libc.so.6", SYMBOLS);
  const encode = (text: string) => new TextEncoder().encode(text.replaceAll("\0", "") + "\0");
  // Kept in variables until the call: the kernel reads them by address.
  const strings = [path, ...args].map(encode);
  const variables = Object.entries(environment).map(([k, v]) => encode(`${k}=${v}`));
  const argv = pointers(strings);
  const envp = pointers(variables);
  // The runtime ignores SIGPIPE, which a program would inherit; handlers do not survive, masks do.
  symbols.signal(SIGPIPE, 0n);
  symbols.sigprocmask(SIG_SETMASK, new Uint8Array(128), null);
  symbols.execve(encode(path), argv, envp);
  throw new SystemError(`execute ${path}`, errno());
}

function pointers(strings: readonly Uint8Array<ArrayBuffer>[]): BigUint64Array<ArrayBuffer> {
  const table = new BigUint64Array(strings.length + 1);
  strings.forEach((s, i) => table[i] = Deno.UnsafePointer.value(Deno.UnsafePointer.of(s)));
  return table;
}
