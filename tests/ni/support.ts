/**
 * Scanners for tests, and captures made by hand.
 *
 * @module
 */
import {
  captureFrame,
  captureHeader,
  CaptureParser,
  CaptureRecord,
} from "../../lib/net/capture.ts";
import { USUAL_RIGHTS } from "../../lib/ni/catalogue.ts";
import { type OfflineResult, runOffline } from "../../lib/ni/offline.ts";
import type { ScannerRights } from "../../lib/ni/rights.ts";
import { cagePath } from "../../lib/sys/assets.ts";
import { libpcapVersion } from "../../lib/sys/libpcap.ts";

// Loaded here, since a test that loads a library looks like one that leaks it.
libpcapVersion();

const FORMAT = { format: "pcap", precision: "us", linkType: 1 } as const;
const HERE = decodeURIComponent(new URL("scanners", import.meta.url).pathname);

/** True when scanners can be caged. */
export const cagePossible: boolean = Deno.uid() === 0;

/** A program of tests/ni/scanners in C, compiled anew. */
export async function compileScanner(name: string, directory: string): Promise<string> {
  const path = `${directory}/${name}`;
  const { success, stderr } = await new Deno.Command("gcc", {
    args: ["-O1", "-Wall", "-Wextra", "-Werror", "-static", "-o", path, `${HERE}/${name}.c`],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  await Deno.chmod(path, 0o755);
  return path;
}

/** Rights with the usual bounds. */
export function rights(more: Partial<ScannerRights> = {}): ScannerRights {
  return { ...USUAL_RIGHTS, ...more };
}

/** A command in the cage, that may read the paths. */
export function caged(
  program: readonly string[],
  paths: readonly string[],
  place = 0,
  memory = 256 * 1024 * 1024,
): string[] {
  return [
    cagePath(),
    ...["-u", String(61_184 + place), "-m", String(memory)],
    ...paths.flatMap((path) => ["-r", path]),
    "--",
    ...program,
  ];
}

/** One test scanner. */
export interface TestScanner {
  readonly rights: ScannerRights;
  readonly command: readonly string[];
}

/** What a run over frames came to. */
export interface Run extends OfflineResult {
  readonly events: Readonly<Record<string, unknown>>[];
  readonly signatures: string[];
  /** Frames that left, by the last byte of each. */
  readonly left: number[];
  readonly log: string[];
}

/** Runs frames, one a millisecond, through scanners; each frame's last byte tells which it is. */
export function runFrames(
  frames: readonly Uint8Array[],
  scanners: Readonly<Record<string, TestScanner>>,
  more: { prevent?: string[]; hostNetworks?: string[] } = {},
): Run {
  const directory = Deno.makeTempDirSync();
  try {
    const read = `${directory}/in.pcap`;
    const write = `${directory}/out.pcap`;
    const file = Deno.openSync(read, { write: true, create: true });
    file.writeSync(captureHeader(FORMAT));
    frames.forEach((frame, i) =>
      file.writeSync(captureFrame(FORMAT, frame, 1_700_000_000, i * 1e6))
    );
    file.close();
    const events: Record<string, unknown>[] = [];
    const log: string[] = [];
    const result = runOffline({
      read,
      write,
      prevent: (more.prevent ?? []).map((filter, i) => ({ name: `rule ${i}`, filter })),
      scanners: new Map(Object.entries(scanners)),
      hostNetworks: more.hostNetworks ?? [],
      events: new Set(["alert"]),
      event: (event) => events.push(event),
      log: (line) => log.push(line),
    });
    const signatures = events.map((e) => (e["alert"] as { signature: string }).signature);
    return { ...result, events, signatures, log, left: lastBytes(write) };
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

function lastBytes(write: string): number[] {
  const parser = new CaptureParser();
  const record = new CaptureRecord();
  parser.push(Deno.readFileSync(write));
  const out: number[] = [];
  while (parser.read(record)) out.push(record.data[record.end - 1] as number);
  parser.finish();
  return out;
}
