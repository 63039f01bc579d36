/**
 * The main thread of every role: signals, files that are read anew, and the data plane in its Worker.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";
import { type Config, parseEndpoint } from "../controller/config.ts";
import type { FirstOrder, LaterOrder, News } from "../controller/orders.ts";
import { libc } from "../sys/libc.ts";
import { startWorker } from "../sys/runtime.ts";
import { notifySystemd } from "../sys/systemd.ts";
import { sendUnix, unixPair } from "../sys/unix_socket.ts";
import { daemonLog } from "./daemon_log.ts";
import { askForOne } from "./control_client.ts";
import type { ControllerConsole } from "./controller_console.ts";
import { readStatus } from "./daemon_data.ts";
import { CliError, EXIT } from "./exit.ts";
import { serveMetrics } from "./metrics.ts";

/** What a role's main thread does at certain times. */
export interface DaemonHooks {
  /** The data plane serves. */
  readonly ready: (daemon: Daemon) => Promise<void> | void;
  /** What is read anew, for messages. */
  readonly reloads: string;
  /** Files are to be read anew; an error means that the old ones stay. */
  readonly reload: (daemon: Daemon) => Promise<void>;
  /** The daemon ends. */
  readonly stopping?: () => void;
}

/** One daemon process. */
export class Daemon {
  /** Messages to whoever started it. */
  readonly log: Logger = daemonLog();
  readonly #worker: Worker;
  readonly #pair = unixPair("stream");
  readonly #hooks: DaemonHooks;
  #stopping = false;
  #metrics: Deno.HttpServer | undefined;
  readonly #role: string;
  #console: ControllerConsole | undefined;

  /** @param role the data plane's name in main.ts. */
  constructor(role: string, hooks: DaemonHooks) {
    this.#role = role;
    this.#worker = startWorker(role);
    this.#hooks = hooks;
  }

  /** Runs until a signal ends it. */
  async run(order: Omit<FirstOrder, "wake">): Promise<void> {
    const stop = () => this.#stop();
    const reload = () => void this.#reload();
    const signals = [["SIGTERM", stop], ["SIGINT", stop], ["SIGHUP", reload]] as const;
    for (const [signal, handler] of signals) Deno.addSignalListener(signal, handler);
    try {
      await this.#serve({ ...order, wake: this.#pair[1] });
    } finally {
      await this.#metrics?.shutdown();
      await this.#console?.stop();
      this.#hooks.stopping?.();
      for (const [signal, handler] of signals) Deno.removeSignalListener(signal, handler);
      this.#worker.terminate();
      for (const fd of this.#pair) libc.close(fd);
    }
  }

  /** Has the data plane do something. */
  order(order: LaterOrder): void {
    const data = new TextEncoder().encode(JSON.stringify(order) + "\n");
    for (let done = 0; done < data.length;) {
      const n = sendUnix(this.#pair[0], data.subarray(done));
      if (n === -2) return;
      if (n > 0) done += n;
    }
  }

  /** Says something at a level that is known when it happens. */
  say(level: "info" | "warning" | "error", text: string): void {
    this.log[level]("{text}", { text });
  }

  #serve(order: FirstOrder): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#worker.onerror = (event) => {
        event.preventDefault();
        reject(new CliError(EXIT.FAILED, `the data plane failed: ${event.message}`));
      };
      this.#worker.onmessage = (event: MessageEvent<News>) => {
        const news = event.data;
        if (news.news === "log") this.say(news.level, news.text);
        else if (news.news === "reload") void this.#reload();
        else if (news.news === "ready") this.#ready(order.config).catch(reject);
        else if (news.news === "standby") this.#standby(order.config);
        else if (news.news === "stopped") resolve();
        else reject(new CliError(EXIT.FAILED, news.message, news.next));
      };
      this.#worker.postMessage(order);
    });
  }

  #standby(config: Config): void {
    this.#serveMetrics(config);
    notifySystemd("READY=1\nSTATUS=standing by");
  }

  async #ready(config: Config): Promise<void> {
    await this.#hooks.ready(this);
    this.#serveMetrics(config);
    if (config.console !== "off" && this.#role !== "broker") {
      // SSH is a large library, and most hosts have no console.
      const [{ ControllerConsole }, { readNiConsole }] = await Promise.all([
        import("./controller_console.ts"),
        import("./ni_console.ts"),
      ]);
      const say = (level: "info" | "warning" | "error", text: string) => this.say(level, text);
      this.#console = new ControllerConsole(config, readNiConsole(config.console), say);
      await this.#console.start();
    }
    notifySystemd("READY=1\nSTATUS=serving");
  }

  /** Without them the daemon does its work all the same: another one may have the port. */
  #serveMetrics(config: Config): void {
    if (config.metrics === "off" || this.#metrics !== undefined) return;
    const status = async () => readStatus(await askForOne(config, { op: "status" }));
    try {
      this.#metrics = serveMetrics(parseEndpoint(config.metrics), status);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.log.warning("no metrics at {address}: {why}; set metrics in diaper.yaml(5)", {
        address: config.metrics,
        why,
      });
    }
  }

  #stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    notifySystemd("STOPPING=1");
    this.order({ order: "stop" });
  }

  async #reload(): Promise<void> {
    try {
      await this.#hooks.reload(this);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.log.error("{what} not loaded, the old one stays: {why}", {
        what: this.#hooks.reloads,
        why,
      });
    }
  }
}
