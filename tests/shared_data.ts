/**
 * Real captures, device outputs and mails with known answers lie beside the checkout, in ../shared/data, or
 * in `$DIAPER_SHARED/data`. Where they are not, tests that need them skip and say so.
 *
 * @module
 */
import { existsSync } from "node:fs";

const ROOT = Deno.env.get("DIAPER_SHARED") ??
  decodeURIComponent(new URL("../../shared", import.meta.url).pathname);

/** The path of something in shared data, or undefined when it is not here. */
export function sharedData(path: string): string | undefined {
  const full = `${ROOT}/data/${path}`;
  return existsSync(full) ? full : undefined;
}

/** Registers a test of shared data, which is skipped with a word where there is none. */
export function sharedTest(
  name: string,
  path: string,
  run: (directory: string) => void | Promise<void>,
): void {
  const directory = sharedData(path);
  Deno.test({
    name: directory === undefined ? `${name} (skipped: shared/data/${path} is not here)` : name,
    ignore: directory === undefined,
    fn: () => run(directory as string),
  });
}

/** All files below a directory whose names end in one of the endings, in order. */
export function filesBelow(directory: string, endings: readonly string[]): string[] {
  return [...Deno.readDirSync(directory)].flatMap((entry) => {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory) return filesBelow(path, endings);
    return endings.some((ending) => entry.name.endsWith(ending)) ? [path] : [];
  }).sort();
}
