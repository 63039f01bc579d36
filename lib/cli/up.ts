/**
 * `diaper up`: broker, controller and nftables for this host, in one process.
 *
 * @module
 */
import type { Command } from "commander";
import type { Config } from "../controller/config.ts";
import { ownDirectory } from "../controller/run_directory.ts";
import { groupId } from "../sys/accounts.ts";
import { raiseDescriptorLimit } from "../sys/limits.ts";
import { configOption, readConfig } from "./config_option.ts";
import { Daemon } from "./daemon.ts";
import { CliError, EXIT } from "./exit.ts";
import { printMessage } from "./output.ts";
import { denialsFile } from "../controller/denials.ts";
import { loadPolicySource } from "./policy_source.ts";

interface UpOptions {
  readonly config?: string;
  readonly check?: boolean;
  readonly force?: boolean;
}

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("up")
    .description("guard this host: broker, controller and nftables in one process")
    .addOption(configOption())
    .option("-n, --check", "check configuration and policy, change nothing")
    .option("--force", "close the perimeter even though it cuts off the SSH session you are in")
    .addHelpText(
      "after",
      `
Stays in the foreground; messages go to stderr. SIGTERM and SIGINT stop it in good order: the
perimeter stays closed, pinholes of living programs stay open until their lease ends, and a
restart takes them up again. SIGHUP loads the policy anew; an open pinhole that the new policy
does not allow is closed.`,
    )
    .action(up);
}

async function up(options: UpOptions): Promise<void> {
  const { config, file } = readConfig(options.config);
  const policy = await loadPolicySource(config.policy, denialsFile(config.state_dir));
  if (options.check === true) {
    printMessage(`diaper: ${file} and ${config.policy} are in order`);
    return;
  }
  mustBeRoot();
  mustNotCutOff(config, options.force === true);
  ownDirectory(config.run_dir, 0o755);
  ownDirectory(config.state_dir, 0o700);
  ownDirectory(config.log_dir, 0o750);
  raiseDescriptorLimit();
  const daemon = new Daemon("perimeter", {
    ready: ({ log }) => {
      const ports = config.perimeter.open_ports.map((p) => `${p.protocol}/${p.port}`);
      log.info("perimeter closed (nftables table inet {table}); open to all: {ports}", {
        table: config.perimeter.table,
        ports: ports.length === 0 ? "nothing" : ports.join(", "),
      });
    },
    reloads: "policy",
    reload: async (d) =>
      d.order({
        order: "policy",
        policy: await loadPolicySource(config.policy, denialsFile(config.state_dir)),
      }),
  });
  await daemon.run({
    config,
    policy,
    enforcer: undefined,
    controlGid: groupId(config.control_group),
    gate: undefined,
  });
}

function mustBeRoot(): void {
  if (Deno.uid() === 0) return;
  throw new CliError(
    EXIT.NOT_PERMITTED,
    "up needs root, to set the host's filter",
    "sudo diaper up",
  );
}

/** Whoever closes the perimeter over SSH must not close it on themselves. */
function mustNotCutOff(config: Config, force: boolean): void {
  const session = Deno.env.get("SSH_CONNECTION");
  if (session === undefined || force || !config.perimeter.hooks.includes("input")) return;
  const port = Number(session.split(" ")[3]);
  if (config.perimeter.open_ports.some((p) => p.protocol === "tcp" && p.port === port)) return;
  throw new CliError(
    EXIT.FAILED,
    `this would cut off the SSH session you are in: tcp/${port} is not among perimeter.open_ports`,
    `add tcp/${port} to perimeter.open_ports, or give --force`,
  );
}
