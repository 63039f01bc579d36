/**
 * Writes a synthetic FTP trace to standard output as a capture file (see tests/net/ftp_trace.ts).
 *
 *   scripts/ftp_trace.ts [SCALE [SEED]]      default: the whole trace, 10 days
 *
 * @module
 */
import { captureFrame, captureHeader } from "../lib/net/capture.ts";
import { ftpTrace } from "../tests/net/ftp_trace.ts";

const FORMAT = { linkType: 1, precision: "us", format: "pcap" } as const;
/** When the trace begins, in seconds since the epoch; any would do. */
const START = 1_041_397_200;
const PIECE = 1 << 20;

const scale = Number(Deno.args[0] ?? 1);
const seed = Number(Deno.args[1] ?? 1);
const buffer = new Uint8Array(PIECE + (1 << 16));
let used = 0;

function write(bytes: Uint8Array): void {
  buffer.set(bytes, used);
  used += bytes.length;
  if (used >= PIECE) flush();
}

function flush(): void {
  for (let at = 0; at < used;) at += Deno.stdout.writeSync(buffer.subarray(at, used));
  used = 0;
}

write(captureHeader(FORMAT));
for (const { time, frame, wireLength } of ftpTrace({ scale, seed })) {
  const seconds = Math.floor(time);
  const nanoseconds = Math.floor((time - seconds) * 1e9);
  write(captureFrame(FORMAT, frame, START + seconds, nanoseconds, wireLength));
}
flush();
