/**
 * `diaper gate`: what a stock sshd runs for a broker, and all that it runs (the restricted shell of the
 * paper, section 4.1). Joins the SSH channel to the controller's socket.
 *
 * @module
 */
import type { Command } from "commander";
import { connect } from "node:net";
import { stdin, stdout } from "node:process";
import { pipeline } from "node:stream/promises";
import { SUBSYSTEM } from "../broker/remote_protocol.ts";
import { BROKER_SOCKET } from "../controller/remote_controller.ts";
import { configOption, readConfig } from "./config_option.ts";
import { CliError, EXIT } from "./exit.ts";

interface GateOptions {
  readonly config?: string;
  readonly delegate?: string;
}

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("gate")
    .description("Join a broker's SSH session to the controller (forced command of a stock sshd).")
    .option("-d, --delegate <name>", "the remote delegate that the key stands for")
    .addOption(configOption())
    .addHelpText(
      "after",
      `
Not for use by hand. diaper controller authorize prints the authorized_keys line that runs it.`,
    )
    .action(gate);
}

async function gate(options: GateOptions): Promise<void> {
  const { delegate } = options;
  if (delegate === undefined) {
    throw new CliError(
      EXIT.NOT_PERMITTED,
      "this key stands for no delegate",
      "authorize it at the controller: diaper controller authorize",
    );
  }
  const asked = Deno.env.get("SSH_ORIGINAL_COMMAND");
  // Without a command it is a shell that is wanted.
  if (asked === undefined || !new RegExp(`^(\\S*/)?${SUBSYSTEM}( gate)?$`).test(asked)) {
    throw new CliError(EXIT.NOT_PERMITTED, "only pinholes can be asked for here");
  }
  const { config } = readConfig(options.config);
  const path = `${config.run_dir}/${BROKER_SOCKET}`;
  const peer = Deno.env.get("SSH_CONNECTION")?.split(" ")[0] ?? "";
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", (error) => {
      reject(new CliError(EXIT.UNREACHABLE, `the controller is not there: ${error.message}`));
    });
  });
  socket.write(JSON.stringify({ op: "session", delegate, via: "gate", peer }) + "\n");
  // Either end closing ends both: a broker that is gone must not be held up here.
  await Promise.race([pipeline(stdin, socket), pipeline(socket, stdout)]).catch((error) => {
    if (!(error instanceof Error && "code" in error)) throw error;
  });
  Deno.exit(EXIT.DONE);
}
