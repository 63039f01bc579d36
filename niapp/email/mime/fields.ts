/**
 * Header fields of a mail, and every meaning that readers give to them when they are doubtful: fields that are there
 * twice, comments in strange places, parameters without their marks.
 *
 * @module
 */
import { decodeWords, extendedParameter, parameter } from "./words.ts";

/** A header field. Positions count the bytes of the message. */
export interface Field {
  /** Small letters, without blanks before the colon. */
  readonly name: string;
  /** Unfolded; each character is a byte. */
  value: string;
  /** Where it begins. */
  readonly start: number;
  /** Behind its last line break. */
  end: number;
}

/** Boundaries that one field can mean are this many at most. */
const MOST_BOUNDARIES = 8;

/** What a lenient reader takes a field's name for: without comments and what names cannot have. */
export function lenientName(name: string): string {
  return name.replace(/\([^)]*\)?/g, "").replace(/[^a-z0-9-]/g, "");
}

/**
 * The values that readers may take a field's for: first what the name says strictly, in order, then what only
 * lenient readers see. undefined, in front, stands for the field's absence.
 */
export function candidates(fields: readonly Field[], name: string): (string | undefined)[] {
  const strict = fields.filter((field) => field.name === name).map((field) => field.value);
  const lenient = fields.filter((field) => field.name !== name && lenientName(field.name) === name)
    .map((field) => field.value);
  const all = [...strict.length === 0 ? [undefined] : strict, ...lenient];
  return all.filter((value, place) => all.indexOf(value) === place);
}

/** A structured value: `token; name=value; ...`. */
export interface Structured {
  /** Small letters. */
  readonly token: string;
  /** In order; names in small letters, quotes taken away. */
  readonly params: readonly (readonly [string, string])[];
}

/** Takes a value apart as the standards say. */
export function structured(value: string): Structured {
  const [token = "", ...rest] = splitOutsideQuotes(withoutComments(value));
  const params = rest.flatMap((text): [string, string][] => {
    const at = text.indexOf("=");
    if (at === -1) return [];
    return [[text.slice(0, at).trim().toLowerCase(), unquoted(text.slice(at + 1).trim())]];
  });
  return { token: token.trim().toLowerCase(), params };
}

/** A file's name, from Content-Disposition and Content-Type. */
export function filename(fields: readonly Field[]): string | undefined {
  for (
    const [field, name] of [["content-disposition", "filename"], ["content-type", "name"]] as const
  ) {
    const value = candidates(fields, field).find((text) => text !== undefined);
    if (value === undefined) continue;
    const found = parameter(structured(value).params, name);
    if (found !== undefined && found !== "") return found;
  }
  return undefined;
}

/** A field's text for people, or undefined. */
export function fieldText(fields: readonly Field[], name: string): string | undefined {
  const value = fields.find((field) => field.name === name)?.value;
  return value === undefined ? undefined : decodeWords(value.trim());
}

/** The boundaries that readers may find in a Content-Type, the standards' own first. */
export function boundaries(value: string): string[] {
  const found: string[] = [];
  const add = (text: string | undefined) => {
    const boundary = text?.replace(/[\s\0]+$/, "");
    if (boundary === undefined || boundary === "" || boundary.length > 500) return;
    if (!found.includes(boundary) && found.length < MOST_BOUNDARIES) found.push(boundary);
  };
  const { params } = structured(value);
  const plain = params.filter(([name]) => name === "boundary").map(([, text]) => text);
  const extended = extendedParameter(params, "boundary");
  add(plain[0] ?? extended);
  plain.slice(1).forEach(add);
  add(extended);
  for (const text of [...found]) {
    add(text.split(";")[0]);
    add(text.split(/[\s(]/)[0]);
    if (text.includes("=?")) add(decodeWords(text));
    add(text.replaceAll(/["\\]/g, ""));
  }
  for (
    const match of value.matchAll(/boundary\s*(?:\*\d*\*?)?\s*=\s*("(?:[^"\\]|\\.)*"?|[^\s;]*)/gi)
  ) {
    const raw = match[1] ?? "";
    add(unquoted(raw));
    add(raw.split(/[;\s]/)[0]?.replaceAll('"', ""));
  }
  return found;
}

/** The same value without comments, which can be nested (RFC 5322, section 3.2.2). */
export function withoutComments(value: string): string {
  if (!value.includes("(")) return value;
  let out = "";
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < value.length; at++) {
    const letter = value[at] as string;
    if (letter === "\\" && (quoted || depth > 0)) {
      if (depth === 0) out += letter + (value[at + 1] ?? "");
      at++;
      continue;
    }
    if (letter === '"' && depth === 0) quoted = !quoted;
    if (letter === "(" && !quoted) depth++;
    else if (letter === ")" && depth > 0) depth--;
    else if (depth === 0) out += letter;
  }
  // A comment that never ends is none.
  return depth > 0 ? value : out;
}

function splitOutsideQuotes(value: string): string[] {
  const parts: string[] = [];
  let quoted = false;
  let from = 0;
  for (let at = 0; at < value.length; at++) {
    const letter = value[at];
    if (letter === "\\" && quoted) at++;
    else if (letter === '"') quoted = !quoted;
    else if (letter === ";" && !quoted) {
      parts.push(value.slice(from, at));
      from = at + 1;
    }
  }
  parts.push(value.slice(from));
  return parts;
}

function unquoted(text: string): string {
  if (!text.startsWith('"')) return text;
  const inner = /^"((?:[^"\\]|\\.)*)/s.exec(text)?.[1] ?? "";
  return inner.replace(/\\(.)/gs, "$1");
}
