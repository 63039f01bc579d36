/**
 * The administrator's configuration of an NI: its links, what the wire does without it, what is dropped, and which
 * scanners there are with which rights (diaper-ni(8)). YAML, checked by a schema that also compiles the filters and
 * reads the injections, so that everything that is wrong is told at file:line:column before anything is changed.
 *
 * @module
 */
import { z } from "zod";
import { absolutePath, duration, interfaceName, prefixText } from "../config/values.ts";
import { ConfigError, parseYaml, unreadable } from "../config/yaml.ts";
import { FilterError } from "../sys/libpcap.ts";
import { builtInScanners, type ScannerProgram, USUAL_RIGHTS, usualRights } from "./catalogue.ts";
import type { PreventRule } from "./kernel_types.ts";
import { readOptionFiles } from "./option_files.ts";
import { frameFilter, type ScannerRights } from "./rights.ts";
import type { TableSettings } from "./stream/table.ts";

/** Where it is looked for when none is named. */
export const DEFAULT_NI_CONFIG = "/etc/diaper/ni.yaml";

/** Directory of the control socket when none is named. */
export const DEFAULT_RUN_DIR = "/run/diaper";

/** Link type of Ethernet, which inline links have. */
const ETHERNET = 1;
const UNITS: Readonly<Record<string, number>> = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };
/** Bytes of what can be registered: the largest frame fits. */
const LONGEST_INJECTION = 65_535;
/** They are told to the scanner in one message of its protocol. */
const LONGEST_OPTIONS = 96 * 1024;

const size = z.string().regex(/^[1-9][0-9]{0,8}(KiB|MiB|GiB)$/, {
  error: 'expected a size such as "512MiB"',
}).transform((text) => Number(text.slice(0, -3)) * (UNITS[text.slice(-3)] as number));

const filter = z.string().max(4000).superRefine((text, context) => {
  try {
    frameFilter(text, ETHERNET);
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    context.addIssue({ code: "custom", message: error.message });
  }
});

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,40}$/, {
  error: "expected a name of letters, digits, _, . and -",
});

const injection = z.strictObject({
  name,
  file: absolutePath,
  /** What it is: a whole frame, or bytes of a stream. */
  as: z.enum(["frame", "stream"]).default("frame"),
}).transform((given, context) => {
  const bytes = readInjection(given.file);
  if (typeof bytes !== "string") return { name: given.name, frame: bytes, kind: given.as };
  context.addIssue({ code: "custom", message: bytes, path: ["file"] });
  return z.NEVER;
});

const options = z.record(z.string(), z.unknown()).transform((given, context) => {
  try {
    const read = readOptionFiles(given);
    if (JSON.stringify(read.options).length <= LONGEST_OPTIONS) return read;
    context.addIssue({
      code: "custom",
      message: `more than ${LONGEST_OPTIONS} characters as JSON`,
    });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    context.addIssue({ code: "custom", message: error.message });
  }
  return z.NEVER;
});

const scanner = z.strictObject({
  /** A program in place of one of Diaper's scanners, with its arguments, and files that it may read. */
  program: absolutePath.optional(),
  arguments: z.array(z.string().max(1000)).default([]),
  files: z.array(absolutePath).max(24).default([]),
  read: z.array(filter).max(16).optional(),
  contain: z.array(filter).max(16).optional(),
  /** Rights to reconstructed streams: filters of packets from the client to the server. */
  streams: z.strictObject({
    read: z.array(filter).max(16).default([]),
    contain: z.array(filter).max(16).default([]),
  }).optional(),
  injections: z.array(injection).max(256).optional(),
  services: z.record(name, absolutePath).default({}),
  alerts_per_minute: z.int().min(0).max(100_000).optional(),
  memory: size.optional(),
  /** Percent of one processor. */
  cpu: z.int().min(1).max(100).optional(),
  queue_frames: z.int().min(1).max(65_536).optional(),
  queue_bytes: size.optional(),
  hold: duration.optional(),
  on_failure: z.enum(["open", "closed"]).optional(),
  options: options.default({ options: {}, tables: [] }),
});

const schema = z.strictObject({
  links: z.union([
    z.strictObject({ host: interfaceName, net: interfaceName }),
    z.strictObject({ attach: interfaceName }),
  ], { error: "expected host and net, or attach: the names of network interfaces" }).optional(),
  on_exit: z.enum(["open", "closed"]).default("closed"),
  host_networks: z.array(prefixText).default([]),
  run_dir: absolutePath.default(DEFAULT_RUN_DIR),
  /** Connections that are put together though no scanner asks for them. */
  reconstruct: z.array(filter).max(16).default([]),
  /** How streams are put together, and their bounds. */
  streams: z.strictObject({
    overlap: z.enum(["first", "last"]).optional(),
    urgent: z.enum(["inline", "keep"]).optional(),
    least_ttl: z.int().min(0).max(255).optional(),
    /** Held of one direction of a connection, and of all together. */
    connection: size.optional(),
    all: size.optional(),
    connections: z.int().min(100).max(10_000_000).optional(),
  }).default({}),
  prevent: z.array(z.strictObject({ name: name.optional(), filter })).max(64).default([]),
  scanners: z.record(name, scanner).default({}),
}).superRefine(({ scanners }, context) => {
  const known = builtInScanners().map((one) => one.name);
  for (const [called, given] of Object.entries(scanners)) {
    if (given.program !== undefined || known.includes(called)) continue;
    const message = `there is no scanner of that name: give its program, or choose from ${
      known.join(", ")
    }`;
    context.addIssue({ code: "custom", message, path: ["scanners", called] });
  }
});

/** A scanner as the administrator wants it. */
export interface ScannerSettings {
  readonly rights: ScannerRights;
  readonly program: ScannerProgram;
}

/** A checked configuration. */
export interface NiConfig {
  /** Undefined: over captures only. */
  readonly links:
    | { readonly host: string; readonly net: string }
    | { readonly attach: string }
    | undefined;
  readonly onExit: "open" | "closed";
  readonly hostNetworks: readonly string[];
  readonly runDir: string;
  readonly reconstruct: readonly string[];
  /** What differs from what is usual. */
  readonly streams: Partial<TableSettings>;
  readonly prevent: readonly PreventRule[];
  readonly scanners: ReadonlyMap<string, ScannerSettings>;
}

/**
 * Reads a configuration.
 *
 * @param file its name, for messages.
 * @throws {ConfigError} with everything that is wrong with it.
 */
export function parseNiConfig(text: string, file: string): NiConfig {
  const given = parseYaml(schema, text, file);
  return {
    links: given.links,
    onExit: given.on_exit,
    hostNetworks: given.host_networks,
    runDir: given.run_dir,
    reconstruct: given.reconstruct,
    streams: streamSettings(given.streams),
    prevent: given.prevent.map((rule, i) => ({
      name: rule.name ?? `prevent ${i + 1}`,
      filter: rule.filter,
    })),
    scanners: new Map(
      Object.entries(given.scanners).map(([called, one]) => [called, settings(called, one)]),
    ),
  };
}

/** All keys that can stand in a configuration, whatever they stand in. */
export function niConfigKeys(): string[] {
  const keys = new Set<string>();
  const walk = (node: unknown) => {
    if (typeof node !== "object" || node === null) return;
    if ("properties" in node) {
      for (const key of Object.keys(node.properties ?? {})) {
        keys.add(key);
      }
    }
    for (const inner of Object.values(node)) walk(inner);
  };
  walk(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }));
  return [...keys];
}

/** Reads the configuration in a file. @throws {ConfigError} when it cannot be read or used. */
export function loadNiConfig(file: string): NiConfig {
  let text: string;
  try {
    text = Deno.readTextFileSync(file);
  } catch (error) {
    throw unreadable(file, error);
  }
  return parseNiConfig(text, file);
}

function streamSettings(given: z.infer<typeof schema>["streams"]): Partial<TableSettings> {
  const told = Object.entries({
    overlap: given.overlap,
    urgent: given.urgent,
    leastTtl: given.least_ttl,
    streamBytes: given.connection,
    bytes: given.all,
    connections: given.connections,
  }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(told) as Partial<TableSettings>;
}

function settings(called: string, given: z.infer<typeof scanner>): ScannerSettings {
  // What one of Diaper's scanners needs for what it is for, unless the administrator says otherwise.
  const usual = given.program === undefined ? usualRights(called) : undefined;
  const rights = {
    read: given.read,
    contain: given.contain,
    streams: given.streams,
    injections: given.injections,
    services: given.services,
    alertsPerMinute: given.alerts_per_minute,
    memory: given.memory,
    cpu: given.cpu,
    queueFrames: given.queue_frames,
    queueBytes: given.queue_bytes,
    holdLimit: given.hold === undefined ? undefined : given.hold * 1000,
    onFailure: given.on_failure,
    options: given.options.options,
    optionTables: given.options.tables,
  };
  const told = Object.entries(rights).filter(([, value]) => value !== undefined);
  return {
    rights: { ...(usual ?? USUAL_RIGHTS), ...Object.fromEntries(told) as Partial<ScannerRights> },
    program: given.program === undefined
      ? { builtIn: called }
      : { path: given.program, arguments: given.arguments, files: given.files },
  };
}

/** Bytes that are registered, or why they cannot be used. */
function readInjection(path: string): Uint8Array | string {
  let info: Deno.FileInfo;
  let bytes: Uint8Array;
  try {
    info = Deno.statSync(path);
    if (!info.isFile) return "is not a file";
    if (info.size > LONGEST_INJECTION) return `has more than ${LONGEST_INJECTION} bytes`;
    bytes = Deno.readFileSync(path);
  } catch (error) {
    return `cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (info.uid !== Deno.uid() && info.uid !== 0) return `belongs to uid ${info.uid}: chown it`;
  if (((info.mode ?? 0) & 0o022) !== 0) return "can be written by others: chmod go-w";
  return bytes.length === 0 ? "is empty" : bytes;
}
