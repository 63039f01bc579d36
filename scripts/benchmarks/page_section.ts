/**
 * Pages of figures whose sections are written by several benchmarks, each by itself.
 *
 * @module
 */
import { existsSync } from "node:fs";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/**
 * Writes one section of a page, in place of the one that is there.
 *
 * @param page its path in the repository; a page that is not there is begun.
 * @param lines Markdown below the heading.
 */
export function writeSection(page: string, heading: string, lines: readonly string[]): void {
  const path = `${ROOT}${page}`;
  const before = existsSync(path) ? Deno.readTextFileSync(path) : "# The console, measured\n";
  const sections = before.trimEnd().split(/\n(?=## )/);
  const own = `## ${heading}\n\n${lines.join("\n")}`;
  const at = sections.findIndex((section) => section.startsWith(`## ${heading}\n`));
  if (at < 0) sections.push(own);
  else sections[at] = own;
  Deno.writeTextFileSync(path, sections.map((section) => section.trimEnd()).join("\n\n") + "\n");
}
