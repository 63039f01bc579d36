/**
 * Options of scanners that stand in files of their own. A scanner has no files: what stands there is read with the
 * configuration and given to it with its options.
 *
 * @module
 */
import { z } from "zod";
import { ConfigError, parseYaml, unreadable } from "../config/yaml.ts";

/** Bytes of such a file at most: options are kept in memory, and told to the scanner at its start. */
const LONGEST = 64 * 1024;

type Options = Readonly<Record<string, unknown>>;

/** Options that name files, by what becomes of them. */
const FILES: Readonly<Record<string, (text: string, path: string) => unknown[]>> = {
  /** Digests, one a line, with comments. */
  digests_file: (text) =>
    text.split("\n").map((line) => line.replace(/#.*/, "").trim()).filter((line) => line !== ""),
  /** Rules of the http scanner, as a list. */
  rules_file: (text, path) => parseYaml(z.array(z.unknown()).nullish(), text, path) ?? [],
};

/**
 * Options with what stands in the files that they name, after what they have themselves.
 *
 * @throws {ConfigError} that tells the place in the file.
 */
export function readOptionFiles(options: Options): Options {
  const read: Record<string, unknown> = { ...options };
  for (const [key, parse] of Object.entries(FILES)) {
    const path = read[key];
    if (path === undefined) continue;
    delete read[key];
    const name = key.slice(0, -"_file".length);
    const own = read[name] ?? [];
    if (typeof path !== "string" || !path.startsWith("/") || !Array.isArray(own)) {
      throw new ConfigError([{
        file: key,
        line: 1,
        column: 1,
        message: "expected an absolute path, beside a list",
      }]);
    }
    read[name] = [...own, ...parse(readText(path), path)];
  }
  return read;
}

function readText(path: string): string {
  try {
    const { size } = Deno.statSync(path);
    if (size > LONGEST) throw new RangeError(`it has more than ${LONGEST} bytes`);
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}
