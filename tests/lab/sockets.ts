/**
 * The kernel's tables of sockets in /proc/net (proc(5)).
 *
 * @module
 */

/** One socket of /proc/net/tcp, tcp6, udp or udp6. */
export interface SocketEntry {
  /** Address family. */
  readonly family: 4 | 6;
  /** Port here. */
  readonly localPort: number;
  /** Port of the other end, 0 without one. */
  readonly remotePort: number;
  /** TCP state 0A, LISTEN; false for UDP. */
  readonly listening: boolean;
  /** Inode of the socket, as in /proc/PID/fd. */
  readonly inode: number;
}

/** Reads the text of one or more of those tables; header lines are skipped. */
export function parseSockets(text: string): SocketEntry[] {
  const entries: SocketEntry[] = [];
  for (const line of text.split("\n")) {
    const fields = line.trim().split(/\s+/);
    const local = /^([0-9A-F]+):([0-9A-F]{4})$/.exec(fields[1] ?? "");
    const remote = /^[0-9A-F]+:([0-9A-F]{4})$/.exec(fields[2] ?? "");
    if (local === null || remote === null) continue;
    entries.push({
      family: local[1]?.length === 8 ? 4 : 6,
      localPort: parseInt(local[2] as string, 16),
      remotePort: parseInt(remote[1] as string, 16),
      listening: fields[3] === "0A",
      inode: Number(fields[9]),
    });
  }
  return entries;
}
