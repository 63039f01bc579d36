/**
 * The option that names the configuration, and the configuration that it names.
 *
 * @module
 */
import { Option } from "commander";
import { ConfigError, locate } from "../config/yaml.ts";
import { type Config, loadConfig } from "../controller/config.ts";
import { enforcerMisfits } from "../controller/enforcer_options.ts";
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
    throw invalid(error);
  }
}

/**
 * Checks that an enforcer, or all that are listed, can be set up as the configuration says.
 *
 * @param name of the enforcer, or `SEVERAL`.
 * @param file where the configuration was read.
 * @throws {CliError} with everything that does not fit.
 */
export async function checkEnforcer(name: string, config: Config, file: string): Promise<void> {
  const misfits = await enforcerMisfits(name, config);
  if (misfits.length === 0) return;
  throw invalid(locate(misfits, textOf(file), file));
}

function invalid(error: ConfigError): CliError {
  return new CliError(EXIT.INVALID, error.message, "see diaper.yaml(5) for what can stand there");
}

/** The default configuration need not be there. */
function textOf(file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
