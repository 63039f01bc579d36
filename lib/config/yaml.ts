/**
 * YAML files checked by a schema, with errors at file:line:column.
 *
 * @module
 */
import { type Document, isMap, isNode, isPair, isScalar, LineCounter, parseDocument } from "yaml";
import type { z } from "zod";

/** One thing that is wrong with a configuration. Lines and columns count from 1. */
export interface ConfigProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** A configuration that cannot be used. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly ConfigProblem[];
  constructor(problems: readonly ConfigProblem[]) {
    super(problems.map((p) => `${p.file}:${p.line}:${p.column}: ${p.message}`).join("\n"));
    this.problems = problems;
  }
}

/**
 * Reads YAML.
 *
 * @param schema what may stand there; nothing is an empty object.
 * @param file its name, for messages.
 * @throws {ConfigError} with everything that is wrong with it.
 */
export function parseYaml<T>(schema: z.ZodType<T>, text: string, file: string): T {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = placer(file, lines);
  if (document.errors.length > 0) {
    throw new ConfigError(document.errors.map((e) => at(e.pos[0], e.message)));
  }
  const result = schema.safeParse(plain(document, at) ?? {});
  if (result.success) return result.data;
  const misfits = result.error.issues.flatMap((issue): Misfit[] =>
    issue.code === "unrecognized_keys"
      ? issue.keys.map((key) => ({
        path: [...issue.path, key],
        key: true,
        message: "unknown key",
      }))
      : [{ path: issue.path, key: false, message: issue.message }]
  );
  throw inOrder(misfits.map((m) => located(m, document, at)));
}

/** Something in a configuration that cannot be. */
export interface Misfit {
  readonly path: readonly PropertyKey[];
  /** It is the key at the end of the path that is wrong, and not its value. */
  readonly key: boolean;
  readonly message: string;
}

/** Says where in the text of a configuration, which can be read as such, something stands. */
export function locate(misfits: readonly Misfit[], text: string, file: string): ConfigError {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  return inOrder(misfits.map((m) => located(m, document, placer(file, lines))));
}

/** Makes a problem of an offset in a text. */
type Placer = (offset: number, message: string) => ConfigProblem;

function placer(file: string, lines: LineCounter): Placer {
  return (offset, message) => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col), message };
  };
}

function located({ path, key, message }: Misfit, document: Document, at: Placer): ConfigProblem {
  const name = path.length === 0 ? "" : `${path.join(".")}: `;
  return at(offsetOf(document.contents, path, key), `${name}${message}`);
}

function inOrder(problems: ConfigProblem[]): ConfigError {
  return new ConfigError(problems.sort((a, b) => a.line - b.line || a.column - b.column));
}

/** A file that cannot be read, as a configuration that cannot be used. */
export function unreadable(file: string, cause: unknown): ConfigError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ConfigError([{ file, line: 1, column: 1, message: `cannot be read: ${why}` }]);
}

/** The document as plain values; aliases may not make it grow without end. */
function plain(document: Document, at: Placer): unknown {
  try {
    return document.toJS({ maxAliasCount: 10 });
  } catch (error) {
    throw new ConfigError([at(0, error instanceof Error ? error.message : String(error))]);
  }
}

/**
 * Where in the text a value stands (or its key), or the nearest thing around it that does stand there.
 */
function offsetOf(root: unknown, path: readonly PropertyKey[], key = false): number {
  let node = root;
  let offset = 0;
  for (const [i, step] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === step);
      if (pair === undefined || !isPair(pair)) break;
      if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
      if (key && i === path.length - 1) break;
      node = pair.value;
    } else if (isNode(node) && "items" in node && Array.isArray(node.items)) {
      node = node.items[step as number];
    } else break;
    if (isNode(node) && node.range) offset = node.range[0];
  }
  return offset;
}
