/**
 * Names and parameters in header fields: RFC 2231 continuations and character sets, RFC 2047 encoded words.
 *
 * @module
 */
import { decodeBase64, decodeQuotedPrintable } from "./decode.ts";

const LATIN1 = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0) & 255);

/** Decodes encoded words within text whose characters are bytes; what is not one stays as it is. */
export function decodeWords(text: string): string {
  if (!text.includes("=?")) return utf8(text);
  // White space between two encoded words is not part of the text.
  const joined = text.replace(/(\?=)\s+(?==\?[^?\s]+\?[bBqQ]\?)/g, "$1");
  let at = 0;
  let out = "";
  for (const word of joined.matchAll(/=\?([^?\s]*)\?([bBqQ])\?([^?]*)\?=/g)) {
    const [whole, charset = "", encoding = "", data = ""] = word;
    out += utf8(joined.slice(at, word.index));
    const bytes = encoding.toLowerCase() === "b"
      ? decodeBase64(LATIN1(data)).bytes
      : decodeQuotedPrintable(LATIN1(data.replaceAll("_", " "))).bytes;
    out += inCharset(bytes, charset);
    at = word.index + whole.length;
  }
  return out + utf8(joined.slice(at));
}

/** Bytes in a named character set; UTF-8 when there is no such set. */
export function inCharset(bytes: Uint8Array, charset: string): string {
  try {
    return new TextDecoder(charset.split("*")[0] || "utf-8").decode(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return new TextDecoder().decode(bytes);
  }
}

/** Text of bytes that are UTF-8 (RFC 6532). Without a byte above 127 it is the same. */
export function utf8(text: string): string {
  // deno-lint-ignore no-control-regex -- bytes of ASCII
  return /^[\x00-\x7f]*$/.test(text) ? text : new TextDecoder().decode(LATIN1(text));
}

/**
 * The value of a parameter, put together from continuations and decoded (RFC 2231), or from encoded words.
 *
 * @param params names in small letters, as they stand, with values.
 */
export function parameter(
  params: readonly (readonly [string, string])[],
  name: string,
): string | undefined {
  const plain = params.find(([key]) => key === name)?.[1];
  const extended = extendedParameter(params, name);
  if (extended !== undefined) return extended;
  return plain === undefined ? undefined : decodeWords(plain);
}

/** As {@link parameter}, of the extended forms (`name*`, `name*0`, `name*0*`) only. */
export function extendedParameter(
  params: readonly (readonly [string, string])[],
  name: string,
): string | undefined {
  const sections = new Map<number, { value: string; encoded: boolean }>();
  for (const [key, value] of params) {
    const found = key.startsWith(`${name}*`)
      ? /^\*(?:(\d{1,3})(\*)?)?$/.exec(key.slice(name.length))
      : null;
    if (found === null) continue;
    const number = Number(found[1] ?? 0);
    const encoded = found[1] === undefined || found[2] !== undefined;
    if (!sections.has(number)) sections.set(number, { value, encoded });
  }
  if (sections.size === 0) return undefined;
  let charset = "";
  let bytes = "";
  for (const [place, number] of [...sections.keys()].sort((a, b) => a - b).entries()) {
    let { value, encoded } = sections.get(number) as { value: string; encoded: boolean };
    if (place === 0 && encoded) {
      const parts = value.split("'");
      if (parts.length >= 3) {
        charset = parts[0] ?? "";
        value = parts.slice(2).join("'");
      }
    }
    bytes += encoded ? percentDecoded(value) : value;
  }
  return inCharset(LATIN1(bytes), charset);
}

function percentDecoded(text: string): string {
  return text.replace(
    /%([0-9a-fA-F]{2})/g,
    (_, code: string) => String.fromCharCode(parseInt(code, 16)),
  );
}
