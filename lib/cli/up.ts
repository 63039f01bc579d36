/**
 * `diaper up`: broker, controller and nftables for this host, in one process.
 *
 * @module
 */
import type { Command } from "commander";
import type { PolicySource } from "../controller/authorization.ts";
import type { Config } from "../controller/config.ts";
import { ownDirectory } from "../controller/run_directory.ts";
import type { LaterOrder, PerimeterNews, PerimeterOrder } from "../controller/worker.ts";
import { groupId } from "../sys/accounts.ts";
import { raiseDescriptorLimit } from "../sys/limits.ts";
import { libc } from "../sys/libc.ts";
import { notifySystemd } from "../sys/systemd.ts";
import { startWorker } from "../sys/runtime.ts";
import { sendUnix, unixPair } from "../sys/unix_socket.ts";
import { configOption, readConfig } from "./config_option.ts";
import { daemonLog } from "./daemon_log.ts";
import { CliError, EXIT } from "./exit.ts";
import { printMessage } from "./output.ts";
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
  const policy = await loadPolicySource(config.policy);
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
  await new Daemon(config, policy).run();
}

/** The main thread of `up`: signals, and the policy file. */
class Daemon {
  readonly #config: Config;
  readonly #policy: PolicySource;
  readonly #worker = startWorker("perimeter");
  readonly #pair = unixPair("stream");
  readonly #log = daemonLog();
  #stopping = false;

  constructor(config: Config, policy: PolicySource) {
    this.#config = config;
    this.#policy = policy;
  }

  async run(): Promise<void> {
    const stop = () => this.#stop();
    const reload = () => void this.#reload();
    const signals = [["SIGTERM", stop], ["SIGINT", stop], ["SIGHUP", reload]] as const;
    for (const [signal, handler] of signals) Deno.addSignalListener(signal, handler);
    try {
      await this.#serve();
    } finally {
      for (const [signal, handler] of signals) Deno.removeSignalListener(signal, handler);
      this.#worker.terminate();
      for (const fd of this.#pair) libc.close(fd);
    }
  }

  #serve(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#worker.onerror = (event) => {
        event.preventDefault();
        reject(new CliError(EXIT.FAILED, `the data plane failed: ${event.message}`));
      };
      this.#worker.onmessage = (event: MessageEvent<PerimeterNews>) => {
        const news = event.data;
        if (news.news === "log") this.#log[news.level]("{text}", { text: news.text });
        else if (news.news === "reload") void this.#reload();
        else if (news.news === "ready") this.#ready();
        else if (news.news === "stopped") resolve();
        else reject(new CliError(EXIT.FAILED, news.message, news.next));
      };
      const order: PerimeterOrder = {
        config: this.#config,
        policy: this.#policy,
        controlGid: groupId(this.#config.control_group),
        wake: this.#pair[1],
      };
      this.#worker.postMessage(order);
    });
  }

  #ready(): void {
    const ports = this.#config.perimeter.open_ports.map((p) => `${p.protocol}/${p.port}`);
    this.#log.info("perimeter closed (nftables table inet {table}); open to all: {ports}", {
      table: this.#config.perimeter.table,
      ports: ports.length === 0 ? "nothing" : ports.join(", "),
    });
    notifySystemd("READY=1");
  }

  #stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    notifySystemd("STOPPING=1");
    this.#order({ order: "stop" });
  }

  async #reload(): Promise<void> {
    try {
      this.#order({ order: "policy", policy: await loadPolicySource(this.#config.policy) });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#log.error("policy not loaded, the old one stays: {why}", { why });
    }
  }

  #order(order: LaterOrder): void {
    const data = new TextEncoder().encode(JSON.stringify(order) + "\n");
    for (let done = 0; done < data.length;) {
      const n = sendUnix(this.#pair[0], data.subarray(done));
      if (n === -2) return;
      if (n > 0) done += n;
    }
  }
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
