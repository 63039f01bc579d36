/**
 * What servers may take a request's target for: percent codes once or several times, over-long UTF-8, IIS's %u codes,
 * backslashes.
 *
 * @module
 */

/** Decoding is tried so many times. */
const MOST_ROUNDS = 4;

/** The target as it stands, and in each way that it can be read. */
export function readings(target: string): string[] {
  const all = [target];
  let text = target;
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const next = decoded(text);
    if (next === text) break;
    all.push(next);
    text = next;
  }
  const plain = overlong(text).replaceAll("\\", "/");
  if (!all.includes(plain)) all.push(plain);
  const resolved = withoutDots(plain);
  if (!all.includes(resolved)) all.push(resolved);
  return all;
}

function decoded(text: string): string {
  return text.replace(
    /%u00([0-9a-f]{2})|%([0-9a-f]{2})/gi,
    (_, wide?: string, code?: string) => String.fromCharCode(parseInt(wide ?? code ?? "", 16)),
  );
}

/**
 * Characters of ASCII that were written with two bytes, also with a second byte that UTF-8 does not have: IIS took the
 * low six bits of whatever came.
 */
function overlong(text: string): string {
  return text.replace(
    /[\xc0\xc1]([\0-\xff])/g,
    (pair, low: string) =>
      String.fromCharCode((pair.charCodeAt(0) & 0x1f) << 6 | low.charCodeAt(0) & 0x3f),
  );
}

function withoutDots(text: string): string {
  return text.replace(/\/(\.?\/)+/g, "/");
}
