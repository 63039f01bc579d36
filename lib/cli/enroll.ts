/**
 * `diaper enroll`: joins this host to its controllers.
 *
 * @module
 */
import type { Command } from "commander";
import { remoteDelegate } from "../broker/delegates.ts";
import { visitController } from "../broker/enroll.ts";
import {
  type ControllerAddress,
  controllerName,
  knownControllerLine,
  parseKnownControllers,
} from "../broker/known_controllers.ts";
import type { Config } from "../controller/config.ts";
import { fingerprint, KEY_TYPE, newKeyPair, publicKeyOf } from "../sys/ssh.ts";
import { configOption, readConfig } from "./config_option.ts";
import { CliError, EXIT } from "./exit.ts";
import { readSecret, writeSecret } from "./key_files.ts";
import { printLine } from "./output.ts";

interface EnrollOptions {
  readonly config?: string;
  readonly delegate?: string;
  readonly hostKey?: string[];
}

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("enroll")
    .description("Join this host to the controllers that its configuration names.")
    .addOption(configOption())
    .option("-d, --delegate <name>", "the remote delegate to ask as (default: this host's)")
    .option("--host-key <fingerprint...>", "host keys to trust, as the controllers show them")
    .addHelpText(
      "after",
      `
Makes a key when there is none, pins the controllers' host keys in remote.known_controllers, and asks
each whether it knows our key. Nothing is trusted that was not named by --host-key or pinned before.
Exit codes: 0 all controllers serve us, 1 one does not answer, 5 a key is not known on either side.`,
    )
    .action(enroll);
}

async function enroll(options: EnrollOptions): Promise<void> {
  const { config, file } = readConfig(options.config);
  const { remote } = config;
  if (remote.controllers.length === 0) {
    throw new CliError(
      EXIT.INVALID,
      `${file}: remote.controllers names no controller`,
      "add one, such as [192.0.2.1:7422]",
    );
  }
  const delegate = options.delegate ?? remoteDelegate(remote, "");
  const privateKey = ownKey(config, delegate);
  for (const address of remote.controllers) {
    await join(config, address, delegate, privateKey, new Set(options.hostKey ?? []));
  }
}

function ownKey(config: Config, delegate: string): string {
  const path = `${config.remote.keys}/${delegate}`;
  try {
    Deno.statSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    writeSecret(path, newKeyPair(delegate).privateKey, false);
  }
  return readSecret(path, `diaper keygen --delegate ${delegate}`);
}

async function join(
  config: Config,
  address: ControllerAddress,
  delegate: string,
  privateKey: string,
  told: ReadonlySet<string>,
): Promise<void> {
  const name = controllerName(address);
  const pins = readPins(config).get(name);
  const trusted = (key: string) => pins === undefined ? told.has(fingerprint(key)) : pins.has(key);
  const visit = await visitController(address, config.remote.user, privateKey, trusted);
  if (visit.outcome === "failed") {
    throw new CliError(
      EXIT.FAILED,
      `${name}: ${visit.why}`,
      "is diaper controller running there, and may this host reach its port?",
    );
  }
  const shown = fingerprint(visit.hostKey);
  if (visit.outcome === "stranger") {
    throw new CliError(
      EXIT.NOT_PERMITTED,
      pins === undefined
        ? `${name} shows the host key ${shown}, which nobody has vouched for`
        : `${name} shows the host key ${shown}, which is not the one that was pinned`,
      pins === undefined
        ? `compare it with what diaper controller says at its start, then: diaper enroll --host-key ${shown}`
        : `somebody may be in between; if its key was replaced, remove its line from ${config.remote.known_controllers}`,
    );
  }
  if (pins === undefined) pin(config, knownControllerLine(address, visit.hostKey));
  if (visit.outcome === "unknown-here") {
    throw new CliError(
      EXIT.NOT_PERMITTED,
      `${name} does not know our key (${visit.why})`,
      `at the controller: diaper controller authorize ${delegate} ` +
        `"${KEY_TYPE} ${publicKeyOf(privateKey)}", and its line into authorized_keys`,
    );
  }
  if (visit.outcome === "standby") return printLine(`${name}: knows us; ${visit.why}`);
  if (visit.delegate !== delegate) {
    throw new CliError(
      EXIT.NOT_PERMITTED,
      `${name} takes us for ${visit.delegate}, not for ${delegate}`,
      `set remote.delegate to ${visit.delegate}, or authorize the key as ${delegate} there`,
    );
  }
  printLine(`${name}: serves us as ${delegate}; host key ${shown}`);
}

function readPins(config: Config): ReturnType<typeof parseKnownControllers> {
  const file = config.remote.known_controllers;
  try {
    return parseKnownControllers(Deno.readTextFileSync(file), file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return new Map();
    if (!(error instanceof SyntaxError)) throw error;
    throw new CliError(EXIT.INVALID, error.message, "remove or mend that line");
  }
}

function pin(config: Config, line: string): void {
  const file = Deno.openSync(config.remote.known_controllers, {
    append: true,
    create: true,
    mode: 0o644,
  });
  try {
    file.writeSync(new TextEncoder().encode(line + "\n"));
  } finally {
    file.close();
  }
}
