/**
 * How infected parts are taken out of a message so that what is left is a valid one: which bytes are cut, and which
 * registered text takes their place.
 *
 * @module
 */
import type { Place } from "./specimens.ts";

/** Registered bytes by what they are for. */
export type Text = "part" | "type" | "body";

/** One change: bytes are cut, then text is put there. */
export interface Change {
  readonly start: number;
  readonly end: number;
  readonly text: Text | undefined;
}

/**
 * The changes that take these places out.
 *
 * @param message its length.
 * @param whole what goes when places overlap in a way that leaves no whole part, or when there are none.
 */
export function removal(places: readonly Place[], length: number, whole: Place): Change[] {
  const sorted = withoutInner(places.flatMap(changesOf));
  if (sorted.length === 0) return withoutInner(changesOf(whole));
  const clean = sorted.every(({ start, end }, i) =>
    start <= end && end <= length && (i === 0 || start >= (sorted[i - 1] as Change).end)
  );
  return clean ? sorted : withoutInner(changesOf(whole));
}

const STAND_IN = new TextEncoder().encode("Content-Type: text/plain\r\n\r\nremoved\r\n");
const STAND_IN_TYPE = new TextEncoder().encode("Content-Type: text/plain\r\n");

/** The message after the changes, with short texts in place of the registered ones, to be looked at again. */
export function edited(message: Uint8Array, changes: readonly Change[]): Uint8Array {
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const { start, end, text } of changes) {
    pieces.push(message.subarray(at, start));
    if (text === "part") pieces.push(STAND_IN);
    else if (text === "type") pieces.push(STAND_IN_TYPE);
    at = end;
  }
  pieces.push(message.subarray(at));
  const out = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let length = 0;
  for (const piece of pieces) {
    out.set(piece, length);
    length += piece.length;
  }
  return out;
}

function changesOf(place: Place): Change[] {
  if (place.kind === "part") return [{ start: place.start, end: place.end, text: "part" }];
  if (place.kind === "text") return [{ start: place.start, end: place.end, text: "body" }];
  const described = place.part.fields.filter((field) =>
    /^content-(?!length)|^content\W/.test(field.name)
  );
  const at = place.part.fields.at(-1)?.end ?? place.part.start;
  return [
    ...described.map(({ start, end }) => ({ start, end, text: undefined })),
    { start: at, end: at, text: "type" },
    { start: place.start, end: place.end, text: "body" },
  ];
}

function withoutInner(changes: readonly Change[]): Change[] {
  const sorted = [...changes].sort((a, b) => a.start - b.start || b.end - a.end);
  const out: Change[] = [];
  for (const change of sorted) {
    const last = out.at(-1);
    const twice = last !== undefined && last.start === change.start && last.end === change.end &&
      last.text === change.text;
    const inside = last !== undefined && change.end <= last.end && change.start < last.end;
    if (!twice && !inside) out.push(change);
  }
  return out;
}
