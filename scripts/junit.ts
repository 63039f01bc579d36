/**
 * Reads the JUnit report of `deno test`.
 *
 * @module
 */

/** One test or test step. */
export interface TestCase {
  readonly name: string;
  readonly file: string;
  readonly outcome: "passed" | "failed" | "skipped";
}

/** The test cases of a report that `deno test --junit-path` wrote, in its order. */
export function readJunit(xml: string): TestCase[] {
  return [...xml.matchAll(/<testcase ([^>]*?)(?:\/>|>(.*?)<\/testcase>)/gs)].map((match) => {
    const [, attributes = "", content = ""] = match;
    return {
      name: attribute(attributes, "name"),
      file: attribute(attributes, "classname"),
      outcome: /<(failure|error)\b/.test(content)
        ? "failed"
        : /<skipped\b/.test(content)
        ? "skipped"
        : "passed",
    };
  });
}

function attribute(attributes: string, name: string): string {
  const value = new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes)?.[1] ?? "";
  return value.replace(/&(lt|gt|quot|apos|amp|#\d+|#x[0-9a-f]+);/gi, (_, entity: string) => {
    if (entity.startsWith("#")) {
      const hex = /^#x/i.test(entity);
      return String.fromCodePoint(parseInt(entity.slice(hex ? 2 : 1), hex ? 16 : 10));
    }
    return ENTITIES[entity.toLowerCase()] ?? "";
  });
}

const ENTITIES: Readonly<Record<string, string>> = {
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  amp: "&",
};
