/**
 * `diaper controller`: opens and closes pinholes for other hosts at one enforcer.
 *
 * @module
 */
import { type Command, Option } from "commander";
import { DRIVERS } from "../../drivers/registry.ts";
import { isKey } from "../broker/known_controllers.ts";
import { authorizedKeyLine, parseAuthorizedKeys } from "../controller/authorized_keys.ts";
import type { Config } from "../controller/config.ts";
import { BROKER_SOCKET } from "../controller/remote_controller.ts";
import { ownDirectory } from "../controller/run_directory.ts";
import { SEVERAL } from "../controller/several_enforcers.ts";
import { SshServer } from "../controller/ssh_server.ts";
import { groupId, userGroup, userId } from "../sys/accounts.ts";
import { raiseDescriptorLimit } from "../sys/limits.ts";
import { ownCommand } from "../sys/runtime.ts";
import { fingerprint, KEY_TYPE, publicKeyOf } from "../sys/ssh.ts";
import { checkEnforcer, configOption, readConfig } from "./config_option.ts";
import { Daemon } from "./daemon.ts";
import { CliError, EXIT } from "./exit.ts";
import { readSecret } from "./key_files.ts";
import { printLine, printMessage } from "./output.ts";
import { denialsFile } from "../controller/denials.ts";
import { loadPolicySource } from "./policy_source.ts";

interface ControllerOptions {
  readonly config?: string;
  readonly enforcer?: string;
  readonly check?: boolean;
  readonly dryRun?: boolean;
}

/** Adds the verb. */
export function register(parent: Command): void {
  const verb = parent.command("controller")
    .description("Open and close pinholes for other hosts at one enforcer.")
    .addOption(
      new Option("-e, --enforcer <name>", "the enforcer").choices(DRIVERS.map((d) => d.name)),
    )
    .addOption(configOption())
    .option("-n, --check", "check configuration, policy and keys, change nothing")
    .option(
      "--dry-run",
      "serve, but print what would be sent to the enforcer instead of sending it",
    )
    .addHelpText(
      "after",
      `
Stays in the foreground; messages go to stderr. SIGTERM and SIGINT stop it in good order; open
pinholes stay. SIGHUP loads policy and authorized keys anew; what they do not allow any more is
closed.`,
    )
    .action(serve);
  verb.command("authorize <delegate> <key>")
    .description("Print the line that lets a broker's key ask in a delegate's name.")
    .addOption(new Option("--from <addresses>", "addresses and prefixes it may come from"))
    .addHelpText(
      "after",
      `
KEY is a public key ("ssh-ed25519 AAAA..." in quotes), or a file with one. The line goes to the file
that controller.authorized_keys names; it serves the controller's own SSH server and a stock sshd.`,
    )
    .action(authorize);
}

async function serve(options: ControllerOptions): Promise<void> {
  const { config: whole, file } = readConfig(options.config);
  const dryRun = options.dryRun === true;
  // The ledger of what never was must not become that of what is.
  const config = dryRun ? { ...whole, state_dir: `${whole.state_dir}/dry-run` } : whole;
  const enforcer = options.enforcer ?? (config.enforcers.length > 0 ? SEVERAL : undefined);
  if (enforcer === undefined) {
    throw new CliError(
      EXIT.USAGE,
      "which enforcer?",
      "give --enforcer NAME, or list several under enforcers in diaper.yaml(5)",
    );
  }
  await checkEnforcer(enforcer, config, file);
  const policy = await loadPolicySource(config.policy, denialsFile(config.state_dir));
  const { listen, gate_account } = config.controller;
  if (listen.length === 0 && gate_account === null) {
    throw new CliError(
      EXIT.INVALID,
      `${file}: nobody could reach this controller`,
      "set controller.listen, or controller.gate_account for a stock sshd; see diaper.yaml(5)",
    );
  }
  const keys = readKeys(config);
  const hostKey = listen.length === 0 ? undefined : readHostKey(config);
  if (options.check === true) {
    printMessage(`diaper: ${file}, ${config.policy} and keys are in order`);
    return;
  }
  mustBeRoot();
  ownDirectory(config.run_dir, 0o755);
  ownDirectory(config.state_dir, 0o700);
  ownDirectory(config.log_dir, 0o750);
  raiseDescriptorLimit();
  let server: SshServer | undefined;
  const daemon = new Daemon("controller", {
    ready: async (d) => {
      if (hostKey === undefined) return;
      server = new SshServer({
        hostKey,
        keys,
        socket: `${config.run_dir}/${BROKER_SOCKET}`,
        log: (level, text) => d.say(level, text),
      });
      for (const { host, port } of listen) {
        const bound = await server.listen(host, port);
        d.log.info("brokers may come to {host} port {port}; host key {key}", {
          host,
          port: bound,
          key: fingerprint(publicKeyOf(hostKey)),
        });
      }
    },
    reloads: "policy and keys",
    reload: async (d) => {
      const [source, known] = [
        await loadPolicySource(config.policy, denialsFile(config.state_dir)),
        readKeys(config),
      ];
      server?.setKeys(known);
      d.order({ order: "delegates", delegates: known.map((k) => k.delegate) });
      d.order({ order: "policy", policy: source });
    },
    stopping: () => server?.close(),
  });
  await daemon.run({
    config,
    policy,
    enforcer,
    dryRun,
    controlGid: groupId(config.control_group),
    gate: gateOf(gate_account),
  });
}

function readKeys(config: Config): ReturnType<typeof parseAuthorizedKeys> {
  const file = config.controller.authorized_keys;
  try {
    return parseAuthorizedKeys(Deno.readTextFileSync(file), file);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new CliError(
      EXIT.INVALID,
      error instanceof Deno.errors.NotFound ? `there is no ${file}` : error.message,
      `diaper controller authorize DELEGATE KEY >> ${file}`,
    );
  }
}

function readHostKey(config: Config): string {
  const text = readSecret(config.controller.host_key, "diaper keygen --host");
  publicKeyOf(text); // says what is wrong with it before anybody needs it
  return text;
}

function gateOf(account: string | null): { uid: number; gid: number } | undefined {
  if (account === null) return undefined;
  const [uid, gid] = [userId(account), userGroup(account)];
  if (uid !== undefined && gid !== undefined) return { uid, gid };
  throw new CliError(
    EXIT.INVALID,
    `controller.gate_account: there is no account ${account}`,
    `sudo useradd --system --shell /bin/sh ${account}`,
  );
}

function mustBeRoot(): void {
  if (Deno.uid() === 0) return;
  throw new CliError(
    EXIT.NOT_PERMITTED,
    "controller needs root, to reach its enforcer and keep its ledger",
    "sudo diaper controller",
  );
}

function authorize(delegate: string, key: string, options: { readonly from?: string }): void {
  const text = key.includes(" ") ? key : readPublicKey(key);
  const [type, base64 = ""] = text.trim().split(/\s+/);
  if (type !== KEY_TYPE || !isKey(base64)) {
    throw new CliError(
      EXIT.USAGE,
      `this is not an ${KEY_TYPE} public key`,
      "diaper keygen makes one",
    );
  }
  const from = options.from === undefined ? [] : options.from.split(",");
  const line = authorizedKeyLine(delegate, base64, ownCommand().join(" "), from);
  // What would not be read must not be written.
  try {
    parseAuthorizedKeys(line, "this line");
  } catch (error) {
    throw new CliError(EXIT.USAGE, error instanceof Error ? error.message : String(error));
  }
  printLine(line);
}

function readPublicKey(file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (error) {
    throw new CliError(
      EXIT.USAGE,
      `cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`,
      'give a public key file, or the key itself in quotes ("ssh-ed25519 AAAA...")',
    );
  }
}
