/**
 * The one file of the launcher back end: launcher, runtime, bundle, and a trailer that says where they
 * are. agent/launcher/payload.c reads it and describes the trailer.
 *
 * @module
 */
import { createHash } from "node:crypto";

const MAGIC = "DIAPER-PAYLOAD-1";
const ALIGNMENT = 4096;

/** Puts the three parts together. The same parts give the same bytes. */
export function packPayload(
  launcher: Uint8Array,
  runtime: Uint8Array,
  bundle: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const align = (n: number) => Math.ceil(n / ALIGNMENT) * ALIGNMENT;
  const runtimeAt = align(launcher.length);
  const bundleAt = align(runtimeAt + runtime.length);
  const table = concat([entry(runtimeAt, runtime), entry(bundleAt, bundle)]);
  const trailerAt = bundleAt + bundle.length;
  const size = trailerAt + MAGIC.length + 8 + table.length + 32;

  const file = new Uint8Array(size);
  file.set(launcher, 0);
  file.set(runtime, runtimeAt);
  file.set(bundle, bundleAt);
  file.set(
    concat([new TextEncoder().encode(MAGIC), u64(size), table, sha256(table)]),
    trailerAt,
  );
  return file;
}

function entry(offset: number, data: Uint8Array): Uint8Array {
  return concat([u64(offset), u64(data.length), sha256(data)]);
}

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

function sha256(data: Uint8Array): Uint8Array {
  return createHash("sha256").update(data).digest();
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
