/**
 * `diaper enforcer list`, `parse` and `show`: the drivers, what a saved listing says, and what an enforcer
 * holds now.
 *
 * @module
 */
import { Argument, type Command, Option } from "commander";
import type { EnforcerCapabilities, ListedEntry } from "../../drivers/enforcer.ts";
import type { ListingEntry } from "../../drivers/listing.ts";
import { createEnforcer, driverEntry, DRIVERS } from "../../drivers/registry.ts";
import { endpointText } from "../pinhole/pinhole.ts";
import { checkEnforcer, configOption, readConfig } from "./config_option.ts";
import { CliError, EXIT } from "./exit.ts";
import { type Column, print, printJson, printMessage, table } from "./output.ts";

/** Longest listing that is read: a router's whole configuration, or a million elements. */
const MAX_LISTING = 512 * 1024 * 1024;

interface ParseOptions {
  readonly json?: boolean;
  readonly ours?: boolean;
}

interface ShowOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** The names of all drivers, as an argument. */
function nameArgument(): Argument {
  return new Argument("<name>", "the driver").choices(DRIVERS.map((entry) => entry.name));
}

/** Adds the verb. */
export function register(parent: Command): void {
  const enforcer = parent.command("enforcer")
    .description("Show the drivers, what an enforcer holds, and what a saved listing says.");
  enforcer.command("list")
    .description("Show all drivers and what each can do.")
    .option("--json", "print one JSON object a line")
    .action(list);
  enforcer.command("parse")
    .description("Read a saved listing of an enforcer, to check a driver against an own device.")
    .addArgument(nameArgument())
    .argument("<file>", "what the device printed; - for standard input")
    .option("--ours", "only entries with a mark of ours")
    .option("--json", "print one JSON object a line")
    .action(parse);
  enforcer.command("show")
    .description("Show the pinholes that an enforcer holds now; nothing is changed there.")
    .addArgument(nameArgument())
    .addOption(configOption())
    .addOption(new Option("--json", "print one JSON object a line"))
    .action(show);
}

async function list({ json }: { readonly json?: boolean }): Promise<void> {
  const rows = await Promise.all(DRIVERS.map(async ({ name, summary, kind, load }) => {
    const driver = await load();
    return {
      name,
      kind,
      summary,
      capabilities: driver.capabilities,
      parses: driver.parse !== undefined,
    };
  }));
  if (json === true) {
    for (const { capabilities, ...row } of rows) printJson({ ...row, ...fields(capabilities) });
    return;
  }
  const yes = (value: boolean) => value ? "yes" : "-";
  print(table([
    { title: "NAME", cell: (r) => r.name },
    { title: "KIND", cell: (r) => r.kind },
    { title: "ATOMIC", cell: (r) => yes(r.capabilities.atomic) },
    { title: "COUNTERS", cell: (r) => counterText(r.capabilities.counterAge) },
    { title: "CAPACITY", cell: (r) => capacityText(r.capabilities.capacity), align: "right" },
    { title: "BATCH", cell: (r) => String(r.capabilities.optimalBatch), align: "right" },
    { title: "IPV6", cell: (r) => yes(r.capabilities.ipv6) },
    { title: "SPORT", cell: (r) => yes(r.capabilities.sourcePorts) },
    { title: "RANGES", cell: (r) => yes(r.capabilities.portRanges) },
    { title: "LEASES", cell: (r) => yes(r.capabilities.leases) },
    { title: "PERSISTS", cell: (r) => yes(r.capabilities.persistent) },
    { title: "WHAT", cell: (r) => r.summary },
  ], rows));
}

async function parse(name: string, file: string, options: ParseOptions): Promise<void> {
  const { parse } = await driverEntry(name).load();
  if (parse === undefined) {
    throw new CliError(EXIT.USAGE, `${name} has no listings that could be read`);
  }
  const entries = parse(await readListing(file)).filter((e) => options.ours !== true || e.ours);
  if (options.json === true) {
    for (const entry of entries) printJson(entry);
    return;
  }
  if (entries.length === 0) printMessage(`diaper: ${file} has no entries that ${name} knows`);
  else print(table(LISTING, entries));
}

async function show(name: string, options: ShowOptions): Promise<void> {
  const { config, file } = readConfig(options.config);
  await checkEnforcer(name, config, file);
  const enforcer = await createEnforcer(name, config.enforcer);
  if (enforcer.inspect === undefined) {
    throw new CliError(EXIT.USAGE, `${name} cannot be looked at without being used`);
  }
  const entries = await enforcer.inspect();
  if (options.json === true) {
    for (const entry of entries) printJson(entryFields(entry));
    return;
  }
  if (entries.length === 0) printMessage(`diaper: ${name} holds no pinholes of ours`);
  else print(table(HELD, entries));
}

const LISTING: readonly Column<ListingEntry>[] = [
  { title: "ACL", cell: (e) => text(e.acl) },
  { title: "SEQ", cell: (e) => text(e.seq), align: "right" },
  { title: "ACTION", cell: (e) => text(e.action) },
  { title: "PROTO", cell: (e) => text(e.proto) },
  { title: "SOURCE", cell: (e) => text(e.source) },
  { title: "PORT", cell: (e) => text(e.source_port) },
  { title: "DESTINATION", cell: (e) => text(e.destination) },
  { title: "PORT", cell: (e) => text(e.destination_port) },
  { title: "PACKETS", cell: (e) => text(e.packets), align: "right" },
  { title: "OURS", cell: (e) => e.ours ? "yes" : "-" },
];

const HELD: readonly Column<ListedEntry>[] = [
  { title: "PROTO", cell: (e) => e.tuple.protocol },
  { title: "SOURCE", cell: (e) => endpointText(e.tuple.source, e.tuple.sourcePort) },
  { title: "DESTINATION", cell: (e) => endpointText(e.tuple.destination, e.tuple.destinationPort) },
  { title: "PACKETS", cell: (e) => String(e.packets), align: "right" },
  { title: "BYTES", cell: (e) => String(e.bytes), align: "right" },
  {
    title: "EXPIRES",
    cell: (e) => e.expires === undefined ? "-" : `${Math.round(e.expires)} s`,
    align: "right",
  },
];

function entryFields({ tuple, packets, bytes, expires }: ListedEntry): Record<string, unknown> {
  return {
    proto: tuple.protocol,
    source: tuple.source.text,
    source_port: tuple.sourcePort === 0 ? null : tuple.sourcePort,
    destination: tuple.destination.text,
    destination_port: tuple.destinationPort,
    packets,
    bytes,
    expires: expires ?? null,
  };
}

/** Capabilities with the names of JSON. */
function fields(c: EnforcerCapabilities): Record<string, unknown> {
  return {
    atomic: c.atomic,
    counter_age: c.counterAge ?? null,
    capacity: c.capacity === Number.MAX_SAFE_INTEGER ? null : c.capacity,
    optimal_batch: c.optimalBatch,
    ipv6: c.ipv6,
    source_ports: c.sourcePorts,
    port_ranges: c.portRanges,
    persistent: c.persistent,
    leases: c.leases,
  };
}

function counterText(age: number | undefined): string {
  if (age === undefined) return "none";
  return age === 0 ? "live" : `${age} s old`;
}

function capacityText(capacity: number): string {
  return capacity === Number.MAX_SAFE_INTEGER ? "no limit" : String(capacity);
}

function text(value: string | number | null): string {
  return value === null ? "-" : String(value);
}

/** A listing may have bytes that are no UTF-8 (banners): they are shown as replacement characters. */
async function readListing(file: string): Promise<string> {
  try {
    const stream = file === "-" ? Deno.stdin.readable : (await Deno.open(file)).readable;
    const decoder = new TextDecoder();
    let size = 0;
    let text = "";
    for await (const chunk of stream) {
      size += chunk.length;
      if (size > MAX_LISTING) {
        throw new CliError(EXIT.FAILED, `${file} is longer than ${MAX_LISTING} bytes`);
      }
      text += decoder.decode(chunk, { stream: true });
    }
    return text + decoder.decode();
  } catch (error) {
    if (error instanceof CliError || !(error instanceof Error)) throw error;
    if (error instanceof Deno.errors.PermissionDenied) throw error;
    throw new CliError(EXIT.FAILED, `cannot read ${file}: ${error.message}`);
  }
}
