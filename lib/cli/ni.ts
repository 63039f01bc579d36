/**
 * `diaper ni`: the NI kernel, between two interfaces or over a capture.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { CaptureError } from "../net/capture.ts";
import { ScannerPlaces } from "../ni/catalogue.ts";
import { DEFAULT_NI_CONFIG } from "../ni/config.ts";
import { type EventKind, runOffline } from "../ni/offline.ts";
import { AssetError } from "../sys/assets.ts";
import { FilterError } from "../sys/libpcap.ts";
import { readRange } from "./arguments.ts";
import { CliError, EXIT } from "./exit.ts";
import {
  type NiWords,
  scannerNames,
  settingsFromFile,
  settingsFromWords,
  withMailLog,
} from "./ni_settings.ts";
import { eventLine, offlineSummary } from "./ni_text.ts";
import { printJson, printLine, printMessage, visible } from "./output.ts";

interface NiOptions extends NiWords {
  readonly config?: string;
  readonly check?: boolean;
  readonly detach?: string;
  readonly read?: string;
  readonly userSpace?: boolean;
  readonly forwarding: "auto" | "packet" | "pcap";
  readonly write?: string;
  readonly streams?: string;
  readonly events: EventKind[];
  readonly console?: string;
  readonly json?: boolean;
}

const EVENTS: readonly EventKind[] = ["alert", "dns", "flow", "mail", "anomaly", "stats"];

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("ni")
    .description(
      "Run the NI kernel and its scanners between a host and its network, or over a capture.",
    )
    .option("-c, --config <file>", `configuration (default: ${DEFAULT_NI_CONFIG})`)
    .option("--check", "check the configuration and stop")
    .option("--host <interface>", "the interface to the host")
    .option("--net <interface>", "the interface to the network")
    .addOption(
      new Option("--on-exit <state>", "what the wire does without the NI (default: closed)")
        .choices(["open", "closed"]),
    )
    .option("--attach <interface>", "stand before an interface, such as a bridge's port to a guest")
    .option("--detach <interface>", "remove what a killed NI has left at an interface")
    .option("--run-dir <directory>", "directory of the control socket (default: /run/diaper)")
    .addOption(
      new Option("--forwarding <how>", "auto: the kernel where it can; else all in user space")
        .choices(["auto", "packet", "pcap"]).default("auto"),
    )
    .option("--user-space", "take every frame to user space, also those that no rule covers")
    .option("-r, --read <file>", "a capture (pcap or pcapng) in place of interfaces")
    .option("-w, --write <file>", "write the frames that leave the NI (.pcapng: nanoseconds)")
    .option("--streams <directory>", "write each direction of each TCP connection to a file there")
    .option(
      "--reconstruct <filter...>",
      "put TCP connections together and pass them; filters of their clients' packets",
    )
    .option("--scanner <name...>", `scanners to run: ${scannerNames()}`)
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
Inline it stays in the foreground; SIGTERM and SIGINT stop it, SIGHUP reads the configuration anew, SIGUSR2
prints counters, which "diaper status" shows as well. Frames that
no rule covers never leave the kernel. "closed": with the NI kernel gone nothing is forwarded; "open":
everything is, until the NI kernel is back. Both hold after kill -9 as well.`,
    )
    .action(ni);
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
  if (options.detach !== undefined) {
    const { detach } = await import("./ni_detach.ts");
    return await detach(options.detach, options.runDir);
  }
  const places = new ScannerPlaces();
  const file = configFile(options);
  const settings = withAdvice(() =>
    file === undefined ? settingsFromWords(options, places) : settingsFromFile(file, places)
  );
  if (options.check === true) return;
  if (options.read === undefined) {
    if (settings.links === undefined) throw wrongUse();
    const { runInline } = await import("./ni_inline.ts");
    return await runInline(settings, {
      consoleFile: options.console,
      places,
      userSpace: options.userSpace === true,
      forwarding: options.forwarding,
      show: (event) => show(event, options),
      again: file === undefined
        ? undefined
        : () => withAdvice(() => settingsFromFile(file, places)),
      file,
    });
  }
  const result = withAdvice(() =>
    runOffline({
      read: options.read as string,
      write: options.write,
      streams: options.streams,
      reconstruct: settings.reconstruct,
      settings: settings.streams,
      prevent: settings.prevent,
      scanners: options.events.includes("mail")
        ? withMailLog(settings.scanners, places)
        : settings.scanners,
      hostNetworks: settings.hostNetworks,
      events: new Set(options.events),
      event: (event) => show(event, options),
      log: (text) => printMessage(visible(text)),
    })
  );
  for (const line of offlineSummary(result)) printMessage(line);
  if (result.failures.length === 0) return;
  throw new CliError(EXIT.FAILED, result.failures.join("\n"), "see the scanner's messages above");
}

/** The configuration that counts, after a look at what does not go together. */
function configFile(options: NiOptions): string | undefined {
  const { host, net, attach, read, write, config } = options;
  const ways = [host ?? net, attach, read].filter((way) => way !== undefined).length;
  const told = options.scanner ?? options.prevent ?? options.hostNet ?? options.onExit ??
    options.runDir ?? options.reconstruct;
  if (
    ways > 1 || (host === undefined) !== (net === undefined) ||
    ((write ?? options.streams) !== undefined && read === undefined) ||
    (config !== undefined && (told !== undefined || (ways > 0 && read === undefined)))
  ) throw wrongUse();
  if (config !== undefined) return config;
  return ways === 0 && told === undefined ? DEFAULT_NI_CONFIG : undefined;
}

function wrongUse(): CliError {
  return new CliError(
    EXIT.USAGE,
    "ni works between two interfaces, before one, or over a capture; from options or a configuration",
    "give --host and --net, --attach, or --read; or --config with links in it",
  );
}

function show(event: Readonly<Record<string, unknown>>, options: NiOptions): void {
  if (options.json === true) printJson(event);
  else printLine(eventLine(event));
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
