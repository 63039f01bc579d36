/**
 * What is known of installed wrappers: the record in each wrapper's file, and the list that
 * only root can write, by which the broker knows a wrapper from its forgery.
 *
 * @module
 */
import { z } from "zod";

/** Where the list is: a file NAME.json for each wrapper. */
export const WRAPPER_DIRECTORY = "/etc/diaper/wrappers";

const absolutePath = z.string().regex(/^\/[^\0]{0,254}$/);
const digest = z.string().regex(/^[0-9a-f]{64}$/);

const schema = z.strictObject({
  /** Account in whose name the program asks; owner of the wrapper. */
  delegate: z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$/),
  uid: z.int().min(1).max(0xfffffffe),
  /** The wrapper's file. */
  path: absolutePath,
  sha256: digest,
  /** The one program that it stands for. */
  target: absolutePath,
  target_sha256: digest,
  /** The interposition agent. */
  agent: absolutePath,
  agent_sha256: digest,
  /** What runs: a copy of the program that needs the agent. */
  program: absolutePath,
  program_sha256: digest,
  /** The broker's socket. */
  socket: z.string().regex(/^\/[^\0]{0,106}$/),
});

/** An installed wrapper; digests are SHA-256 in hexadecimal. */
export type WrapperRecord = z.infer<typeof schema>;

const MAGIC = "DPRWRAP1";
const SIZE = 1248;
const encoder = new TextEncoder();

/**
 * The place for the record in a wrapper's file, as the file was built.
 *
 * @throws {RangeError} when there is none, or more than one.
 */
export function findWrapperRecord(file: Uint8Array): number {
  const text = new TextDecoder("latin1").decode(file);
  const at = text.indexOf(MAGIC);
  if (at < 0 || text.indexOf(MAGIC, at + 1) >= 0 || at + SIZE > file.length) {
    throw new RangeError("This is no wrapper: it has no place for a record");
  }
  return at;
}

/** Makes the record in a wrapper's file: agent/wrapper/record.h. */
export function encodeWrapperRecord(
  record: Omit<WrapperRecord, "sha256">,
): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(SIZE);
  out.set(encoder.encode(MAGIC));
  new DataView(out.buffer).setUint32(8, record.uid, true);
  out.set(Uint8Array.fromHex(record.target_sha256), 16);
  out.set(Uint8Array.fromHex(record.agent_sha256), 48);
  out.set(Uint8Array.fromHex(record.program_sha256), 80);
  let at = 112;
  for (
    const [text, size] of [
      [record.path, 256],
      [record.target, 256],
      [record.agent, 256],
      [record.program, 256],
      [record.socket, 112],
    ] as const
  ) {
    const bytes = encoder.encode(text);
    if (bytes.length >= size) throw new RangeError(`Cannot record ${text}: it is too long`);
    out.set(bytes, at);
    at += size;
  }
  return out;
}

/**
 * Reads the list. What is not as root left it counts as not there.
 *
 * @param wrong is told of each file that cannot be used, and why.
 */
export function readWrapperRecords(
  directory: string,
  wrong: (why: string) => void,
): WrapperRecord[] {
  let names: string[];
  try {
    if (!isRoots(Deno.lstatSync(directory))) {
      wrong(`${directory} is not a directory that only root can write`);
      return [];
    }
    names = [...Deno.readDirSync(directory)].map((entry) => entry.name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  return names.filter((name) => /^[^.].*\.json$/.test(name)).toSorted().flatMap((name) => {
    const path = `${directory}/${name}`;
    const record = readRecord(path);
    if (typeof record !== "string") return [record];
    wrong(`${path}: ${record}`);
    return [];
  });
}

function readRecord(path: string): WrapperRecord | string {
  let value: unknown;
  try {
    const info = Deno.lstatSync(path);
    if (!info.isFile || !isRoots(info)) return "not a file that only root can write";
    value = JSON.parse(Deno.readTextFileSync(path));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const result = schema.safeParse(value);
  return result.success ? result.data : result.error.issues.map((i) => i.message).join("; ");
}

function isRoots(info: Deno.FileInfo): boolean {
  return info.uid === 0 && ((info.mode ?? 0o777) & 0o022) === 0;
}
