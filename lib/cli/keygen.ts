/**
 * `diaper keygen`: makes a key pair, for a broker's remote delegate or for a controller.
 *
 * @module
 */
import type { Command } from "commander";
import { remoteDelegate } from "../broker/delegates.ts";
import { KEY_TYPE, newKeyPair } from "../sys/ssh.ts";
import { configOption, readConfig } from "./config_option.ts";
import { CliError, EXIT } from "./exit.ts";
import { writeSecret } from "./key_files.ts";
import { printLine } from "./output.ts";

interface KeygenOptions {
  readonly config?: string;
  readonly delegate?: string;
  readonly host?: boolean;
  readonly force?: boolean;
}

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("keygen")
    .description("Make a key pair and print its public half.")
    .addOption(configOption())
    .option("-d, --delegate <name>", "the remote delegate it is for (default: this host's)")
    .option("--host", "make a controller's host key")
    .option("--force", "replace the one that is there")
    .addHelpText(
      "after",
      `
The private half goes to remote.keys/DELEGATE (or controller.host_key), mode 0600. The controller is
told the public half: diaper controller authorize DELEGATE "ssh-ed25519 ...".`,
    )
    .action(keygen);
}

function keygen(options: KeygenOptions): void {
  const { config } = readConfig(options.config);
  const delegate = options.delegate ?? remoteDelegate(config.remote, "");
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$/.test(delegate)) {
    throw new CliError(EXIT.USAGE, `"${delegate}" cannot be a delegate's name`, "give --delegate");
  }
  const host = options.host === true;
  const comment = host ? `${Deno.hostname()} (controller)` : delegate;
  const { privateKey, publicKey } = newKeyPair(comment);
  const path = host ? config.controller.host_key : `${config.remote.keys}/${delegate}`;
  writeSecret(path, privateKey, options.force === true);
  printLine(`${KEY_TYPE} ${publicKey} ${comment}`);
}
