/**
 * The NI kernel over a capture: the same kernel and the same scanners, with the capture's clock. Scanners are waited
 * for after each frame that they see, so that the same capture gives the same answer each time.
 *
 * @module
 */
import { type CaptureFormat, captureFrame, captureHeader } from "../net/capture.ts";
import { Packet } from "../net/packet.ts";
import { Poller } from "../sys/epoll.ts";
import { CaptureReader } from "./capture_reader.ts";
import { DnsEvents } from "./dns_events.ts";
import { anomalyEvent, FlowEvents } from "./flow_events.ts";
import { FrameRef, milliseconds, timestamp } from "./frame.ts";
import { HostNetworks } from "./host_networks.ts";
import { NiKernel } from "./kernel.ts";
import type { KernelCounters, PreventRule, RuleCounters } from "./kernel_types.ts";
import { mailEvent } from "./mail_events.ts";
import type { ScannerRights } from "./rights.ts";
import type { ScannerCounters } from "./scanner_session.ts";
import { ScannerHost } from "./scanner_host.ts";
import type { StreamCounters } from "./stream/context.ts";
import type { ConnectionFacts } from "./stream/subscriber.ts";
import type { TableSettings } from "./stream/table.ts";
import { StreamFiles } from "./stream_files.ts";

/** What is to be done with a capture. */
export interface OfflineOptions {
  /** The capture. */
  readonly read: string;
  /** Where the frames that leave the NI are to be written. */
  readonly write: string | undefined;
  /** Directory for the streams of all connections. */
  readonly streams?: string | undefined;
  /** Filters of connections that are put together though no scanner asks for them. */
  readonly reconstruct?: readonly string[];
  /** How streams are put together, where it differs from what is usual. */
  readonly settings?: Partial<TableSettings>;
  readonly prevent: readonly PreventRule[];
  readonly scanners: ReadonlyMap<string, { rights: ScannerRights; command: readonly string[] }>;
  /** Networks of the host; empty: the source of the first connection or datagram. */
  readonly hostNetworks: readonly string[];
  /** Kinds of events that are wanted. */
  readonly events: ReadonlySet<EventKind>;
  readonly event: (event: Readonly<Record<string, unknown>>) => void;
  readonly log: (text: string) => void;
}

/** Kinds of events. */
export type EventKind = "alert" | "dns" | "flow" | "mail" | "anomaly" | "stats";

/** What came of it. */
export interface OfflineResult {
  readonly counters: KernelCounters;
  readonly rules: readonly RuleCounters[];
  readonly scanners: Readonly<Record<string, ScannerCounters>>;
  readonly streams: StreamCounters;
  /** Scanners that broke or died, with why. */
  readonly failures: readonly string[];
}

/** Milliseconds of real time that a scanner may take for one frame. */
const ANSWER_LIMIT = 10_000;
/** Milliseconds of a capture's time that go on after its last frame. */
const LAST_WAIT = 100;

/**
 * Runs a capture through the kernel.
 *
 * @throws {CaptureError} when it is damaged, {FilterError}, {AssetError}, {SystemError}.
 */
export function runOffline(options: OfflineOptions): OfflineResult {
  const reader = new CaptureReader(options.read);
  try {
    return run(options, reader);
  } finally {
    reader.close();
  }
}

function run(options: OfflineOptions, reader: CaptureReader): OfflineResult {
  const some = reader.next();
  const linkType = some ? reader.record.linkType : 1;
  const writer = options.write === undefined
    ? undefined
    : new CaptureWriter(options.write, linkType);
  const files = options.streams === undefined ? undefined : new StreamFiles(options.streams);
  const failures: string[] = [];
  const poller = new Poller();
  const kernel = new NiKernel({
    linkType,
    prevent: options.prevent,
    scanners: new Map([...options.scanners].map(([name, { rights }]) => [name, rights])),
    hostNetworks: options.hostNetworks,
    reconstruct: options.reconstruct ?? [],
    ...(files === undefined ? {} : { files: (facts: ConnectionFacts) => files.reader(facts) }),
    streams: { ...options.settings, replay: true },
  }, {
    forward: (memory, start, end, _direction, at) =>
      writer?.add(memory.data.subarray(start, end), at),
    event: (event) => {
      const mail = mailEvent(event);
      if (options.events.has(mail === undefined ? "alert" : "mail")) options.event(mail ?? event);
    },
    broken: (session, why) => host.break(session, why),
  });
  const host = new ScannerHost(kernel, poller, options.scanners, {
    ended: (name, why) => failures.push(`scanner ${name}: ${why}`),
    message: (name, line) => options.log(`scanner ${name}: ${line}`),
  });
  try {
    host.start();
    host.settle(ANSWER_LIMIT);
    if (some) frames(options, reader, kernel, host, linkType);
    // What waits for a time that no frame came after.
    settle(kernel, host);
    wakeUntil(kernel, host, kernel.now + LAST_WAIT);
    host.settle(ANSWER_LIMIT);
    kernel.closeStreams();
  } finally {
    host.close();
    poller.close();
    writer?.close();
    files?.close();
  }
  if (options.events.has("stats")) {
    options.event({
      timestamp: timestamp(Math.floor(kernel.now / 1000), Math.round((kernel.now % 1000) * 1e6)),
      event_type: "stats",
      stats: { frames: kernel.counters, rules: kernel.rules },
    });
  }
  return {
    counters: kernel.counters,
    rules: kernel.rules,
    scanners: Object.fromEntries(
      [...options.scanners.keys()].map((
        name,
      ) => [name, kernel.scannerCounters(name) as ScannerCounters]),
    ),
    streams: kernel.streamCounters,
    failures,
  };
}

function frames(
  options: OfflineOptions,
  reader: CaptureReader,
  kernel: NiKernel,
  host: ScannerHost,
  linkType: number,
): void {
  const frame = new FrameRef();
  const networks = new HostNetworks(options.hostNetworks);
  const packet = new Packet();
  const dns = options.events.has("dns") ? new DnsEvents(options.event) : undefined;
  const flows = options.events.has("flow") ? new FlowEvents(options.event) : undefined;
  do {
    const { record } = reader;
    if (record.linkType !== linkType) continue; // a capture of several interfaces: the first one's
    frame.data = reader.memory.data;
    frame.start = reader.start;
    frame.end = reader.end;
    frame.wireLength = record.wireLength;
    frame.seconds = record.seconds;
    frame.nanoseconds = record.nanoseconds;
    packet.decode(frame.data, frame.start, frame.end, linkType);
    frame.direction = networks.direction(packet);
    wakeUntil(kernel, host, milliseconds(frame));
    dns?.frame(packet, frame);
    flows?.frame(packet, frame);
    const anomaly = options.events.has("anomaly") ? anomalyEvent(packet, frame) : undefined;
    if (anomaly !== undefined) options.event(anomaly);
    kernel.frame(reader.memory, frame);
    settle(kernel, host);
    kernel.expire();
    kernel.settle();
  } while (reader.next());
  flows?.finish();
}

/** Tells scanners the times that they asked to be told, up to the next frame's. */
function wakeUntil(kernel: NiKernel, host: ScannerHost, time: number): void {
  for (;;) {
    const wake = kernel.nextWake();
    if (wake === undefined || wake > time) return;
    const at = Math.max(wake, kernel.now);
    kernel.setTime(Math.floor(at / 1000), Math.round((at % 1000) * 1e6));
    kernel.wake();
    host.settle(ANSWER_LIMIT);
    settle(kernel, host);
  }
}

/** Waits until scanners have answered all that they were told, and all that came of that. */
function settle(kernel: NiKernel, host: ScannerHost): void {
  while (kernel.hasNews) {
    host.settle(ANSWER_LIMIT);
    kernel.wake();
  }
}

/** Writes frames in the order in which they leave. */
class CaptureWriter {
  readonly #file: Deno.FsFile;
  readonly #format: CaptureFormat;

  constructor(path: string, linkType: number) {
    const format = path.endsWith(".pcapng") ? "pcapng" : "pcap";
    this.#format = { format, linkType, precision: format === "pcapng" ? "ns" : "us" };
    this.#file = Deno.openSync(path, { write: true, create: true, truncate: true });
    this.#write(captureHeader(this.#format));
  }

  add(frame: Uint8Array, at: { seconds: number; nanoseconds: number; wireLength: number }): void {
    this.#write(captureFrame(this.#format, frame, at.seconds, at.nanoseconds, at.wireLength));
  }

  close(): void {
    this.#file.close();
  }

  #write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }
}
