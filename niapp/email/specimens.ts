/**
 * What of a message is to be checked: the decoded bytes of every part in every reading, and of what is packed within.
 *
 * @module
 */
import { openArchive } from "./archive.ts";
import { decodeBase64, decodeQuotedPrintable, decodeUu } from "./mime/decode.ts";
import { filename } from "./mime/fields.ts";
import type { MimeParser, Part } from "./mime/parser.ts";
import { everyReading, newParts } from "./mime/readings.ts";
import { openTnef } from "./tnef.ts";

/** Bounds of what is opened of one message. */
export interface SpecimenLimits {
  /** Files of one archive. */
  readonly archiveFiles: number;
  /** Bytes of one archive's files together. */
  readonly archiveBytes: number;
  /** Bytes of all specimens of a message together. */
  readonly bytes: number;
}

/** The range of a message that holds a specimen. */
export interface Place {
  /** `part`: the part from its header on. `body`: its body alone. `text`: a file within text. */
  readonly kind: "part" | "body" | "text";
  readonly start: number;
  readonly end: number;
  readonly part: Part;
}

/** Something to check. */
export interface Specimen {
  readonly bytes: Uint8Array;
  /** For people: the file's name, and of what holds it. */
  readonly name: string;
  readonly place: Place;
  /** It is another reader's view of bytes that were a specimen already. */
  readonly other: boolean;
}

/** Why something in a message cannot be looked at. */
export type Sealed =
  | "encrypted archive"
  | "archive is too large"
  | "archive of an unknown compression"
  | "damaged archive"
  | "a piece of a message"
  | "yEnc"
  | "BinHex"
  | "too many readings"
  | "too many parts or fields"
  | "too much in one message";

/** All specimens of a message, and what is sealed. */
export interface Examined {
  readonly specimens: readonly Specimen[];
  readonly sealed: readonly { readonly why: Sealed; readonly place: Place | undefined }[];
  readonly readings: number;
}

/** Messages within messages that are decoded first. */
const MOST_NESTED = 4;

/**
 * Takes a message apart.
 *
 * @param usual its usual reading, when it was made while the message came.
 */
export function examine(message: Uint8Array, limits: SpecimenLimits, usual?: MimeParser): Examined {
  const examiner = new Examiner(limits);
  const readings = examiner.message(message, usual, undefined, "", 0);
  return { specimens: examiner.specimens, sealed: examiner.sealed, readings };
}

class Examiner {
  readonly specimens: Specimen[] = [];
  readonly sealed: { why: Sealed; place: Place | undefined }[] = [];
  readonly #limits: SpecimenLimits;
  #bytes = 0;

  constructor(limits: SpecimenLimits) {
    this.#limits = limits;
  }

  message(
    message: Uint8Array,
    usual: MimeParser | undefined,
    within: Place | undefined,
    prefix: string,
    depth: number,
  ): number {
    const { all, tooMany } = everyReading(message, usual);
    if (tooMany) this.#seal("too many readings", within);
    if (all.some(({ parser }) => parser.exceeded)) this.#seal("too many parts or fields", within);
    for (const part of newParts(all)) this.#part(message, part, within, prefix, depth);
    return all.length;
  }

  #part(
    message: Uint8Array,
    part: Part,
    within: Place | undefined,
    prefix: string,
    depth: number,
  ): void {
    const place = within ?? {
      kind: part.within === "multipart" ? "part" as const : "body" as const,
      start: part.within === "multipart" ? part.start : part.bodyStart,
      end: part.bodyEnd,
      part,
    };
    const name = prefix + (filename(part.fields) ?? part.type);
    if (part.partial) this.#seal("a piece of a message", place);
    if (part.opaque !== undefined) {
      this.#seal(part.opaque === "yenc" ? "yEnc" : "BinHex", place);
    }
    let other = false;
    for (const bytes of decodings(message, part)) {
      this.#add(bytes, name, place, other);
      other = true;
      const isMessage = /^(message|multipart)\//.test(part.type);
      if (
        isMessage && part.encodings.some((e) => /base64|quoted|uu/.test(e)) && depth < MOST_NESTED
      ) {
        const inner = part.type.startsWith("multipart/") ? withType(part, bytes) : bytes;
        this.message(inner, undefined, place, `${name}/`, depth + 1);
      }
    }
    for (const at of part.uu) {
      const file = decodeUu(message, at, part.bodyEnd);
      if (file === undefined) continue;
      const region: Place = within ?? { kind: "text", start: file.start, end: file.end, part };
      this.#add(file.bytes, prefix + file.name, region, false);
    }
  }

  #add(bytes: Uint8Array, name: string, place: Place, other: boolean): void {
    this.#bytes += bytes.length;
    if (this.#bytes > this.#limits.bytes) return this.#seal("too much in one message", place);
    this.specimens.push({ bytes, name, place, other });
    this.#open(bytes, name, place);
  }

  #open(bytes: Uint8Array, name: string, place: Place): void {
    const packed = openTnef(bytes) ?? this.#archive(bytes, place);
    for (const file of packed ?? []) {
      this.#bytes += file.bytes.length;
      if (this.#bytes > this.#limits.bytes) return this.#seal("too much in one message", place);
      const specimen = { bytes: file.bytes, name: `${name}/${file.name}`, place, other: false };
      this.specimens.push(specimen);
    }
  }

  #archive(
    bytes: Uint8Array,
    place: Place,
  ): readonly { readonly name: string; readonly bytes: Uint8Array }[] | undefined {
    const { archiveFiles: files, archiveBytes } = this.#limits;
    const archive = openArchive(bytes, { files, bytes: archiveBytes });
    if (archive === undefined) return undefined;
    switch (archive.sealed) {
      case "encrypted":
        this.#seal("encrypted archive", place);
        break;
      case "too large":
        this.#seal("archive is too large", place);
        break;
      case "unknown compression":
        this.#seal("archive of an unknown compression", place);
        break;
      case "damaged":
        this.#seal("damaged archive", place);
        break;
      case undefined:
    }
    return archive.files;
  }

  #seal(why: Sealed, place: Place | undefined): void {
    if (this.sealed.some((s) => s.why === why && s.place === place)) return;
    if (this.sealed.length < 100) this.sealed.push({ why, place });
  }
}

/** A multipart that was encoded as a whole: its parts are told by the type in its header. */
function withType(part: Part, bytes: Uint8Array): Uint8Array {
  const type = part.fields.find((field) => field.name === "content-type")?.value ?? "";
  const header = new TextEncoder().encode(`Content-Type:${type}\r\n\r\n`);
  const out = new Uint8Array(header.length + bytes.length);
  out.set(header);
  out.set(bytes, header.length);
  return out;
}

/** Every way to decode a part's body. The first is the usual one. */
export function* decodings(message: Uint8Array, part: Part): Generator<Uint8Array> {
  const { bodyStart, bodyEnd } = part;
  const done = new Set<string>();
  for (const encoding of part.encodings) {
    for (const kind of kindsOf(encoding)) {
      if (done.has(kind)) continue;
      done.add(kind);
      if (kind === "plain") {
        yield message.subarray(bodyStart, bodyEnd);
        // Where a message's end ends a file, the last line break may be none of the file's.
        const text = part.path === "" && part.type.startsWith("text/");
        if (part.open && !text && message[bodyEnd - 1] === 0x0a && bodyEnd > bodyStart) {
          yield message.subarray(bodyStart, bodyEnd - (message[bodyEnd - 2] === 0x0d ? 2 : 1));
        }
      } else if (kind === "uu") {
        yield decodeUu(message, part.uu[0] ?? bodyStart, bodyEnd)?.bytes ??
          message.subarray(bodyStart, bodyEnd);
      } else {
        const decode = kind === "base64" ? decodeBase64 : decodeQuotedPrintable;
        const { bytes, others } = decode(message, bodyStart, bodyEnd);
        yield bytes;
        yield* others;
      }
    }
  }
}

type Kind = "plain" | "base64" | "quoted-printable" | "uu";

function kindsOf(encoding: string): Kind[] {
  switch (encoding) {
    case "":
    case "7bit":
    case "8bit":
    case "binary":
      return ["plain"];
    case "base64":
      return ["base64"];
    case "quoted-printable":
      return ["quoted-printable"];
    case "uuencode":
    case "x-uuencode":
    case "x-uue":
    case "uue":
      return ["uu"];
    default: {
      // Not a name that is known: taken for nothing, or for what it looks like.
      const like: Kind[] = ["plain"];
      if (/b.*64/.test(encoding)) like.push("base64");
      if (/quoted|print|qp/.test(encoding)) like.push("quoted-printable");
      if (/uu/.test(encoding)) like.push("uu");
      return like;
    }
  }
}
