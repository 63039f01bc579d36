/**
 * Files within zip, gzip and tar, one level deep and within limits. What an archive says of itself is not believed:
 * a zip is read both by its directory and by the headers before each file.
 *
 * @module
 */
import { Gunzip, Inflate } from "fflate";
import { ascii } from "./mime/decode.ts";

/** Bounds on what is opened. */
export interface ArchiveLimits {
  /** Files of one archive. */
  readonly files: number;
  /** Bytes of all files of one archive together. */
  readonly bytes: number;
}

/** What was found in an archive. */
export interface Archive {
  readonly kind: "zip" | "gzip" | "tar";
  readonly files: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  /** Why there is more than was opened; undefined: there is not. */
  readonly sealed: "encrypted" | "too large" | "unknown compression" | "damaged" | undefined;
}

/** Compressed bytes that are opened in one step: what a step makes of them is bounded by deflate's best ratio. */
const STEP = 4096;

/** Opens an archive; undefined when it is none. */
export function openArchive(data: Uint8Array, limits: ArchiveLimits): Archive | undefined {
  if (data.length >= 18 && data[0] === 0x1f && data[1] === 0x8b && data[2] === 8) {
    return openGzip(data, limits);
  }
  if (isTar(data)) return openTar(data, limits);
  if (isZip(data)) return openZip(data, limits);
  return undefined;
}

class Budget {
  sealed: Archive["sealed"];
  readonly #limits: ArchiveLimits;
  #files = 0;
  bytes = 0;

  constructor(limits: ArchiveLimits) {
    this.#limits = limits;
  }

  file(): boolean {
    if (this.#files++ < this.#limits.files && this.bytes < this.#limits.bytes) return true;
    this.sealed = "too large";
    return false;
  }

  get left(): number {
    return this.#limits.bytes - this.bytes;
  }
}

/** Runs an inflater of fflate over data, up to the budget. */
function inflate(
  data: Uint8Array,
  make: (take: (chunk: Uint8Array) => void) => { push(chunk: Uint8Array, final?: boolean): void },
  budget: Budget,
): Uint8Array {
  const chunks: Uint8Array[] = [];
  let length = 0;
  let idle = 0;
  const stream = make((chunk) => {
    if (chunk.length === 0) return;
    idle = 0;
    const part = chunk.slice(0, Math.max(0, budget.left));
    if (part.length < chunk.length) budget.sealed = "too large";
    budget.bytes += part.length;
    length += part.length;
    chunks.push(part);
  });
  try {
    for (let at = 0; at < data.length && budget.sealed !== "too large"; at += STEP) {
      const last = at + STEP >= data.length;
      stream.push(data.subarray(at, at + STEP), last);
      // What is behind the end of the compressed data brings nothing.
      if (++idle > 16) break;
    }
  } catch {
    // fflate's way to say that the data is damaged; what came before that is kept.
    budget.sealed ??= "damaged";
  }
  const out = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}

function openGzip(data: Uint8Array, limits: ArchiveLimits): Archive {
  const budget = new Budget(limits);
  const bytes = inflate(data, (take) => new Gunzip(take), budget);
  const named = ((data[3] as number) & 12) === 8;
  const end = named ? data.indexOf(0, 10) : -1;
  const name = end === -1 ? "" : ascii(data, 10, Math.min(end, 10 + 255));
  const files = [{ name, bytes }];
  if (isTar(bytes)) {
    const inner = openTar(bytes, limits);
    return {
      kind: "gzip",
      files: [...files, ...inner.files],
      sealed: budget.sealed ?? inner.sealed,
    };
  }
  return { kind: "gzip", files, sealed: budget.sealed };
}

function isTar(data: Uint8Array): boolean {
  if (data.length < 512) return false;
  if (ascii(data, 257, 262) === "ustar") return true;
  // Older ones have a checksum only.
  let sum = 0;
  for (let at = 0; at < 512; at++) sum += at >= 148 && at < 156 ? 0x20 : data[at] as number;
  return data[0] !== 0 && octal(data, 148, 156) === sum;
}

function octal(data: Uint8Array, start: number, end: number): number {
  if (((data[start] as number) & 0x80) !== 0) {
    let value = (data[start] as number) & 0x7f;
    for (let at = start + 1; at < end; at++) value = value * 256 + (data[at] as number);
    return value;
  }
  return parseInt(ascii(data, start, end).replace(/\0.*$/s, "").trim() || "0", 8);
}

function openTar(data: Uint8Array, limits: ArchiveLimits): Archive {
  const budget = new Budget(limits);
  const files: { name: string; bytes: Uint8Array }[] = [];
  for (let at = 0; at + 512 <= data.length;) {
    if (data[at] === 0) {
      at += 512;
      continue;
    }
    const size = octal(data, at + 124, at + 136);
    if (!Number.isSafeInteger(size) || size < 0) {
      budget.sealed = "damaged";
      break;
    }
    const type = String.fromCharCode(data[at + 156] as number);
    if (size > 0 && /[\0 067]/.test(type)) {
      if (!budget.file()) break;
      const bytes = data.subarray(at + 512, Math.min(data.length, at + 512 + size));
      budget.bytes += bytes.length;
      files.push({ name: ascii(data, at, at + 100).replace(/\0.*$/s, ""), bytes });
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return { kind: "tar", files, sealed: budget.sealed };
}

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const DIRECTORY_END = 0x06054b50;

function isZip(data: Uint8Array): boolean {
  if (data.length < 22) return false;
  if (data[0] === 0x50 && data[1] === 0x4b && data[2] === 3 && data[3] === 4) return true;
  return directoryEnd(data) !== -1;
}

/** Where the end of the directory is; a comment of at most 64 KiB may follow. */
function directoryEnd(data: Uint8Array): number {
  const view = viewOf(data);
  const first = Math.max(0, data.length - 22 - 0xffff);
  let at = data.lastIndexOf(0x50, data.length - 22);
  while (at >= first && view.getUint32(at, true) !== DIRECTORY_END) {
    at = at === 0 ? -1 : data.lastIndexOf(0x50, at - 1);
  }
  return at >= first ? at : -1;
}

interface ZipEntry {
  readonly name: string;
  readonly flags: number;
  readonly method: number;
  readonly size: number;
  readonly data: number;
}

function openZip(data: Uint8Array, limits: ArchiveLimits): Archive {
  const budget = new Budget(limits);
  const files: { name: string; bytes: Uint8Array }[] = [];
  const opened = new Set<string>();
  for (const entry of [...byDirectory(data), ...byHeaders(data)]) {
    const key = `${entry.data} ${entry.method} ${entry.size}`;
    if (opened.has(key) || entry.name.endsWith("/")) continue;
    opened.add(key);
    if ((entry.flags & 1) !== 0) {
      budget.sealed ??= "encrypted";
      continue;
    }
    if (!budget.file()) break;
    const raw = data.subarray(
      entry.data,
      entry.size === 0 ? data.length : Math.min(data.length, entry.data + entry.size),
    );
    if (entry.method === 0) {
      // Stored without a length: up to the end is more than it is, but it is all there.
      const bytes = raw.subarray(0, Math.max(0, budget.left));
      if (bytes.length < raw.length) budget.sealed = "too large";
      budget.bytes += bytes.length;
      if (bytes.length > 0) files.push({ name: entry.name, bytes });
    } else if (entry.method === 8) {
      const bytes = inflate(raw, (take) => new Inflate(take), budget);
      if (bytes.length > 0) files.push({ name: entry.name, bytes });
    } else budget.sealed ??= "unknown compression";
  }
  return { kind: "zip", files, sealed: budget.sealed };
}

/** Files as the directory at the end tells them. */
function* byDirectory(data: Uint8Array): Generator<ZipEntry> {
  const end = directoryEnd(data);
  if (end === -1) return;
  const view = viewOf(data);
  const size = view.getUint32(end + 12, true);
  const told = view.getUint32(end + 16, true);
  // What stands in front of the archive moves all offsets.
  const shift = Math.max(0, end - size - told);
  for (let at = told + shift; at + 46 <= end && view.getUint32(at, true) === CENTRAL;) {
    const nameLength = view.getUint16(at + 28, true);
    const local = view.getUint32(at + 42, true) + shift;
    if (local + 30 <= data.length) {
      yield {
        name: ascii(data, at + 46, at + 46 + nameLength),
        flags: view.getUint16(at + 8, true),
        method: view.getUint16(at + 10, true),
        size: view.getUint32(at + 20, true),
        data: local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true),
      };
    }
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
}

/** Files as the headers before them tell, wherever there is one. */
function* byHeaders(data: Uint8Array): Generator<ZipEntry> {
  const view = viewOf(data);
  for (let at = data.indexOf(0x50); at !== -1; at = data.indexOf(0x50, at + 1)) {
    if (at + 30 > data.length || view.getUint32(at, true) !== LOCAL) continue;
    const nameLength = view.getUint16(at + 26, true);
    const start = at + 30 + nameLength + view.getUint16(at + 28, true);
    if (start > data.length) continue;
    yield {
      name: ascii(data, at + 30, at + 30 + nameLength),
      flags: view.getUint16(at + 6, true),
      method: view.getUint16(at + 8, true),
      size: view.getUint32(at + 18, true),
      data: start,
    };
  }
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}
