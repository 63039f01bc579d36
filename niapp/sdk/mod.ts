/**
 * What a scanner is written with. A scanner is a process without rights: its standard input and output are the
 * connection to the NI kernel (docs/protocols/scanner.md), and there is nothing else that it can reach.
 *
 * ```ts
 * import { runScanner } from "../sdk/mod.ts";
 *
 * runScanner({
 *   name: "telnet",
 *   start: (ni) => ni.subscribe("tcp dst port 23", "contain"),
 *   frame(frame, ni) {
 *     ni.alert({ signature: "telnet is not used here", severity: 3 }, [frame.number]);
 *     return "cut";
 *   },
 * });
 * ```
 *
 * @module
 */
import { Session } from "./session.ts";

export type { CloseReason, Endpoint, Opener, Stream, StreamData, StreamHandler } from "./stream.ts";
export type {
  Alert,
  Direction,
  Frame,
  Ni,
  Scanner,
  ServiceConnection,
  ServiceEvents,
  Verdict,
} from "./scanner.ts";
import type { Scanner } from "./scanner.ts";

/** Bytes asked for at once. */
const READ_SIZE = 512 * 1024;

/**
 * Runs a scanner until the kernel ends it. Reads, works and writes in turn: a scanner needs no concurrency.
 *
 * @throws {Error} when the kernel does not keep to the protocol, or the connection breaks.
 */
export function runScanner(scanner: Scanner): void {
  const session = new Session(scanner, READ_SIZE);
  for (;;) {
    write(session.output());
    if (session.stopped) return;
    const count = Deno.stdin.readSync(session.space());
    if (count === null) return; // the kernel is gone
    session.take(count);
  }
}

function write(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}
