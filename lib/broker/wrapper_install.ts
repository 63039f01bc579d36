/**
 * Installs and removes wrappers: the setuid file, and its place on the list that the broker reads.
 *
 * @module
 */
import { lstatIfThere, removeIfThere } from "../sys/files.ts";
import { createHash } from "node:crypto";
import { userId, userName } from "../sys/accounts.ts";
import { agentLibrary, placeFile, wrapperBinary } from "../sys/assets.ts";
import { ElfError, withNeeded } from "./elf_needed.ts";
import {
  encodeWrapperRecord,
  findWrapperRecord,
  readWrapperRecords,
  WRAPPER_DIRECTORY,
  type WrapperRecord,
} from "./wrapper_record.ts";

/** Where the agent of wrapped programs is: readable by every user, and kept when caches are emptied. */
export const AGENT_DIRECTORY = "/usr/local/lib/diaper";

/** What cannot be installed or removed; `next` says what to do. */
export class WrapperError extends Error {
  override readonly name = "WrapperError";
  readonly next: string;
  constructor(message: string, next: string) {
    super(message);
    this.next = next;
  }
}

/** What to install. Paths are absolute. */
export interface WrapperOrder {
  readonly program: string;
  /** Account that shall own the wrapper. */
  readonly delegate: string;
  /** Where the wrapper shall be. */
  readonly path: string;
  /** The broker's socket. */
  readonly socket: string;
}

const MODE = 0o4511;
const LARGEST = 64 << 20;
const OTHERS_WRITE = 0o022;
/** Programs that are there to run what their user writes; no list can be complete. */
const INTERPRETERS =
  /^(?:(?:ba|da|z|fi|k|mk|c|tc)?sh|busybox|(?:python|pypy|perl|ruby|lua|luajit|php|tclsh|wish|guile|node|nodejs|deno|bun|java|Rscript|octave|gdb|lldb|strace|ltrace|expect|[gmn]?awk|original-awk|emacs|vim?|nvim|ed|env|xargs|find|nice|nohup|setsid|timeout|stdbuf|unshare|nsenter|chroot)[-.\d]*(?:-basic|-tiny|-nox)?)$/;
/** The directory of the program itself, in the search path for its libraries (ld.so(8)). */
const ORIGIN = "$ORIGIN";

/** What a wrapper is made of, when it is not what is inside this binary. */
export interface WrapperParts {
  readonly wrapper: Uint8Array;
  readonly agent: Uint8Array;
}

/** An order that was looked into: the record, and the bytes of the wrapper's file. */
export interface PlannedWrapper {
  readonly record: WrapperRecord;
  readonly file: Uint8Array<ArrayBuffer>;
  /** What goes into the directory of agents, by name. */
  readonly companions: Readonly<Record<string, Uint8Array>>;
}

/**
 * Looks into everything and changes nothing.
 *
 * @param parts by default what is inside this binary.
 * @throws {WrapperError} for what must not be wrapped: no ELF program, one that others than root can
 * change, one that has rights of its own, a delegate that is root or no account.
 */
export function planWrapper(
  order: WrapperOrder,
  parts: WrapperParts = { wrapper: wrapperBinary(), agent: agentLibrary() },
): PlannedWrapper {
  const uid = userId(order.delegate);
  if (uid === undefined) {
    throw new WrapperError(
      `There is no account "${order.delegate}"`,
      `useradd --system --no-create-home --shell /usr/sbin/nologin ${order.delegate}`,
    );
  }
  if (uid === 0) throw new WrapperError("root cannot be a delegate", "name a system account");
  if (userName(uid) !== order.delegate) {
    throw new WrapperError(
      `"${order.delegate}" is a second name of the account "${userName(uid)}"`,
      "name an account that has its number alone",
    );
  }
  const target = realPath(order.program);
  const program = readProgram(target);
  const { wrapper, agent } = parts;
  const digest = sha256(agent);
  const name = `libdiaper-agent-${digest.slice(0, 16)}.so`;
  const copy = needing(program, `${AGENT_DIRECTORY}/${name}`, target);
  const copyDigest = sha256(copy);
  const copyName = `${lastPart(target)}-${copyDigest.slice(0, 16)}`;
  const path = `${realPath(parent(order.path))}/${lastPart(order.path)}`
    .replace("//", "/");
  if (path === target) {
    throw new WrapperError(`${path} is the program itself`, "give --path another place");
  }
  requireRootsDirectory(parent(path));
  const unsigned = {
    delegate: order.delegate,
    uid,
    path,
    target,
    target_sha256: sha256(program),
    agent: `${AGENT_DIRECTORY}/${name}`,
    agent_sha256: digest,
    program: `${AGENT_DIRECTORY}/${copyName}`,
    program_sha256: copyDigest,
    socket: order.socket,
  };
  for (const [text, most] of [[path, 107], [target, 255], [order.socket, 107]] as const) {
    if (new TextEncoder().encode(text).length <= most) continue;
    throw new WrapperError(`${text} is longer than ${most} octets`, "give a shorter path");
  }
  const record = encodeWrapperRecord(unsigned);
  const file = new Uint8Array(wrapper);
  file.set(record, findWrapperRecord(wrapper));
  const companions = { [name]: agent, [copyName]: copy };
  return { record: { ...unsigned, sha256: sha256(file) }, file, companions };
}

/**
 * Installs a planned wrapper, in the place of an older one at the same path.
 *
 * @throws {WrapperError} when something else is at its path.
 */
export function installWrapper(plan: PlannedWrapper, directory = WRAPPER_DIRECTORY): void {
  const { record, file, companions } = plan;
  const old = wrapperToReplace(plan, directory);
  for (const [name, content] of Object.entries(companions)) {
    placeFile(AGENT_DIRECTORY, name, content);
  }
  // On the list first: a wrapper that is not on it is refused, an entry without wrapper does nothing.
  const text = new TextEncoder().encode(JSON.stringify(record, undefined, 2) + "\n");
  placeFile(directory, entryName(record.path), text);
  const temporary = `${record.path}.${crypto.randomUUID()}`;
  try {
    // Not to be written by the delegate at any moment between here and its last mode.
    Deno.writeFileSync(temporary, file, { createNew: true, mode: 0o400 });
    Deno.chownSync(temporary, record.uid, 0);
    Deno.chmodSync(temporary, MODE); // after chown, which takes the bit away
    Deno.renameSync(temporary, record.path);
  } catch (error) {
    removeIfThere(temporary);
    throw error;
  }
  if (old !== undefined) removeUnusedParts(old, directory);
}

/**
 * The wrapper that an installation would replace; `undefined` when its path is free.
 *
 * @throws {WrapperError} when something else is at its path.
 */
export function wrapperToReplace(
  { record }: PlannedWrapper,
  directory = WRAPPER_DIRECTORY,
): WrapperRecord | undefined {
  const old = listWrappers(directory).find((r) => r.path === record.path);
  if (old === undefined && exists(record.path)) {
    throw new WrapperError(
      `${record.path} is there already, and is no wrapper`,
      "give --path another place, or remove the file",
    );
  }
  return old;
}

/** All wrappers on the list. */
export function listWrappers(directory: string = WRAPPER_DIRECTORY): WrapperRecord[] {
  return readWrapperRecords(directory, (why) => {
    throw new WrapperError(why, "mend or remove that file");
  });
}

/** What is wrong with an installed wrapper, in words; `undefined`: nothing. */
export function wrapperFault(record: WrapperRecord): string | undefined {
  try {
    const info = Deno.lstatSync(record.path);
    if (!info.isFile || info.uid !== record.uid || ((info.mode ?? 0) & 0o7777) !== MODE) {
      return "the wrapper has another owner or mode";
    }
    if (sha256(Deno.readFileSync(record.path)) !== record.sha256) return "the wrapper was changed";
    if (sha256(Deno.readFileSync(record.target)) !== record.target_sha256) {
      return "the program was changed, by an update perhaps";
    }
    if (sha256(Deno.readFileSync(record.agent)) !== record.agent_sha256) {
      return "the agent was changed";
    }
    if (sha256(Deno.readFileSync(record.program)) !== record.program_sha256) {
      return "the program's copy was changed";
    }
    if (userId(record.delegate) !== record.uid) return "the delegate's account has another number";
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/**
 * Removes a wrapper: the file first, so that nothing with the bit stays behind.
 *
 * @param name its path, or the last part of it.
 * @throws {WrapperError} when there is no such wrapper, or more than one.
 */
export function removeWrapper(name: string, directory = WRAPPER_DIRECTORY): WrapperRecord {
  const record = findWrapper(name, directory);
  const info = lstatIfThere(record.path);
  // What root put there since is not ours to remove.
  if (info?.isFile === true && info.uid === record.uid) removeIfThere(record.path);
  removeIfThere(`${directory}/${entryName(record.path)}`);
  removeUnusedParts(record, directory);
  return record;
}

/**
 * The one wrapper of a name.
 *
 * @param name its path, or the last part of it.
 * @throws {WrapperError} when there is no such wrapper, or more than one.
 */
export function findWrapper(name: string, directory = WRAPPER_DIRECTORY): WrapperRecord {
  const found = listWrappers(directory).filter((r) =>
    r.path === name || r.path.endsWith(`/${name}`)
  );
  const [record] = found;
  if (record === undefined || found.length > 1) {
    throw new WrapperError(
      record === undefined ? `There is no wrapper ${name}` : `There are ${found.length} of ${name}`,
      "diaper wrap list shows all; give the whole path",
    );
  }
  return record;
}

/** Agent and copy that no wrapper uses any more; programs that run keep them. */
function removeUnusedParts(record: WrapperRecord, directory: string): void {
  const used = new Set(listWrappers(directory).flatMap((r) => [r.agent, r.program]));
  for (const path of [record.agent, record.program]) {
    if (parent(path) === AGENT_DIRECTORY && !used.has(path)) removeIfThere(path);
  }
}

/** The copy of a program that cannot run without the agent. */
function needing(program: Uint8Array, agent: string, path: string): Uint8Array<ArrayBuffer> {
  try {
    return withNeeded(program, agent);
  } catch (error) {
    if (!(error instanceof ElfError)) throw error;
    throw new WrapperError(
      `${path} ${error.message}`,
      "wrap another program: it cannot be made to load the agent",
    );
  }
}

/** A file name that no two paths share. */
function entryName(path: string): string {
  return `${encodeURIComponent(path.slice(1))}.json`;
}

function readProgram(path: string): Uint8Array<ArrayBuffer> {
  const info = Deno.statSync(path);
  const mode = info.mode ?? 0;
  const wrong = !info.isFile
    ? "is not a file"
    : info.uid !== 0 || (mode & OTHERS_WRITE) !== 0
    ? "can be written by others than root"
    : (mode & 0o6000) !== 0
    ? "has rights of its own, in which the agent is not loaded"
    : (mode & 0o005) !== 0o005
    ? "cannot be read and run by every user"
    : info.size > LARGEST
    ? `is larger than ${LARGEST >> 20} MiB`
    : undefined;
  if (wrong !== undefined) throw new WrapperError(`${path} ${wrong}`, "wrap another program");
  if (INTERPRETERS.test(lastPart(path))) {
    throw new WrapperError(
      `${path} runs whatever its user writes`,
      "wrap what does one thing, or name accounts in broker.delegates: diaper.yaml(5)",
    );
  }
  requireRootsDirectory(parent(path));
  const bytes = Deno.readFileSync(path);
  if (new TextDecoder("latin1").decode(bytes).includes(ORIGIN)) {
    throw new WrapperError(
      `${path} looks for its libraries beside itself (${ORIGIN})`,
      "its copy in memory would not find them: wrap another program",
    );
  }
  return bytes;
}

/** Everything from / to a directory must be root's, or somebody could put another file in place. */
function requireRootsDirectory(directory: string): void {
  for (let path = directory;; path = parent(path)) {
    const info = Deno.lstatSync(path);
    if (!info.isDirectory || info.uid !== 0 || ((info.mode ?? 0) & OTHERS_WRITE) !== 0) {
      throw new WrapperError(
        `${path} is not a directory that only root can write`,
        `chown root ${path}; chmod go-w ${path}`,
      );
    }
    if (path === "/") return;
  }
}

function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new WrapperError(`There is no ${path}`, "give the path of a file that is there");
  }
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function parent(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf("/")));
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function exists(path: string): boolean {
  return lstatIfThere(path) !== undefined;
}
