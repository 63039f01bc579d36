/**
 * `diaper ni`: the NI kernel, between two interfaces or over a capture.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { CaptureError } from "../net/capture.ts";
import { builtInScanners, scannerCommand, usualRights } from "../ni/catalogue.ts";
import type { OnExit } from "../ni/inline.ts";
import { type EventKind, type OfflineResult, runOffline } from "../ni/offline.ts";
import type { ScannerRights } from "../ni/rights.ts";
import { AssetError } from "../sys/assets.ts";
import { FilterError } from "../sys/libpcap.ts";
import { readRange } from "./arguments.ts";
import { CliError, EXIT } from "./exit.ts";
import { printJson, printLine, printMessage, visible } from "./output.ts";

interface NiOptions {
  readonly read?: string;
  readonly host?: string;
  readonly net?: string;
  readonly onExit: OnExit;
  readonly userSpace?: boolean;
  readonly write?: string;
  readonly streams?: string;
  readonly reconstruct?: string[];
  readonly scanner?: string[];
  readonly prevent?: string[];
  readonly hostNet?: string[];
  readonly events: EventKind[];
  readonly console?: string;
  readonly json?: boolean;
}

const EVENTS: readonly EventKind[] = ["alert", "dns", "stats"];

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("ni")
    .description(
      "Run the NI kernel and its scanners between a host and its network, or over a capture.",
    )
    .option("--host <interface>", "the interface to the host")
    .option("--net <interface>", "the interface to the network")
    .addOption(
      new Option("--on-exit <state>", "what the wire does when the NI kernel is gone")
        .choices(["open", "closed"]).default("closed"),
    )
    .option("--user-space", "take every frame to user space, also those that no rule covers")
    .option("-r, --read <file>", "a capture (pcap or pcapng) in place of interfaces")
    .option("-w, --write <file>", "write the frames that leave the NI (.pcapng: nanoseconds)")
    .option("--streams <directory>", "write each direction of each TCP connection to a file there")
    .option(
      "--reconstruct <filter...>",
      "put TCP connections together and pass them; filters of their clients' packets",
    )
    .option("--scanner <name...>", `scanners to run: ${names()}`)
    .option("--prevent <filter...>", "drop frames of a pcap-filter(7) expression")
    .option(
      "--host-net <prefix...>",
      "the host's networks; else its first connection tells",
      prefixes,
    )
    .option("--events <kinds>", `kinds of events to print: ${EVENTS.join(",")}`, kinds, ["alert"])
    .option("--console <file>", "report to a console, as this file says")
    .option("--json", "print JSON lines")
    .addHelpText(
      "after",
      `
Inline it stays in the foreground; SIGTERM and SIGINT stop it, SIGUSR2 prints its counters. Frames that
no rule covers never leave the kernel. "closed": with the NI kernel gone nothing is forwarded; "open":
everything is, until the NI kernel is back. Both hold after kill -9 as well.`,
    )
    .action(ni);
}

function names(): string {
  return builtInScanners().map(({ name }) => name).join(", ");
}

function kinds(text: string): EventKind[] {
  return text.split(",").map((word) => {
    const kind = EVENTS.find((known) => known === word);
    if (kind !== undefined) return kind;
    throw new InvalidArgumentError(`Write kinds out of ${EVENTS.join(",")}, joined by commas.`);
  });
}

function prefixes(text: string, before: string[] | undefined): string[] {
  readRange(text);
  return [...before ?? [], text];
}

async function ni(options: NiOptions): Promise<void> {
  const inline = options.host !== undefined && options.net !== undefined;
  const wrong = inline
    ? options.read !== undefined || options.write !== undefined || options.streams !== undefined
    : options.read === undefined || options.host !== undefined || options.net !== undefined;
  if (wrong) {
    throw new CliError(
      EXIT.USAGE,
      "ni works between two interfaces or over a capture",
      "give --host and --net, or --read",
    );
  }
  const scanners = new Map((options.scanner ?? []).map((name, place) => {
    const rights = rightsOf(name);
    return [name, { rights, command: withAdvice(() => scannerCommand(name, rights, place)) }];
  }));
  const prevent = (options.prevent ?? []).map((filter, i) => ({
    name: `prevent ${i + 1}`,
    filter,
  }));
  if (inline) {
    const { runInline } = await import("./ni_inline.ts");
    return await runInline(
      {
        host: options.host as string,
        net: options.net as string,
        onExit: options.onExit,
        userSpace: options.userSpace === true,
        reconstruct: options.reconstruct ?? [],
        prevent,
        scanners,
        hostNetworks: options.hostNet ?? [],
      },
      (event) => show(event, options),
      options.console,
    );
  }
  const result = withAdvice(() =>
    runOffline({
      read: options.read as string,
      write: options.write,
      streams: options.streams,
      reconstruct: options.reconstruct ?? [],
      prevent,
      scanners,
      hostNetworks: options.hostNet ?? [],
      events: new Set(options.events),
      event: (event) => show(event, options),
      log: (text) => printMessage(visible(text)),
    })
  );
  summarize(result);
  if (result.failures.length === 0) return;
  throw new CliError(EXIT.FAILED, result.failures.join("\n"), "see the scanner's messages above");
}

function show(event: Readonly<Record<string, unknown>>, options: NiOptions): void {
  if (options.json === true) printJson(event);
  else printLine(eventLine(event));
}

function rightsOf(name: string): ScannerRights {
  const rights = usualRights(name);
  if (rights !== undefined) return rights;
  throw new CliError(
    EXIT.USAGE,
    `There is no scanner named ${JSON.stringify(name)}`,
    `choose from: ${names()}`,
  );
}

/** Counts on stderr, as tcpdump does it. */
function summarize({ counters, rules, scanners, streams }: OfflineResult): void {
  const line = (count: number, text: string) => printMessage(`${count} frames ${text}`);
  line(counters.received, "received");
  line(counters.forwarded, "forwarded");
  for (const rule of rules) line(rule.frames, `dropped by ${rule.name} (${rule.filter})`);
  if (counters.cut > 0) line(counters.cut, "cut by scanners");
  if (counters.failedClosed > 0) line(counters.failedClosed, "dropped for a scanner that failed");
  if (counters.held > 0) line(counters.held, "still held at the end");
  if (streams.connections > 0) {
    printMessage(
      `${streams.connections} connections, ${streams.bytes} bytes put together, ` +
        `${streams.rejected} packets that belong to none of them`,
    );
  }
  for (const [name, c] of Object.entries(scanners)) {
    printMessage(
      `scanner ${name}: ${c.frames} frames seen, ${c.passed} passed, ${c.cut} cut, ${c.alerts} alerts` +
        (c.alertsDropped > 0 ? ` (${c.alertsDropped} more over its limit)` : ""),
    );
  }
}

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

/** An event as a line for people. */
function eventLine(event: Readonly<Record<string, unknown>>): string {
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

/** Turns what a user can mend into errors that say how. */
function withAdvice<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    const cause = { cause: error };
    if (error instanceof CaptureError) {
      throw new CliError(EXIT.FAILED, error.message, "check the file with tcpdump -r", cause);
    }
    if (error instanceof FilterError || error instanceof AssetError) {
      throw new CliError(EXIT.USAGE, error.message, error.next, cause);
    }
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) {
      throw new CliError(EXIT.FAILED, error.message, "check the file's name and mode", cause);
    }
    throw error;
  }
}
