/**
 * `diaper pinhole open`, `close` and `list`: by hand, and the state of all.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ControlRequest } from "../controller/control_protocol.ts";
import { type Endpoint } from "../pinhole/endpoint.ts";
import { type Protocol } from "../pinhole/pinhole.ts";
import { readDestination, readEndpoint, readSeconds } from "./arguments.ts";
import { configOption, readConfig } from "./config_option.ts";
import { askDaemon, askForOne } from "./control_client.ts";
import { type PinholeRow, readPinhole, readSweep } from "./daemon_data.ts";
import { placeText } from "./event_line.ts";
import { CliError, EXIT } from "./exit.ts";
import {
  bytesText,
  type Column,
  durationText,
  print,
  printJson,
  printLine,
  printMessage,
  table,
} from "./output.ts";

interface OpenOptions {
  readonly config?: string;
  readonly proto: Protocol;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly ttl: number;
  readonly json?: boolean;
  readonly dryRun?: boolean;
}

interface CloseOptions {
  readonly config?: string;
  readonly json?: boolean;
  readonly dryRun?: boolean;
}

interface ListOptions {
  readonly config?: string;
  readonly json?: boolean;
  readonly watch?: boolean;
}

const DEFAULT_TTL = 60;
const LONGEST_TTL = 365 * 86400;

/** Adds the verb. */
export function register(parent: Command): void {
  const pinhole = parent.command("pinhole")
    .description("Open and close pinholes by hand, and show all of them.");
  pinhole.command("open")
    .description("Open a pinhole for one external host, for a time.")
    .addOption(configOption())
    .addOption(
      new Option("--proto <protocol>", "the protocol").choices(["tcp", "udp"])
        .makeOptionMandatory(),
    )
    .requiredOption("--source <ip[:port]>", "the external host; without port: any", readEndpoint)
    .requiredOption("--destination <ip:port>", "the internal host and port", readDestination)
    .addOption(
      new Option("--ttl <duration>", "how long it lives, such as 90s, 10m or 1h30m")
        .argParser(readTtl).default(DEFAULT_TTL, "60s"),
    )
    .option("-n, --dry-run", "say whether the policy permits it, open nothing")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
It is asked for in the name of the delegate "operator" and of your account. What root asks for
needs no allow rule, but no deny rule is broken for it. Exit code 5: refused.`,
    )
    .action(open);
  pinhole.command("close")
    .description("Close pinholes, and end the connections that came in by them.")
    .argument("<id...>", "numbers of pinholes, as in pinhole list", readIds)
    .addOption(configOption())
    .option("-n, --dry-run", "show them, close nothing")
    .option("--json", "print a JSON object for each")
    .action(close);
  pinhole.command("list")
    .description("Show the pinholes that are open now.")
    .addOption(configOption())
    .option("-w, --watch", "then show each change, until interrupted")
    .option("--json", "print a JSON object for each")
    .action(list);
  pinhole.command("sweep")
    .description("Compare ledger, sockets and enforcer now, and read all counters.")
    .addOption(configOption())
    .option("--json", "print one JSON object")
    .action(sweep);
}

async function open(options: OpenOptions): Promise<void> {
  const { config } = readConfig(options.config);
  const { source, destination } = options;
  if (source.address.family !== destination.address.family) {
    throw new CliError(
      EXIT.USAGE,
      `source ${source.address.text} and destination ${destination.address.text} are of two families`,
      "give two IPv4 addresses or two IPv6 addresses",
    );
  }
  if (options.dryRun === true) {
    const { explainOpen } = await import("./pinhole_dry_run.ts");
    return await explainOpen(config, options);
  }
  const p = readPinhole(
    await askForOne(config, {
      op: "open",
      proto: options.proto,
      source: source.address.text,
      source_port: source.port,
      destination: destination.address.text,
      destination_port: destination.port,
      ttl: options.ttl,
    }),
  );
  show([p], options.json === true);
}

async function sweep(options: { config?: string; json?: boolean }): Promise<void> {
  const { config } = readConfig(options.config);
  const result = readSweep(await askForOne(config, { op: "sweep" }));
  if (options.json === true) return printJson(result);
  printLine(
    `${result.pinholes} looked at, ${result.repaired} put back, ${result.idle} idle, ` +
      `${Math.round(result.workMs)} ms of work`,
  );
}

async function close(ids: readonly number[], options: CloseOptions): Promise<void> {
  const { config } = readConfig(options.config);
  if (options.dryRun === true) return await showNamed(config, ids, options.json === true);
  const closed: PinholeRow[] = [];
  const failures: CliError[] = [];
  for (const id of ids) {
    try {
      const p = readPinhole(await askForOne(config, { op: "close", id }));
      if (options.json === true) printJson(p);
      else closed.push(p);
    } catch (error) {
      // One that is gone already must not keep the others open; without a daemon none can be closed.
      if (!(error instanceof CliError) || error.code === EXIT.UNREACHABLE) throw error;
      failures.push(error);
    }
  }
  if (closed.length > 0) show(closed, false);
  const last = failures.pop();
  for (const failure of failures) printMessage(`diaper: ${failure.message}`);
  if (last !== undefined) throw last;
}

async function showNamed(
  config: Parameters<typeof askDaemon>[0],
  ids: readonly number[],
  json: boolean,
): Promise<void> {
  const missing = new Set(ids);
  const found: PinholeRow[] = [];
  for await (const item of await askDaemon(config, { op: "list" })) {
    const p = readPinhole(item);
    if (missing.delete(p.id)) found.push(p);
  }
  show(found, json);
  if (missing.size === 0) return;
  throw new CliError(
    EXIT.FAILED,
    `there is no pinhole ${[...missing].join(", ")}`,
    "diaper pinhole list shows those that are open",
  );
}

async function list(options: ListOptions): Promise<void> {
  const { config } = readConfig(options.config);
  if (options.watch === true) {
    const { watchPinholes } = await import("./pinhole_watch.ts");
    return await watchPinholes(config, options.json === true);
  }
  const request: ControlRequest = { op: "list" };
  let rows: PinholeRow[] = [];
  let total = 0;
  for await (const item of await askDaemon(config, request)) {
    const p = readPinhole(item);
    total++;
    if (options.json === true) {
      printJson(p);
    } else if (rows.push(p) === ROWS_AT_ONCE) {
      show(rows, false);
      rows = [];
    }
  }
  if (rows.length > 0) show(rows, false);
  if (total === 0 && options.json !== true) printMessage("diaper: no pinhole is open");
}

/** Rows of one table; titles come again with the next, and columns fit their own rows. */
const ROWS_AT_ONCE = 1000;

/** Prints pinholes: a table, or a JSON object for each. */
function show(pinholes: readonly PinholeRow[], json: boolean): void {
  if (json) { for (const p of pinholes) printJson(p); }
  else if (pinholes.length > 0) print(table(columns(Date.now()), pinholes));
}

function columns(now: number): Column<PinholeRow>[] {
  const span = (time: string | null, sign: 1 | -1) =>
    time === null ? "-" : durationText(Math.max(0, sign * (now - Date.parse(time))));
  return [
    { title: "ID", cell: (p) => String(p.id), align: "right" },
    { title: "STATE", cell: (p) => p.state },
    { title: "PROTO", cell: (p) => p.proto },
    { title: "SOURCE", cell: (p) => placeText(p.source, p.source_port) },
    { title: "DESTINATION", cell: (p) => placeText(p.destination, p.destination_port) },
    { title: "USER/DELEGATE", cell: (p) => `${p.user}/${p.delegate}` },
    { title: "PROGRAM", cell: (p) => p.program === null ? "-" : `${p.program}[${p.pid ?? "?"}]` },
    { title: "AGE", cell: (p) => span(p.opened_at, 1), align: "right" },
    { title: "LEFT", cell: (p) => span(p.expires_at, -1), align: "right" },
    { title: "PACKETS", cell: (p) => String(p.packets), align: "right" },
    { title: "BYTES", cell: (p) => bytesText(p.bytes), align: "right" },
    { title: "RULE", cell: (p) => p.rule },
  ];
}

function readTtl(text: string): number {
  const seconds = readSeconds(text);
  if (seconds <= LONGEST_TTL) return seconds;
  throw new InvalidArgumentError("A pinhole opened by hand lives 365d at most.");
}

function readIds(text: string, before: readonly number[] | undefined): number[] {
  if (!/^[1-9][0-9]{0,14}$/.test(text)) {
    throw new InvalidArgumentError("Give the numbers that diaper pinhole list shows.");
  }
  return [...before ?? [], Number(text)];
}
