/**
 * The option that names a console's configuration, and what it and its files say.
 *
 * @module
 */
import { Option } from "commander";
import { type ConsoleConfig, consoleSchema, DEFAULT_CONSOLE_CONFIG } from "../admin/config.ts";
import { parseRegistry, type Peer, RegistryError } from "../admin/registry.ts";
import { ConfigError, parseYaml } from "../config/yaml.ts";
import { CliError, EXIT } from "./exit.ts";

/** `-c, --config FILE`; without it DIAPER_CONSOLE_CONFIG, and without that the default file. */
export function consoleOption(): Option {
  return new Option("-c, --config <file>", `configuration (default: ${DEFAULT_CONSOLE_CONFIG})`)
    .env("DIAPER_CONSOLE_CONFIG");
}

/**
 * Reads a console's configuration; when the default file is not there, all settings have their defaults.
 *
 * @throws {CliError} with everything that is wrong with it.
 */
export function readConsoleConfig(path: string | undefined): {
  readonly config: ConsoleConfig;
  readonly file: string;
} {
  const file = path === undefined || path === "" ? DEFAULT_CONSOLE_CONFIG : path;
  let text: string;
  try {
    text = Deno.readTextFileSync(file);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const absent = error instanceof Deno.errors.NotFound && file === DEFAULT_CONSOLE_CONFIG;
    if (!absent) throw new CliError(EXIT.INVALID, `cannot read ${file}: ${error.message}`);
    text = "";
  }
  try {
    return { config: parseYaml(consoleSchema, text, file), file };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new CliError(
      EXIT.INVALID,
      error.message,
      "see diaper-console(8) for what can stand there",
    );
  }
}

/**
 * Reads the registry of peers.
 *
 * @throws {CliError} when it is not there or a line cannot be used.
 */
export function readPeers(file: string): Peer[] {
  try {
    return parseRegistry(Deno.readTextFileSync(file), file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new CliError(
        EXIT.INVALID,
        `there is no ${file}`,
        `diaper console authorize NAME KEY >> ${file}`,
      );
    }
    if (!(error instanceof RegistryError)) throw error;
    throw new CliError(EXIT.INVALID, error.message, "see diaper-console(8) for the format");
  }
}

/** Where a console is asked. */
export function consolePlace(config: ConsoleConfig): {
  readonly run_dir: string;
  readonly control_group: string;
  readonly socket: string;
} {
  return { run_dir: config.run_dir, control_group: config.control_group, socket: "console.sock" };
}
