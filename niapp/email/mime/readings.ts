/**
 * Every reading of a message that matters: the usual one first, then each one that differs where the message is
 * doubtful.
 *
 * @module
 */
import { DOUBT, MimeParser, type Part, type Reading, USUAL } from "./parser.ts";

/** One reading and what it found. */
export interface Read {
  readonly reading: Reading;
  readonly parser: MimeParser;
}

/** All readings of a message. */
export interface Readings {
  readonly all: readonly Read[];
  /** There would be more: nobody can say what the message is. */
  readonly tooMany: boolean;
}

/** Readings of one message at most. */
const MOST_READINGS = 48;
/** Bytes that are read at most, in all readings together, beyond the first. */
const MOST_BYTES = 256 * 1024 * 1024;

/** Reads a message in one way. */
export function read(message: Uint8Array, reading: Reading = USUAL): MimeParser {
  const parser = new MimeParser(reading);
  parser.take(message);
  parser.end();
  return parser;
}

/**
 * Reads a message in every way that can differ.
 *
 * @param usual the usual reading, when it was made already.
 */
export function everyReading(message: Uint8Array, usual: MimeParser = read(message)): Readings {
  const all: Read[] = [{ reading: USUAL, parser: usual }];
  const known = new Set([key(USUAL)]);
  let budget = MOST_BYTES;
  for (let at = 0; at < all.length; at++) {
    const { reading, parser } = all[at] as Read;
    for (const next of others(reading, parser)) {
      if (known.has(key(next))) continue;
      budget -= message.length;
      if (all.length >= MOST_READINGS || budget < 0) return { all, tooMany: true };
      known.add(key(next));
      all.push({ reading: next, parser: read(message, next) });
    }
  }
  return { all, tooMany: false };
}

function* others(reading: Reading, parser: MimeParser): Generator<Reading> {
  for (let type = 0; type < parser.types; type++) yield { ...reading, type };
  for (let boundary = 0; boundary < parser.boundaries; boundary++) yield { ...reading, boundary };
  for (const doubt of Object.values(DOUBT)) {
    if ((parser.doubts & doubt) !== 0) yield { ...reading, doubts: reading.doubts | doubt };
  }
}

function key({ doubts, type, boundary }: Reading): string {
  return `${doubts} ${type} ${boundary}`;
}

/** A part that was not met in an earlier reading, by its place and what it may be encoded with. */
export function newParts(readings: readonly Read[]): Part[] {
  const known = new Set<string>();
  return readings.flatMap(({ parser }) =>
    parser.parts.filter((part) => {
      const name = `${part.bodyStart} ${part.bodyEnd} ${part.encodings}`;
      return known.has(name) ? false : known.add(name);
    })
  );
}
