/**
 * What an NI is to be, from the command line or from its configuration.
 *
 * @module
 */
import { ConfigError } from "../config/yaml.ts";
import { builtInScanners, ScannerPlaces, usualRights } from "../ni/catalogue.ts";
import { DEFAULT_RUN_DIR, loadNiConfig, type NiConfig } from "../ni/config.ts";
import type { ScannerRights } from "../ni/rights.ts";
import { CliError, EXIT } from "./exit.ts";

/** A scanner that can be started. */
export interface ReadyScanner {
  readonly rights: ScannerRights;
  readonly command: readonly string[];
}

/** What an NI is to be, with everything that can be started. */
export interface NiSettings extends Omit<NiConfig, "scanners"> {
  readonly scanners: ReadonlyMap<string, ReadyScanner>;
}

/** What the command line says of it. */
export interface NiWords {
  readonly host?: string;
  readonly net?: string;
  readonly attach?: string;
  readonly onExit?: "open" | "closed";
  readonly scanner?: string[];
  readonly prevent?: string[];
  readonly hostNet?: string[];
  readonly runDir?: string;
  readonly reconstruct?: string[];
}

/** Names of the scanners that come with Diaper, as a list. */
export function scannerNames(): string {
  return builtInScanners().map(({ name }) => name).join(", ");
}

/**
 * Reads a configuration.
 *
 * @param places users of the scanners, the same ones as before when it is read anew.
 * @throws {CliError} with everything that is wrong with it.
 * @throws {AssetError} when its scanners cannot be started here.
 */
export function settingsFromFile(file: string, places: ScannerPlaces): NiSettings {
  let config: NiConfig;
  try {
    config = loadNiConfig(file);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new CliError(EXIT.INVALID, error.message, "see diaper-ni(8) for what can stand there");
  }
  return {
    ...config,
    scanners: new Map(
      [...config.scanners].map(([name, { program, rights }]) => [
        name,
        { rights, command: places.command(name, program, rights) },
      ]),
    ),
  };
}

/**
 * Takes what the command line says.
 *
 * @throws {CliError} when there is no scanner of a name. @throws {AssetError} as {@link settingsFromFile}.
 */
export function settingsFromWords(words: NiWords, places: ScannerPlaces): NiSettings {
  const { host, net, attach } = words;
  const between = host === undefined || net === undefined ? undefined : { host, net };
  return {
    links: attach === undefined ? between : { attach },
    onExit: words.onExit ?? "closed",
    hostNetworks: words.hostNet ?? [],
    runDir: words.runDir ?? DEFAULT_RUN_DIR,
    reconstruct: words.reconstruct ?? [],
    streams: {},
    prevent: (words.prevent ?? []).map((filter, i) => ({ name: `prevent ${i + 1}`, filter })),
    scanners: new Map((words.scanner ?? []).map((name) => {
      const rights = rightsOf(name);
      return [name, { rights, command: places.command(name, { builtIn: name }, rights) }];
    })),
  };
}

function rightsOf(name: string): ScannerRights {
  const rights = usualRights(name);
  if (rights !== undefined) return rights;
  throw new CliError(
    EXIT.USAGE,
    `There is no scanner named ${JSON.stringify(name)}`,
    `choose from: ${scannerNames()}`,
  );
}

/** Alerts a minute of a scanner whose alerts are the mail log of a capture. */
const MAIL_LINES = 1_000_000;

/**
 * The scanners, with that of e-mail telling of each message: it runs for that alone when it was not asked for.
 *
 * @throws {AssetError} as {@link settingsFromFile}.
 */
export function withMailLog(
  scanners: NiSettings["scanners"],
  places: ScannerPlaces,
): NiSettings["scanners"] {
  const asked = scanners.get("email");
  const usual = rightsOf("email");
  const rights = {
    ...asked?.rights ?? { ...usual, onFailure: "open" as const },
    alertsPerMinute: MAIL_LINES,
    options: { ...asked?.rights.options, log: true },
  };
  const command = asked?.command ?? places.command("email", { builtIn: "email" }, rights);
  return new Map([...scanners, ["email", { rights, command }]]);
}
