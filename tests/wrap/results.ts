/**
 * Runs the cases of a module of namespace.ts and prints what became of each.
 *
 * @module
 */

/**
 * Runs cases one after the other and prints `{name: "ok" | why}` as the last line.
 *
 * @param failed is called after a case that failed, so that the next one begins anew.
 */
export async function cases(
  all: Readonly<Record<string, () => Promise<void>>>,
  failed: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const results: Record<string, string> = {};
  for (const [name, work] of Object.entries(all)) {
    try {
      await work();
      results[name] = "ok";
    } catch (error) {
      results[name] = error instanceof Error ? error.stack ?? error.message : String(error);
      await failed();
    }
  }
  await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(results) + "\n"));
}
