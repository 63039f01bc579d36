/**
 * The main thread of an inline NI: signals, configuration, control socket and output. Frames are the worker's.
 *
 * @module
 */
import type { Bundle } from "../admin/bundle.ts";
import type { Outcome } from "../admin/ni_side.ts";
import type { ScannerPlaces } from "../ni/catalogue.ts";
import type { InlineSettings } from "../ni/inline.ts";
import { type ContainmentText, type NiOrderLine, orderLine } from "../ni/orders.ts";
import type { NiNews, NiOrder } from "../ni/worker.ts";
import { libc } from "../sys/libc.ts";
import { startWorker } from "../sys/runtime.ts";
import { notifySystemd } from "../sys/systemd.ts";
import { sendUnix, unixPair } from "../sys/unix_socket.ts";
import type { ContainmentOrder } from "../admin/messages.ts";
import { daemonLog } from "./daemon_log.ts";
import { CliError, EXIT } from "./exit.ts";
import { bundleSettings, removeOldCode } from "./ni_bundle.ts";
import { NiConsole, ownAddressRules, readNiConsole } from "./ni_console.ts";
import { NiControl } from "./ni_control.ts";
import type { NiSettings } from "./ni_settings.ts";
import { inlineSummary } from "./ni_text.ts";
import { printMessage } from "./output.ts";

/** How an NI is run. */
export interface InlineRun {
  /** Every frame comes to user space. */
  readonly userSpace: boolean;
  readonly forwarding: "auto" | "packet" | "pcap";
  /** Prints an event. */
  readonly show: (event: Readonly<Record<string, unknown>>) => void;
  /** What it is told about its console; undefined: there is none. */
  readonly consoleFile: string | undefined;
  /** Users of scanners. */
  readonly places: ScannerPlaces;
  /** Reads the configuration anew; undefined: there is none. @throws {CliError} */
  readonly again: (() => NiSettings) | undefined;
  /** The configuration's file; undefined: there is none. */
  readonly file: string | undefined;
}

type Status = Record<string, unknown>;

/**
 * Runs an NI until a signal ends it.
 *
 * @throws {CliError} without root, or when it cannot stand between the interfaces.
 */
export async function runInline(settings: NiSettings, run: InlineRun): Promise<void> {
  if (Deno.uid() !== 0) {
    throw new CliError(EXIT.NOT_PERMITTED, "an inline NI needs root", "sudo diaper ni");
  }
  const last = await new InlineDaemon(settings, run).run();
  for (const line of inlineSummary(last)) printMessage(line);
}

class InlineDaemon {
  readonly #log = daemonLog();
  /** What it is configured with itself, */
  #own: NiSettings;
  /** and with what its console has sent. */
  #settings: NiSettings;
  readonly #run: InlineRun;
  readonly #worker = startWorker("ni");
  readonly #pair = unixPair("stream");
  readonly #started = new Date().toISOString();
  readonly #answers = new Map<number, (answer: Status | string | undefined) => void>();
  #id = 0;
  #stopping = false;
  /** Orders go one after the other, also when one has to wait for room. */
  #sending: Promise<void> = Promise.resolve();
  #control: NiControl | undefined;
  #console: NiConsole | undefined;
  /** What the console has sent, and where its scanners' code is kept. */
  #bundle: Bundle | undefined;
  #bundles = "";
  #reloaded: string | undefined;

  constructor(settings: NiSettings, run: InlineRun) {
    this.#own = settings;
    this.#settings = settings;
    this.#run = run;
  }

  /** Runs to the end. @returns the last counters. */
  async run(): Promise<Status> {
    this.#console = this.#openConsole();
    const stop = () => this.#stop();
    const status = () => void this.#status().then((s) => printMessage(JSON.stringify(s)));
    const reload = () =>
      void this.#reload().catch((error) =>
        this.#log.error("not loaded, nothing was changed: {why}", { why: String(error.message) })
      );
    const signals = [
      ["SIGTERM", stop],
      ["SIGINT", stop],
      ["SIGUSR2", status],
      ["SIGHUP", reload],
    ] as const;
    for (const [signal, handler] of signals) Deno.addSignalListener(signal, handler);
    try {
      return await this.#serve();
    } finally {
      for (const [signal, handler] of signals) Deno.removeSignalListener(signal, handler);
      this.#control?.close();
      await this.#console?.stop();
      this.#worker.terminate();
      this.#stopping = true;
      for (const fd of this.#pair) libc.close(fd);
    }
  }

  async #serve(): Promise<Status> {
    const { links } = this.#settings;
    if (links === undefined) throw new TypeError("An inline NI has links");
    const { userSpace, forwarding } = this.#run;
    const { reconstruct, streams } = this.#settings;
    const options = {
      ...this.#inForce(this.#settings),
      links,
      userSpace,
      forwarding,
      reconstruct,
      streams,
      contained: this.#console?.contained.map(containmentText) ?? [],
    };
    return await new Promise<Status>((resolve, reject) => {
      this.#worker.onerror = (event) => {
        event.preventDefault();
        reject(new CliError(EXIT.FAILED, `the NI kernel failed: ${event.message}`));
      };
      this.#worker.onmessage = ({ data }: MessageEvent<NiNews>) => {
        if (data.news === "event") {
          this.#console?.event(data.event);
          this.#run.show(data.event);
        } else if (data.news === "log") this.#log[data.level]("{text}", { text: data.text });
        else if (data.news === "status") this.#answer(data.id, data.status);
        else if (data.news === "reloaded") this.#answer(data.id, data.problem);
        else if (data.news === "contained") this.#answer(data.id, data.problem);
        else if (data.news === "stopped") resolve(data.status);
        else if (data.news === "failed") reject(new CliError(EXIT.FAILED, data.message, data.next));
        else this.#ready(reject);
      };
      this.#worker.postMessage({ options, wake: this.#pair[1] } satisfies NiOrder);
    });
  }

  #ready(failed: (error: unknown) => void): void {
    const { links, runDir } = this.#settings;
    try {
      this.#control = new NiControl(runDir, controlName(links), {
        status: () => this.#status(),
        reload: async () => {
          await this.#reload();
          return {};
        },
      });
    } catch (error) {
      failed(error);
      return;
    }
    if (links !== undefined && "attach" in links) {
      this.#log.info("NI before {attach}", links);
    } else this.#log.info("NI between {host} and {net}", links ?? {});
    notifySystemd("READY=1");
    this.#console?.start().catch(failed);
  }

  #openConsole(): NiConsole | undefined {
    const { consoleFile } = this.#run;
    if (consoleFile === undefined) return undefined;
    const config = readNiConsole(consoleFile);
    this.#bundles = `${config.state_dir}/bundles`;
    const console = new NiConsole(config, {
      apply: async (bundle) => {
        await this.#change(bundleSettings(this.#own, bundle, this.#bundles, this.#run.places));
        const before = this.#bundle;
        this.#bundle = bundle;
        this.#removeOldCode([bundle, before]);
      },
      status: () => ({
        ...this.#settings.links,
        pid: Deno.pid,
        started_at: this.#started,
      }),
      order: (order) => this.#contain(order),
      configure: (text) => this.#configure(text),
      log: (level, text) => this.#log[level]("{text}", { text }),
    });
    try {
      const { places } = this.#run;
      this.#settings = bundleSettings(this.#own, console.bundle, this.#bundles, places);
      this.#bundle = console.bundle;
      this.#removeOldCode([this.#bundle]);
    } catch (error) {
      // An NI with its own scanners is better than none.
      console.withoutBundle();
      this.#log.error("the bundle that was kept cannot be started: {why}", {
        why: messageOf(error),
      });
    }
    return console;
  }

  /** Takes another configuration from the console; one that cannot be taken leaves no trace. */
  async #configure(text: string): Promise<Outcome> {
    const { file } = this.#run;
    if (file === undefined) return { ok: false, why: "it was started without a configuration" };
    const before = Deno.readTextFileSync(file);
    replaceFile(file, text);
    try {
      await this.#reload();
      return { ok: true, why: "" };
    } catch (error) {
      replaceFile(file, before);
      return { ok: false, why: messageOf(error) };
    }
  }

  /** Files that stay where they are hurt nobody: what was put in force is in force. */
  #removeOldCode(kept: readonly (Bundle | undefined)[]): void {
    try {
      removeOldCode(this.#bundles, kept);
    } catch (error) {
      this.#log.warning("code of old bundles is not removed: {why}", { why: messageOf(error) });
    }
  }

  /** What of the settings the worker is told. */
  #inForce({ prevent, scanners, hostNetworks, onExit }: NiSettings): InlineSettings {
    // With a console there is a way to this machine, which must not lead through its own ports.
    const own = this.#console === undefined ? [] : ownAddressRules();
    return { prevent: [...prevent, ...own], scanners, hostNetworks, onExit };
  }

  async #contain(order: ContainmentOrder): Promise<Outcome> {
    const containment = containmentText(order);
    const { verb, host, until, reason, owner } = containment;
    const why = await this.#ask((id) => ({ order: "contain", id, containment }));
    if (typeof why === "string") return { ok: false, why };
    this.#log.info("{verb} {host} until {until}: {reason} ({owner})", {
      ...{ verb, host, reason, owner },
      until: new Date(until).toISOString(),
    });
    return { ok: true, why: "" };
  }

  /** Counters, with what does not come from the worker. */
  async #status(): Promise<Status> {
    const counters = await this.#ask((id) => ({ order: "status", id }));
    return {
      links: this.#settings.links,
      pid: Deno.pid,
      started_at: this.#started,
      reloaded_at: this.#reloaded ?? null,
      ...(counters as Status),
    };
  }

  async #reload(): Promise<void> {
    const { again } = this.#run;
    if (again === undefined) {
      throw new CliError(EXIT.USAGE, "it was started without a configuration", "give --config");
    }
    const own = again();
    const fixed = (s: NiSettings) => JSON.stringify([s.links, s.runDir, s.reconstruct, s.streams]);
    if (fixed(own) !== fixed(this.#own)) {
      throw new CliError(
        EXIT.INVALID,
        "links, run_dir, reconstruct and streams cannot be changed while it runs",
        "stop it and start it again",
      );
    }
    await this.#change(bundleSettings(own, this.#bundle, this.#bundles, this.#run.places));
    this.#own = own;
    this.#reloaded = new Date().toISOString();
    const { prevent, scanners } = this.#settings;
    this.#log.info("configuration loaded: {prevent} prevent rules, scanners {scanners}", {
      prevent: prevent.length,
      scanners: [...scanners.keys()].join(", ") || "none",
    });
  }

  /** Puts other settings in force. @throws {CliError} when nothing was changed. */
  async #change(settings: NiSettings): Promise<void> {
    const problem = await this.#ask((id) => ({
      order: "reload",
      id,
      settings: this.#inForce(settings),
    }));
    if (typeof problem === "string") throw new CliError(EXIT.INVALID, problem);
    this.#settings = settings;
  }

  #ask(order: (id: number) => NiOrderLine): Promise<Status | string | undefined> {
    const id = ++this.#id;
    return new Promise((resolve) => {
      this.#answers.set(id, resolve);
      this.#sending = this.#sending.then(() => this.#send(orderLine(order(id))));
    });
  }

  #answer(id: number, answer: Status | string | undefined): void {
    this.#answers.get(id)?.(answer);
    this.#answers.delete(id);
  }

  async #send(line: string): Promise<void> {
    const bytes = new TextEncoder().encode(line);
    for (let at = 0; at < bytes.length && !this.#stopping;) {
      const n = sendUnix(this.#pair[0], bytes.subarray(at));
      if (n === -2) return; // the worker has ended: its last news tells why
      if (n > 0) at += n;
      // Room comes with the worker's next look, which is a round of its poll set away.
      else await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  #stop(): void {
    if (this.#stopping) return;
    notifySystemd("STOPPING=1");
    this.#sending = this.#sending.then(() => this.#send(orderLine({ order: "stop" })));
  }
}

function containmentText(order: ContainmentOrder): ContainmentText {
  const { verb, host, connections, bytes, destinations, reason, owner } = order;
  const until = Date.parse(order.issued_at) + order.lifetime * 1000;
  return { verb, host, connections, bytes, destinations, until, reason, owner };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whole or not at all. */
function replaceFile(path: string, text: string): void {
  const { mode } = Deno.statSync(path);
  Deno.writeTextFileSync(`${path}.new`, text, { mode: (mode ?? 0o600) & 0o777 });
  Deno.renameSync(`${path}.new`, path);
}

/** The name of an NI's control socket: that of the interface on the host's side. */
function controlName(links: NiSettings["links"]): string {
  if (links === undefined) return "ni";
  return `ni-${"attach" in links ? links.attach : links.host}`;
}
