/**
 * Files with private keys: made for their owner alone, and not used when others could have read them.
 *
 * @module
 */
import { CliError, EXIT } from "./exit.ts";

/**
 * Reads a private key.
 *
 * @param how makes it when it is not there.
 * @throws {CliError} when it is not there, or not secret.
 */
export function readSecret(path: string, how: string): string {
  let info: Deno.FileInfo;
  let text: string;
  try {
    const file = Deno.openSync(path);
    info = file.statSync();
    file.close();
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const absent = error instanceof Deno.errors.NotFound;
    throw new CliError(EXIT.INVALID, absent ? `there is no key ${path}` : error.message, how);
  }
  if (((info.mode ?? 0) & 0o077) !== 0 || (info.uid !== Deno.uid() && info.uid !== 0)) {
    throw new CliError(
      EXIT.INVALID,
      `${path} can be read by others, so that it is no secret`,
      `make a new key (${how}), or chmod 600 it when nobody has read it`,
    );
  }
  return text;
}

/**
 * Writes a private key.
 *
 * @throws {CliError} when there is one already and `force` is not given.
 */
export function writeSecret(path: string, text: string, force: boolean): void {
  const directory = path.slice(0, path.lastIndexOf("/"));
  if (directory !== "") Deno.mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (force) {
    try {
      Deno.removeSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  try {
    Deno.writeTextFileSync(path, text, { mode: 0o600, createNew: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    throw new CliError(
      EXIT.FAILED,
      `${path} is there already`,
      "--force makes another in its place; controllers must be told the new one",
    );
  }
}
