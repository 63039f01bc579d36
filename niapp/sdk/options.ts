/**
 * An administrator's settings for a scanner, read by hand: a scanner has no library but the SDK.
 *
 * @module
 */
import { type IpRange, parsePrefix } from "../../lib/net/ip.ts";

/** Settings as they were given. */
export type Given = Readonly<Record<string, unknown>>;

/** Whole numbers by their names in the configuration: the field, its usual value, the least and the most. */
export type NumberTable = Readonly<
  Record<string, readonly [field: string, usual: number, least: number, most: number]>
>;

/** The fields of a table. */
export type Numbers<Table extends NumberTable> = {
  readonly [Name in keyof Table as Table[Name][0]]: number;
};

/**
 * Reads whole numbers; what is not given has its usual value.
 *
 * @throws {Error} that names the option that is wrong.
 */
export function readNumbers<const Table extends NumberTable>(
  given: Given,
  table: Table,
): Numbers<Table> {
  return Object.fromEntries(
    Object.entries(table).map(([name, [field, usual, least, most]]) => {
      const value = given[name] ?? usual;
      if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
        throw new Error(`option ${name}: expected a whole number from ${least} to ${most}`);
      }
      return [field, value];
    }),
  ) as Numbers<Table>;
}

/**
 * Reads a list of addresses and prefixes.
 *
 * @throws {Error} that names what is wrong.
 */
export function readPrefixes(given: Given, name: string): IpRange[] {
  return readTexts(given, name, "a list of prefixes").map((text) => {
    const range = parsePrefix(text);
    if (range === undefined) {
      throw new Error(`option ${name}: ${JSON.stringify(text)} is not an address or prefix`);
    }
    return range;
  });
}

/**
 * Reads a list of texts; none when it is not given.
 *
 * @param what it should be, for the error.
 * @throws {Error} when it is not one.
 */
export function readTexts(given: Given, name: string, what: string): string[] {
  const value = given[name] ?? [];
  if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) {
    throw new Error(`option ${name}: expected ${what}`);
  }
  return value as string[];
}

/**
 * Reads one of some words.
 *
 * @throws {Error} when it is none of them.
 */
export function readWord<const Word extends string>(
  given: Given,
  name: string,
  words: readonly Word[],
  usual: NoInfer<Word>,
): Word {
  const value = given[name] ?? usual;
  const found = words.find((word) => word === value);
  if (found === undefined) throw new Error(`option ${name}: expected ${words.join(" or ")}`);
  return found;
}

/**
 * Makes sure that all options are known: one that is not would have been meant to do something.
 *
 * @throws {Error} that names the first that is not.
 */
export function refuseUnknown(given: Given, ...known: readonly (readonly string[])[]): void {
  const names = known.flat();
  for (const name of Object.keys(given)) {
    if (!names.includes(name)) throw new Error(`option ${name} is not known`);
  }
}
