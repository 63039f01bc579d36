/**
 * What kind of program a file is, and so whether a library can be loaded into it (elf(5), ld.so(8)).
 *
 * @module
 */
import { errno, SystemError } from "./libc.ts";

/** A program's file, as the kernel and its loader would take it. */
export interface ProgramKind {
  /** The file that is looked at: of a script its interpreter. */
  readonly path: string;
  /**
   * How it is linked: with a loader, which can load a library; static; or not for this machine
   * (`foreign`); `unknown`: no ELF file, or one that cannot be read.
   */
  readonly linking: "dynamic" | "static" | "foreign" | "unknown";
  /** Written in Go: makes system calls without the C library. */
  readonly go: boolean;
  /** Rights that it gains when `uid` executes it, for which the loader drops libraries. */
  readonly gains: "set-user-ID" | "set-group-ID" | "file capabilities" | undefined;
}

/** The user who is going to execute it. */
export interface Executor {
  readonly uid: number;
  readonly gid: number;
}

const LONGEST_HEADER = 4096;
const INTERPRETERS = 4;

/**
 * Looks at a program's file. Nothing is executed.
 *
 * @param find finds a program by name in PATH, for `#!/usr/bin/env NAME`; undefined when it is not there.
 */
export function programKind(
  path: string,
  user: Executor,
  find: (name: string) => string | undefined,
): ProgramKind {
  let file = path;
  for (let i = 0; i < INTERPRETERS; i++) {
    const head = readHead(file);
    const interpreter = head === undefined ? undefined : interpreterOf(head, find);
    if (interpreter === undefined) {
      return { path: file, ...linkingOf(head, file), gains: gainsOf(file, user) };
    }
    file = interpreter;
  }
  return { path: file, linking: "unknown", go: false, gains: undefined };
}

function readHead(path: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    using file = Deno.openSync(path);
    const head = new Uint8Array(LONGEST_HEADER);
    return head.subarray(0, file.readSync(head) ?? 0);
  } catch (error) {
    // Executable but not readable, or gone: execve(2) has the last word.
    if (error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotFound) {
      return undefined;
    }
    throw error;
  }
}

function interpreterOf(
  head: Uint8Array,
  find: (name: string) => string | undefined,
): string | undefined {
  if (head[0] !== 0x23 || head[1] !== 0x21) return undefined;
  const line = new TextDecoder().decode(head.subarray(2, 258)).split("\n")[0] ?? "";
  const [interpreter = "", ...rest] = line.trim().split(/\s+/);
  if (!interpreter.endsWith("/env")) return interpreter;
  const name = rest.find((word) => !word.startsWith("-") && !word.includes("="));
  return name === undefined ? interpreter : find(name) ?? interpreter;
}

const MACHINES: Readonly<Record<string, number>> = { x86_64: 62, aarch64: 183 };
const TYPE = { INTERP: 3, NOTE: 4 } as const;
const MOST_SEGMENTS = 64;

function linkingOf(
  head: Uint8Array<ArrayBuffer> | undefined,
  path: string,
): Pick<ProgramKind, "linking" | "go"> {
  if (head === undefined || head.length < 64 || !startsWith(head, [0x7f, 0x45, 0x4c, 0x46])) {
    return { linking: "unknown", go: false };
  }
  const view = new DataView(head.buffer, 0, head.length);
  const wide = head[4] === 2 && head[5] === 1;
  if (!wide || view.getUint16(18, true) !== MACHINES[Deno.build.arch]) {
    return { linking: "foreign", go: false };
  }
  const at = Number(view.getBigUint64(32, true));
  const size = view.getUint16(54, true);
  const count = Math.min(view.getUint16(56, true), MOST_SEGMENTS);
  let dynamic = false;
  let go = false;
  for (let i = 0; i < count; i++) {
    const start = at + i * size;
    if (size < 56 || start + 56 > head.length) break;
    const type = view.getUint32(start, true);
    if (type === TYPE.INTERP) dynamic = true;
    if (type === TYPE.NOTE) {
      const from = Number(view.getBigUint64(start + 8, true));
      const length = Number(view.getBigUint64(start + 32, true));
      go ||= hasGoNote(readPart(path, from, Math.min(length, LONGEST_HEADER)));
    }
  }
  return { linking: dynamic ? "dynamic" : "static", go };
}

function readPart(path: string, from: number, length: number): Uint8Array<ArrayBuffer> {
  using file = Deno.openSync(path);
  file.seekSync(from, Deno.SeekMode.Start);
  const part = new Uint8Array(length);
  return part.subarray(0, file.readSync(part) ?? 0);
}

/** The build id that Go's linker writes: owner "Go", type 4. */
function hasGoNote(notes: Uint8Array<ArrayBuffer>): boolean {
  const view = new DataView(notes.buffer, notes.byteOffset, notes.length);
  const align = (n: number) => (n + 3) & ~3;
  for (let at = 0; at + 12 <= notes.length;) {
    const owner = view.getUint32(at, true);
    const text = view.getUint32(at + 4, true);
    if (
      owner === 4 && view.getUint32(at + 8, true) === 4 &&
      startsWith(notes.subarray(at + 12), [0x47, 0x6f, 0, 0])
    ) return true;
    at += 12 + align(owner) + align(text);
  }
  return false;
}

function startsWith(bytes: Uint8Array, wanted: readonly number[]): boolean {
  return wanted.every((byte, i) => bytes[i] === byte);
}

const SET_USER_ID = 0o4000;
const SET_GROUP_ID = 0o2000;
const GROUP_EXECUTES = 0o010;

function gainsOf(path: string, user: Executor): ProgramKind["gains"] {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) {
      return undefined;
    }
    throw error;
  }
  const mode = info.mode ?? 0;
  if ((mode & SET_USER_ID) !== 0 && info.uid !== user.uid) return "set-user-ID";
  const setsGroup = (mode & SET_GROUP_ID) !== 0 && (mode & GROUP_EXECUTES) !== 0;
  if (setsGroup && info.gid !== user.gid) return "set-group-ID";
  // Root gains nothing by them.
  if (user.uid !== 0 && hasFileCapabilities(path)) return "file capabilities";
  return undefined;
}

const SYMBOLS = {
  getxattr: { parameters: ["buffer", "buffer", "buffer", "usize"], result: "isize" },
} as const satisfies Deno.ForeignLibraryInterface;

const ENODATA = 61;
const ENOTSUP = 95;
const EACCES = 13;

function hasFileCapabilities(path: string): boolean {
  const library = Deno.dlopen("libc.so.6", SYMBOLS);
  try {
    const text = (s: string) => new TextEncoder().encode(`${s}\0`);
    const value = new Uint8Array(64);
    if (library.symbols.getxattr(text(path), text("security.capability"), value, 64n) >= 0n) {
      return true;
    }
    const code = errno();
    if (code === ENODATA || code === ENOTSUP || code === EACCES) return false;
    throw new SystemError(`getxattr ${path}`, code);
  } finally {
    library.close();
  }
}
