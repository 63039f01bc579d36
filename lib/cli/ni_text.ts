/**
 * What an NI tells people: events as lines, counters as tcpdump tells them.
 *
 * @module
 */
import type { KernelCounters, ScanCounters } from "../ni/kernel_types.ts";
import type { OfflineResult } from "../ni/offline.ts";
import type { ScannerCounters } from "../ni/scanner_session.ts";
import type { StreamCounters } from "../ni/stream/context.ts";
import { bytesText, visible } from "./output.ts";

interface AnyEvent {
  readonly timestamp: string;
  readonly event_type: string;
  readonly scanner?: string;
  readonly src_ip?: string;
  readonly dest_ip?: string;
  readonly dest_port?: number;
  readonly alert?: { readonly signature: string; readonly action: string };
  readonly detail?: Readonly<Record<string, unknown>>;
  readonly [kind: string]: unknown;
}

/** An event as a line. */
export function eventLine(event: Readonly<Record<string, unknown>>): string {
  const e = event as unknown as AnyEvent;
  const port = e.dest_port === undefined ? "" : `:${e.dest_port}`;
  const flow = e.src_ip === undefined ? "" : ` ${e.src_ip} > ${e.dest_ip}${port}`;
  const detail = e.detail ?? e[e.event_type] as Readonly<Record<string, unknown>>;
  const more = Object.entries(detail).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  const what = e.alert === undefined
    ? `${e.event_type}${flow}:`
    : `${e.scanner}${flow}: ${e.alert.signature} (${e.alert.action})`;
  return visible([e.timestamp, what, ...more].join(" "));
}

/** Counts of a run over a capture. */
export function offlineSummary({ counters, rules, scanners, streams }: OfflineResult): string[] {
  return [
    `${counters.received} frames received`,
    `${counters.forwarded} frames forwarded`,
    ...rules.map((rule) => `${rule.frames} frames dropped by ${rule.name} (${rule.filter})`),
    ...kernelLines(counters),
    ...streamLines(streams),
    ...Object.entries(scanners).map(([name, c]) => `scanner ${name}: ${scannerText(c)}`),
  ];
}

/** One port, as an inline NI tells of it. */
interface PortCounts {
  readonly interface: string;
  readonly direction: "from-host" | "to-host";
  readonly running: boolean;
  readonly forwarded: Counted;
  readonly scanned: Counted;
  readonly copied: Counted;
  readonly dropped: number;
  readonly copies_dropped: number;
  readonly unsent: Readonly<Record<string, number>>;
}

interface Counted {
  readonly frames: number;
  readonly bytes: number;
}

interface InlineCounts {
  readonly ports: readonly PortCounts[];
  readonly frames: KernelCounters;
  readonly streams: StreamCounters;
  readonly rules: readonly (
    | Counted & { readonly kind: "prevent"; readonly name: string; readonly filter: string }
    | ScanCounters
  )[];
  readonly scanners: Readonly<Record<string, ScannerCounters & { readonly pid: number | null }>>;
}

/** Counts of an inline NI. */
export function inlineSummary(status: Readonly<Record<string, unknown>>): string[] {
  const { ports, frames, rules, scanners, streams } = status as unknown as InlineCounts;
  return [
    ...ports.flatMap((port) => {
      const { forwarded, scanned, copied, dropped, copies_dropped, unsent } = port;
      const side = port.direction === "from-host" ? "the host" : "the network";
      const from = `from ${side}, ${port.interface}${port.running ? "" : " (no carrier)"},`;
      const lost = Object.entries(unsent).flatMap(([why, n]) =>
        n === 0 ? [] : [`${n} frames not sent to ${port.interface}: ${UNSENT[why] ?? why}`]
      );
      return [
        `${forwarded.frames} frames (${
          bytesText(forwarded.bytes)
        }) ${from} forwarded by the kernel`,
        `${copied.frames} of them (${bytesText(copied.bytes)}) read meanwhile by scanners`,
        `${scanned.frames} frames (${bytesText(scanned.bytes)}) ${from} scanned`,
        ...(dropped > 0 ? [`${dropped} frames ${from} lost, since user space was too slow`] : []),
        ...(copies_dropped > 0
          ? [`${copies_dropped} frames ${from} not read for that reason`]
          : []),
        ...lost,
      ];
    }),
    ...rules.map(ruleLine),
    ...kernelLines(frames),
    ...streamLines(streams),
    ...Object.entries(scanners).map(([name, c]) =>
      `scanner ${name}: ${c.pid === null ? "not running, " : ""}${scannerText(c)}`
    ),
  ];
}

const UNSENT: Readonly<Record<string, string>> = {
  full: "its queue was full",
  large: "larger than its MTU",
  down: "it was down",
  other: "for another reason",
};

function ruleLine(rule: InlineCounts["rules"][number]): string {
  if (rule.kind === "prevent") {
    return `${rule.frames} frames dropped by ${rule.name} (${rule.filter})`;
  }
  const whose = `for ${rule.scanner} (${rule.right}: ${rule.filter || "all"})`;
  return rule.kind === "scan"
    ? `${rule.frames} frames ${whose}`
    : `${rule.connections} connections ${whose}`;
}

function streamLines(streams: StreamCounters): string[] {
  if (streams.connections === 0) return [];
  return [
    `${streams.connections} connections, ${streams.bytes} bytes put together, ` +
    `${streams.rejected} packets that belong to none of them`,
  ];
}

function kernelLines(counters: KernelCounters): string[] {
  const line = (count: number, text: string) => count > 0 ? [`${count} frames ${text}`] : [];
  return [
    ...line(counters.cut, "cut by scanners"),
    ...line(counters.failedClosed, "dropped for a scanner that failed"),
    ...line(counters.injected, "injected"),
    ...line(counters.held, "still held"),
  ];
}

function scannerText(c: ScannerCounters): string {
  const more = (count: number, text: string) => count > 0 ? [`${count} ${text}`] : [];
  return [
    `${c.frames} frames seen, ${c.passed} passed, ${c.cut} cut, ${c.alerts} alerts` +
    (c.alertsDropped > 0 ? ` (${c.alertsDropped} more over its limit)` : ""),
    ...more(c.streams, "connections seen"),
    ...more(c.cutBytes, "bytes cut"),
    ...more(c.killed, "connections killed"),
    ...more(c.lost, "lost"),
    ...more(c.injected, "injected"),
    ...more(c.resets, "resets"),
    ...more(c.failedOpen, "passed without it"),
    ...more(c.failedClosed, "dropped without it"),
    ...more(c.services.connected, "connections to services"),
    ...more(c.services.refused, "connections refused"),
  ].join(", ");
}
