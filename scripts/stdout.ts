/**
 * Plain output of the scripts, written whole.
 *
 * @module
 */

/** Writes all of it to standard output: a pipe may take only a part at a time. */
export function print(output: string | Uint8Array): void {
  const bytes = typeof output === "string" ? new TextEncoder().encode(output) : output;
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}
