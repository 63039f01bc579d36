/**
 * Files that are inside the binary, and how those that other programs must open get onto the disk.
 *
 * @module
 */
import { lstatIfThere, removeIfThere } from "./files.ts";
import { createHash } from "node:crypto";
import { buildInfo, unpackedDirectory } from "./runtime.ts";

/** File name of the interposition agent. */
const AGENT = "libdiaper-agent.so";
/** File name of the supervisor of traced programs. */
const TRACE = "diaper-trace";
/** File name of the cage that scanners run in. */
const CAGE = "diaper-cage";
/** File name of the scanners' program. */
const SCANNERS = "diaper-scanners.js";
/** File name of the setuid wrapper. */
const WRAPPER = "diaper-wrapper";

/** A file of the binary that is not there or has no safe place; `next` says what to do. */
export class AssetError extends Error {
  override readonly name = "AssetError";
  readonly next: string;
  constructor(message: string, next: string, options?: ErrorOptions) {
    super(message, options);
    this.next = next;
  }
}

/**
 * The interposition agent (a shared library for LD_PRELOAD).
 *
 * @throws {AssetError} in a source tree where it was not built.
 */
export function agentLibrary(): Uint8Array<ArrayBuffer> {
  return asset(AGENT);
}

/**
 * The setuid wrapper as it was built, to which each installation adds a record of its own.
 *
 * @throws {AssetError} in a source tree where it was not built.
 */
export function wrapperBinary(): Uint8Array<ArrayBuffer> {
  return asset(WRAPPER);
}

/**
 * A file of the console's page: `console.html`, `console.css` or `console.js`.
 *
 * @throws {AssetError} in a source tree where it was not built.
 */
export function pageAsset(name: string): Uint8Array<ArrayBuffer> {
  return asset(name);
}

function asset(name: string): Uint8Array<ArrayBuffer> {
  const build = buildInfo();
  if (build !== undefined) {
    const text = build.assets[name];
    if (text === undefined) throw new AssetError(`${name} is not inside`, "build diaper again");
    return Uint8Array.fromBase64(text);
  }
  const path = sourceTreePath(name);
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    throw new AssetError(`Cannot read ${path}`, "scripts/build", { cause: error });
  }
}

/**
 * Path of the agent as a file that every user can read and only its owner can write: this user, or root.
 * Written when it is missing or differs; checked (owner, mode, links, content, and owner and mode of
 * every directory above) each time.
 *
 * Root: below /var/cache/diaper, whatever the environment says. Others: their cache directory.
 *
 * @throws {AssetError} when there is no such place.
 */
export function agentLibraryPath(): string {
  return assetPath(AGENT, FILE_MODE);
}

/**
 * Path of the supervisor of traced programs, kept as safely as the agent and executable.
 *
 * @throws {AssetError} when there is no such place.
 */
export function traceHelperPath(): string {
  return assetPath(TRACE, PROGRAM_MODE);
}

/**
 * Path of the cage that scanners run in, kept as safely as the agent and executable.
 *
 * @throws {AssetError} when there is no such place.
 */
export function cagePath(): string {
  return assetPath(CAGE, PROGRAM_MODE);
}

/**
 * Path of the scanners' program, kept as safely as the agent.
 *
 * @throws {AssetError} when there is no such place.
 */
export function scannersPath(): string {
  return assetPath(SCANNERS, FILE_MODE);
}

function assetPath(name: string, mode: number): string {
  const content = asset(name);
  if (buildInfo() === undefined) return sourceTreePath(name);
  const directory = unpackedDirectory() ??
    `${cacheDirectory()}/${createHash("sha256").update(content).digest("hex")}`;
  return placeFile(directory, name, content, mode);
}

/**
 * Puts a file into a directory that only this user can write, when it is not there as it should be.
 *
 * @param directory absolute; made when missing.
 * @param mode 0644 without it.
 * @returns the file's path.
 * @throws {AssetError} when somebody else could change the file or a directory above it.
 */
export function placeFile(
  directory: string,
  name: string,
  content: Uint8Array,
  mode = FILE_MODE,
): string {
  const path = `${directory}/${name}`;
  try {
    requireSafeDirectory(directory);
    if (isGood(path, content, mode)) return path;
    const temporary = `${directory}/.${name}.${crypto.randomUUID()}`;
    try {
      Deno.writeFileSync(temporary, content, { createNew: true, mode: 0o600 });
      Deno.chmodSync(temporary, mode); // whatever the umask
      Deno.renameSync(temporary, path);
    } catch (error) {
      removeIfThere(temporary);
      throw error;
    }
  } catch (error) {
    if (error instanceof AssetError) throw error;
    throw new AssetError(`Cannot write ${path}: ${(error as Error).message}`, SAFE_PLACE, {
      cause: error,
    });
  }
  if (!isGood(path, content, mode)) {
    throw new AssetError(`${path} reads back differently`, SAFE_PLACE);
  }
  return path;
}

const FILE_MODE = 0o644;
const PROGRAM_MODE = 0o755;
const WRITABLE_BY_OTHERS = 0o022;
const SAFE_PLACE =
  "make a place that only you can write (root: /var/cache/diaper, else ~/.cache/diaper)";

function sourceTreePath(name: string): string {
  return decodeURIComponent(new URL(`../../dist/agent/${name}`, import.meta.url).pathname);
}

function cacheDirectory(): string {
  if (Deno.uid() === 0) return "/var/cache/diaper";
  const cache = Deno.env.get("XDG_CACHE_HOME");
  if (cache?.startsWith("/")) return `${cache}/diaper`;
  const home = Deno.env.get("HOME");
  if (home?.startsWith("/")) return `${home}/.cache/diaper`;
  throw new AssetError("This user has no home directory for the agent", "set XDG_CACHE_HOME");
}

/** Checks each directory from / on and makes those that are missing. Links are not followed. */
function requireSafeDirectory(directory: string): void {
  const uid = Deno.uid();
  const names = directory.split("/").filter((name) => name !== "");
  let path = "";
  for (const [i, name] of ["", ...names].entries()) {
    path = i === 0 ? "/" : path === "/" ? `/${name}` : `${path}/${name}`;
    const info = lstatIfThere(path) ?? makeDirectory(path);
    const owned = info.uid === uid || (info.uid === 0 && i < names.length);
    if (!info.isDirectory || !owned || ((info.mode ?? 0) & WRITABLE_BY_OTHERS) !== 0) {
      throw new AssetError(`${path} is not a directory that only this user can write`, SAFE_PLACE);
    }
  }
}

function makeDirectory(path: string): Deno.FileInfo {
  try {
    Deno.mkdirSync(path, { mode: 0o755 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  return Deno.lstatSync(path);
}

function isGood(path: string, content: Uint8Array, mode: number): boolean {
  const info = lstatIfThere(path);
  if (
    info === undefined || !info.isFile || info.uid !== Deno.uid() || info.nlink !== 1 ||
    ((info.mode ?? 0) & 0o7777) !== mode || info.size !== content.length
  ) return false;
  const found = Deno.readFileSync(path);
  return found.length === content.length && found.every((byte, i) => byte === content[i]);
}
