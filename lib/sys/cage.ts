/**
 * The command line that runs one of Diaper's scanners in its cage (agent/cage).
 *
 * @module
 */
import { AssetError, cagePath, scannersPath } from "./assets.ts";

/** Users for scanners: of the range that systemd gives to services for as long as they run. */
const FIRST_UID = 61_184;
const MOST_PLACES = 4336;

/** Of a scanner's memory, what V8's heap may take. */
const HEAP_SHARE = 0.5;
/** Address space that the runtime reserves, and hardly uses: it counts as data all the same. */
const RESERVED = 768 * 1024 * 1024;

/**
 * The command that starts a scanner.
 *
 * @param memory bytes.
 * @param place chooses its user: 0 to 4335.
 * @param module in place of Diaper's scanners.
 * @throws {AssetError} when the cage or the scanners are not in a safe place, or this user is not root.
 */
export function cageCommand(
  scanner: string,
  memory: number,
  place: number,
  module?: string,
): string[] {
  const cage = cageWith(memory + RESERVED, place);
  const scanners = module ?? scannersPath();
  const runtime = Deno.execPath();
  const heap = Math.max(16, Math.floor(memory * HEAP_SHARE / 1024 / 1024));
  return [
    ...cage,
    ...["-r", runtime, "-r", scanners, "--"],
    ...[runtime, "run", "--quiet", "--no-config", "--no-lock", "--no-prompt", "--no-remote"],
    ...["--no-npm", "--no-code-cache", `--v8-flags=--max-heap-size=${heap}`, scanners, scanner],
  ];
}

/**
 * The command that starts a scanner that is not Diaper's.
 *
 * @param program its path, its arguments, and what it may read besides itself and the C library.
 * @throws {AssetError} when the cage is not in a safe place, or this user is not root.
 */
export function cageProgram(
  program: {
    readonly path: string;
    readonly arguments: readonly string[];
    readonly files: readonly string[];
  },
  memory: number,
  place: number,
): string[] {
  return [
    ...cageWith(memory, place),
    ...[program.path, ...program.files].flatMap((path) => ["-r", path]),
    ...["--", program.path, ...program.arguments],
  ];
}

function cageWith(memory: number, place: number): string[] {
  if (Deno.uid() !== 0) {
    throw new AssetError("Scanners are caged by namespaces, which needs root", "run it as root");
  }
  if (place < 0 || place >= MOST_PLACES) throw new RangeError(`Cannot use place ${place}`);
  return [cagePath(), "-u", String(FIRST_UID + place), "-m", String(memory)];
}
