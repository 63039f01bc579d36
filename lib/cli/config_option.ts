/**
 * The option that names the configuration, and the configuration that it names.
 *
 * @module
 */
import { Option } from "commander";
import { ConfigError } from "../config/yaml.ts";
import { type Config, loadConfig } from "../controller/config.ts";
import { CliError, EXIT } from "./exit.ts";

/** `-c, --config FILE`; without it DIAPER_CONFIG, and without that the default file. */
export function configOption(): Option {
  return new Option("-c, --config <file>", "configuration (default: /etc/diaper/diaper.yaml)")
    .env("DIAPER_CONFIG");
}

/**
 * Reads the configuration.
 *
 * @throws {CliError} with everything that is wrong with it.
 */
export function readConfig(path: string | undefined): { config: Config; file: string } {
  try {
    return loadConfig(path === "" ? undefined : path);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new CliError(EXIT.INVALID, error.message, "see diaper.yaml(5) for what can stand there");
  }
}
