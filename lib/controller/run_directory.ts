/**
 * The directories that a daemon works in, and the sockets in its run directory.
 *
 * @module
 */
import { removeIfThere } from "../sys/files.ts";
import { libc } from "../sys/libc.ts";
import { listenUnix } from "../sys/unix_socket.ts";

/** A directory that another user could have a say in. */
export class DirectoryError extends Error {
  override readonly name = "DirectoryError";
  /** What a person can do about it. */
  readonly next: string;
  constructor(message: string, next: string) {
    super(message);
    this.next = next;
  }
}

/**
 * Makes a directory unless it is there, and checks that it belongs to this user and that nobody else can
 * write in it: who can replace a socket there can answer in our name.
 *
 * @throws {DirectoryError} when somebody else can.
 */
export function ownDirectory(path: string, mode: number): void {
  Deno.mkdirSync(path, { recursive: true, mode });
  const info = Deno.lstatSync(path);
  const next = `chown it to uid ${Deno.uid()} and chmod it to ${mode.toString(8)}, or name another`;
  if (!info.isDirectory) throw new DirectoryError(`Cannot use ${path}: not a directory`, next);
  if (info.uid !== Deno.uid()) {
    throw new DirectoryError(`Cannot use ${path}: it belongs to uid ${info.uid}`, next);
  }
  if (((info.mode ?? 0) & 0o022) !== 0) {
    throw new DirectoryError(`Cannot use ${path}: others can write in it`, next);
  }
  Deno.chmodSync(path, mode);
}

/**
 * Makes a listening socket in a run directory, in place of one that a dead daemon left there.
 *
 * @param mode its permissions, which are set before anybody can find it under its name.
 * @returns its descriptor.
 */
export function listenInside(
  directory: string,
  name: string,
  type: "stream" | "seqpacket",
  mode: number,
  gid?: number,
): number {
  const path = `${directory}/${name}`;
  const temporary = `${path}.new`;
  removeIfThere(temporary);
  const fd = listenUnix(temporary, type);
  try {
    Deno.chmodSync(temporary, mode);
    if (gid !== undefined) Deno.chownSync(temporary, null, gid);
    Deno.renameSync(temporary, path);
  } catch (error) {
    libc.close(fd);
    removeIfThere(temporary);
    throw error;
  }
  return fd;
}
