/**
 * `diaper observe`: what was asked, allowed, refused, opened and closed, and why.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { inRange, type IpRange, parseIp } from "../net/ip.ts";
import { readCount, readPort, readRange, readSince } from "./arguments.ts";
import { AuditReader, type TrailQuery } from "./audit_reader.ts";
import { configOption, readConfig } from "./config_option.ts";
import { eventLine, type TrailEvent, type Verdict, verdictOf, VERDICTS } from "./event_line.ts";
import { CliError, EXIT } from "./exit.ts";
import { printJson, printLine, printMessage } from "./output.ts";

/** Conditions on an event; all that are given must hold. */
export interface TrailFilter {
  /** One of these. */
  readonly verdict?: readonly Verdict[];
  readonly fromIp?: IpRange;
  readonly toIp?: IpRange;
  readonly user?: string;
  readonly delegate?: string;
  /** The destination's port. */
  readonly port?: number;
}

interface ObserveOptions extends TrailFilter {
  readonly config?: string;
  readonly follow?: boolean;
  readonly since?: number;
  readonly last?: number;
  readonly json?: boolean;
}

/** Events shown before new ones, when nothing else is asked for. */
const BEFORE_FOLLOWING = 10;

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("observe")
    .description("Show what was asked, allowed, refused, opened and closed, and why.")
    .addOption(configOption())
    .option("-f, --follow", "then show each new event, until interrupted")
    .option(
      "--since <time>",
      "no older than this: RFC 3339, or how long ago such as 5m",
      (text) => readSince(text),
    )
    .option("--last <n>", "the newest N of those that match", readCount)
    .addOption(
      new Option("--verdict <verdict>", "only with this verdict (may be given several times)")
        .choices(VERDICTS).argParser(verdict),
    )
    .option("--from-ip <ip[/len]>", "only from this external host or network", readRange)
    .option("--to-ip <ip[/len]>", "only to this internal host or network", readRange)
    .option("--port <port>", "only to this destination port", readPort)
    .option("--user <name>", "only of this end user")
    .option("--delegate <name>", "only in the name of this delegate")
    .option("--json", "print a JSON object for each")
    .addHelpText(
      "after",
      `
Reads the audit trail (LOG_DIR/audit.jsonl and the file that was rotated last); the daemon need not
run. Without --since and --last: all of it, with --follow the last ${BEFORE_FOLLOWING}.`,
    )
    .action(observe);
}

async function observe(options: ObserveOptions): Promise<void> {
  const { config } = readConfig(options.config);
  const follow = options.follow === true;
  const plain = options.since === undefined && options.last === undefined;
  const last = options.last ?? (follow && plain ? BEFORE_FOLLOWING : undefined);
  const query: TrailQuery = {
    ...(options.since === undefined ? {} : { since: options.since }),
    ...(last === undefined ? {} : { last }),
    matches: (event) => matches(options, event),
  };
  const show = (event: TrailEvent) =>
    options.json === true ? printJson(event) : printLine(eventLine(event));
  try {
    if (follow) await followTrail(config.log_dir, query, show, sayTorn);
    else readTrail(config.log_dir, query, show, sayTorn);
  } catch (error) {
    throw explained(error, config.log_dir);
  }
}

/**
 * Shows what the trail holds.
 *
 * @param torn is told of the lines that are no events, when there are any.
 * @throws {CliError} when there is no trail.
 */
export function readTrail(
  directory: string,
  query: TrailQuery,
  show: (event: TrailEvent) => void,
  torn: (count: number) => void,
): void {
  using reader = new AuditReader(`${directory}/audit.jsonl`, query);
  if (!reader.found) throw noTrail(directory);
  for (const event of reader.events()) show(event);
  reader.finish();
  if (reader.skipped > 0) torn(reader.skipped);
}

/**
 * Shows what the trail holds and what is added, until `signal`.
 *
 * @throws {Deno.errors.NotFound} when the directory is not there.
 */
export async function followTrail(
  directory: string,
  query: TrailQuery,
  show: (event: TrailEvent) => void,
  torn: (count: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  // Watched before it is read, so that nothing falls between; the directory, so that rotation is seen.
  using watcher = Deno.watchFs(directory, { recursive: false });
  const stop = () => watcher.close();
  signal?.addEventListener("abort", stop);
  try {
    using reader = new AuditReader(`${directory}/audit.jsonl`, query);
    let told = 0;
    const take = () => {
      for (const event of reader.events()) show(event);
      if (reader.skipped > told) torn(reader.skipped - told);
      told = reader.skipped;
    };
    take();
    for await (const { kind } of watcher) if (kind !== "access") take();
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/** True when all conditions of the filter hold; a field that an event does not have meets none. */
export function matches(filter: TrailFilter, event: TrailEvent): boolean {
  const { verdict, fromIp, toIp, user, delegate, port } = filter;
  if (verdict !== undefined) {
    const found = verdictOf(event);
    if (found === undefined || !verdict.includes(found)) return false;
  }
  return (fromIp === undefined || isIn(event["source"], fromIp)) &&
    (toIp === undefined || isIn(event["destination"], toIp)) &&
    (user === undefined || event["user"] === user) &&
    (delegate === undefined || event["delegate"] === delegate) &&
    (port === undefined || event["destination_port"] === port);
}

function isIn(address: unknown, range: IpRange): boolean {
  const ip = typeof address === "string" ? parseIp(address) : undefined;
  return ip !== undefined && inRange(ip, range);
}

function sayTorn(count: number): void {
  printMessage(
    count === 1
      ? "diaper: skipped a line of the audit trail that is not an event"
      : `diaper: skipped ${count} lines of the audit trail that are not events`,
  );
}

function explained(error: unknown, directory: string): unknown {
  if (error instanceof Deno.errors.NotFound) return noTrail(directory);
  if (!(error instanceof Deno.errors.PermissionDenied)) return error;
  return new CliError(
    EXIT.NOT_PERMITTED,
    `this account may not read the audit trail in ${directory}`,
    "sudo diaper observe",
    { cause: error },
  );
}

function noTrail(directory: string): CliError {
  return new CliError(
    EXIT.FAILED,
    `there is no audit trail in ${directory}: diaper has not run with this configuration`,
    "sudo diaper up, or name its configuration: --config FILE",
  );
}

function verdict(text: string, before: readonly Verdict[] | undefined): Verdict[] {
  const found = VERDICTS.find((v) => v === text.toLowerCase());
  if (found !== undefined) return [...before ?? [], found];
  throw new InvalidArgumentError(`Use one of ${VERDICTS.join(", ")}.`);
}
