/**
 * `diaper agent-broker`: the broker alone, for hosts whose perimeter is elsewhere.
 *
 * @module
 */
import type { Command } from "commander";
import { ControllerLink } from "../broker/controller_link.ts";
import { remoteDelegates } from "../broker/delegates.ts";
import { controllerName, parseKnownControllers } from "../broker/known_controllers.ts";
import type { Config } from "../controller/config.ts";
import { ownDirectory } from "../controller/run_directory.ts";
import { groupId } from "../sys/accounts.ts";
import { raiseDescriptorLimit } from "../sys/limits.ts";
import { publicKeyOf } from "../sys/ssh.ts";
import { configOption, readConfig } from "./config_option.ts";
import { Daemon } from "./daemon.ts";
import { CliError, EXIT } from "./exit.ts";
import { readSecret } from "./key_files.ts";
import { printMessage } from "./output.ts";

interface BrokerOptions {
  readonly config?: string;
  readonly check?: boolean;
}

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("agent-broker")
    .description("Hand this host's requests over to controllers elsewhere.")
    .addOption(configOption())
    .option("-n, --check", "check configuration and keys, change nothing")
    .addHelpText(
      "after",
      `
Stays in the foreground; messages go to stderr. SIGTERM and SIGINT stop it; the pinholes of programs
that live on stay until their lease at the controller ends, and a restart takes them up again. SIGHUP
loads keys anew and connects with them.`,
    )
    .action(serve);
}

async function serve(options: BrokerOptions): Promise<void> {
  const { config, file } = readConfig(options.config);
  if (config.remote.controllers.length === 0) {
    throw new CliError(
      EXIT.INVALID,
      `${file}: remote.controllers names no controller`,
      "add one, such as [192.0.2.1:7422]; on a host that is its own perimeter run diaper up",
    );
  }
  const secrets = readKeys(config);
  readPins(config);
  if (options.check === true) {
    printMessage(`diaper: ${file} and keys are in order`);
    return;
  }
  if (Deno.uid() !== 0) {
    throw new CliError(
      EXIT.NOT_PERMITTED,
      "agent-broker needs root, to prove who asks",
      "sudo diaper agent-broker",
    );
  }
  ownDirectory(config.run_dir, 0o755);
  ownDirectory(config.state_dir, 0o700);
  ownDirectory(config.log_dir, 0o750);
  raiseDescriptorLimit();
  const links = new Links(config);
  const daemon = new Daemon("broker", {
    ready: (d) => links.start(d, secrets),
    reloads: "keys",
    reload: (d) => {
      links.start(d, readKeys(config));
      return Promise.resolve();
    },
    stopping: () => links.stop(),
  });
  await daemon.run({
    config,
    policy: undefined,
    enforcer: undefined,
    controlGid: groupId(config.control_group),
    gate: undefined,
  });
}

/** The links of all remote delegates. */
class Links {
  readonly #config: Config;
  #links: ControllerLink[] = [];

  constructor(config: Config) {
    this.#config = config;
  }

  /** Connects with these keys, in place of all connections that there were. */
  start(daemon: Daemon, secrets: ReadonlyMap<string, string>): void {
    const pins = readPins(this.#config);
    this.stop();
    const { controllers, user } = this.#config.remote;
    for (const [delegate, privateKey] of secrets) {
      const link = new ControllerLink({
        controllers,
        user,
        privateKey,
        pins,
        connected: (fd, controller) => daemon.order({ order: "link", delegate, controller, fd }),
        log: (level, text) => daemon.say(level, text),
      });
      this.#links.push(link);
      void link.run();
    }
    daemon.log.info("asking {controllers} in the name of {delegates}", {
      controllers: controllers.map(controllerName).join(", "),
      delegates: [...secrets.keys()].join(", "),
    });
  }

  stop(): void {
    for (const link of this.#links) link.stop();
    this.#links = [];
  }
}

/** The private keys by remote delegate. */
function readKeys(config: Config): Map<string, string> {
  return new Map(
    remoteDelegates(config.remote).map((delegate) => {
      const path = `${config.remote.keys}/${delegate}`;
      const text = readSecret(path, `diaper keygen --delegate ${delegate}`);
      try {
        publicKeyOf(text);
      } catch (error) {
        throw new CliError(
          EXIT.INVALID,
          `${path}: ${error instanceof Error ? error.message : String(error)}`,
          `diaper keygen --delegate ${delegate} --force`,
        );
      }
      return [delegate, text];
    }),
  );
}

function readPins(config: Config): Map<string, Set<string>> {
  const file = config.remote.known_controllers;
  try {
    return parseKnownControllers(Deno.readTextFileSync(file), file);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new CliError(
      EXIT.INVALID,
      error instanceof Deno.errors.NotFound
        ? `no controller's host key is pinned: there is no ${file}`
        : error.message,
      "diaper enroll",
    );
  }
}
