/**
 * A whole console: the channel, the store, the outputs, the control socket and the web page, put together.
 *
 * @module
 */
import { parseIp, unmapIp } from "../net/ip.ts";
import type { ServerChannel } from "../sys/ssh2.d.ts";
import { openSubsystem } from "../sys/ssh_client.ts";
import { KeyedSshServer } from "../sys/ssh_server.ts";
import { fingerprint, publicKeyOf } from "../sys/ssh.ts";
import { ConsoleControl } from "./control.ts";
import { ConsoleAnswers } from "./answers.ts";
import { type ConsoleConfig, neverBlock } from "./config.ts";
import { Console } from "./console.ts";
import { LocalControllers } from "./controllers.ts";
import { Correlation } from "./correlation.ts";
import { CONSOLE_SUBSYSTEM } from "./messages.ts";
import { EveFile } from "./outputs/eve_file.ts";
import { MailOutput } from "./outputs/mail.ts";
import type { AlertOutput } from "./outputs/output.ts";
import { SyslogOutput } from "./outputs/syslog.ts";
import { WebhookOutput } from "./outputs/webhook.ts";
import { mayPeerComeFrom, type Peer } from "./registry.ts";
import { Rollouts } from "./rollouts.ts";
import { ConsoleState, type Outbreak } from "./state.ts";
import type { AlertStore, StoredAlert } from "./store.ts";
import { Logins } from "./web/logins.ts";
import { type PageFile, WebPage } from "./web/server.ts";

/** Files and secrets that a console needs, read by whoever starts it. */
export interface ConsoleParts {
  readonly config: ConsoleConfig;
  readonly name: string;
  /** Private key, as text. */
  readonly key: string;
  readonly peers: readonly Peer[];
  readonly store: AlertStore;
  /** A listening socket. */
  readonly control: number;
  readonly files: ReadonlyMap<string, PageFile>;
  readonly tls: { readonly certificate: string; readonly key: string } | undefined;
  /** Secrets of webhooks, by URL. */
  readonly secrets: ReadonlyMap<string, string>;
  /** The registry, read anew. */
  readonly reload: () => readonly Peer[];
  readonly log: (level: "info" | "warning" | "error", text: string) => void;
}

const DIAL_MS = 5000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** Milliseconds between two looks at what is too old. */
const PRUNE_MS = 5000;

/** A running console. */
export class ConsoleDaemon {
  /** The console itself. */
  readonly console: Console;
  /** Where the page is, once {@link start} is done; undefined when there is none. */
  url: string | undefined;
  /** Ports that peers come to, in the order of `listen`. */
  ports: number[] = [];
  readonly #parts: ConsoleParts;
  readonly #state: ConsoleState;
  readonly #server: KeyedSshServer<Peer>;
  readonly #logins: Logins;
  readonly #rollouts: Rollouts;
  readonly #controllers: LocalControllers;
  readonly #correlation: Correlation;
  readonly #outputs: AlertOutput[] = [];
  readonly #control: ConsoleControl;
  readonly #dialling = new Map<string, { stop: () => void; done: Promise<void> }>();
  #page: WebPage | undefined;
  #web: Deno.HttpServer | undefined;
  #pruning: ReturnType<typeof setInterval> | undefined;
  #closing = false;

  constructor(parts: ConsoleParts) {
    this.#parts = parts;
    const { config, log } = parts;
    this.#state = new ConsoleState(`${config.state_dir}/console.sqlite`);
    this.console = new Console({
      store: parts.store,
      state: this.#state,
      peers: parts.peers,
      alertsPerSecond: config.alerts_per_second,
      neverBlock: (host) => neverBlock(config, host),
      log,
    });
    this.#server = new KeyedSshServer<Peer>({
      hostKey: parts.key,
      subsystem: CONSOLE_SUBSYSTEM,
      atOnce: config.connections_per_address,
      know: (key, address) => {
        const peer = this.console.peers.find((p) => p.key === key);
        const ip = parseIp(address);
        return peer !== undefined && ip !== undefined && mayPeerComeFrom(peer, unmapIp(ip))
          ? peer
          : undefined;
      },
      serve: (channel, peer, address, end) =>
        this.console.serve(channel as ServerChannel, peer.name, address, end),
      refused: (address) => this.#state.audit(`peer ${address}`, "peer.refused", {}),
    });
    this.#logins = new Logins(this.#state);
    this.#rollouts = new Rollouts(this.console, config.bundles, parts.key, log);
    this.#controllers = new LocalControllers(config.controllers);
    this.#correlation = new Correlation(
      { hosts: config.outbreak.hosts, within: config.outbreak.within * 1000 },
      this.#state,
      (outbreak, isNew) => this.#outbreak(outbreak, isNew),
    );
    const answers = new ConsoleAnswers({
      console: this.console,
      logins: this.#logins,
      rollouts: this.#rollouts,
      name: parts.name,
      url: () => this.url,
      pinholes: () => this.#controllers.pinholes(),
      outputs: () => this.#outputs.map((o) => o.status()),
      reload: () => this.reload(),
    });
    this.#control = new ConsoleControl(
      (request, asker, gone) => answers.answer(request, asker, gone),
      (error) => log("error", `control socket: ${error instanceof Error ? error.stack : error}`),
    );
  }

  /** Opens everything. @throws {Error} when an address or a file cannot be had. */
  async start(): Promise<void> {
    const { config, log, key, control } = this.#parts;
    await this.#openOutputs();
    this.console.watch({
      alerts: (alerts) => {
        // What controllers tell of their reactions are no findings of their own.
        const controllers = new Set(
          this.console.peers.flatMap((p) => p.role === "controller" ? [p.name] : []),
        );
        this.#correlation.alerts(alerts.filter(({ ni }) => !controllers.has(ni)));
        for (const output of this.#outputs) output.alerts(alerts);
      },
    });
    await this.#control.listen(control);
    for (const { host, port } of config.listen) {
      this.ports.push(await this.#server.listen(host, port));
      log("info", `peers may come to ${host} port ${this.ports.at(-1)}`);
    }
    log("info", `this console's key is ${fingerprint(publicKeyOf(key))}`);
    this.#dialAll();
    this.#serveWeb();
    this.#pruning = setInterval(() => void this.#prune(), PRUNE_MS);
  }

  /** Reads the registry anew. @throws {Error} when it cannot be used; the old one stays. */
  reload(): void {
    this.console.setPeers(this.#parts.reload());
    this.#server.check((before, now) => before.name === now.name);
    this.#dialAll();
  }

  /** Ends everything, after what has come is written. */
  async close(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#pruning);
    for (const { stop } of this.#dialling.values()) stop();
    await this.#control.close();
    this.#server.close();
    await this.console.close();
    this.#page?.close();
    await this.#web?.shutdown();
    await Promise.all([...this.#dialling.values()].map(({ done }) => done));
    this.#rollouts.close();
    this.#correlation.close();
    await Promise.all(this.#outputs.map((o) => o.close()));
    await this.#parts.store.close();
    this.#state.close();
  }

  async #openOutputs(): Promise<void> {
    const { config, store, secrets, name } = this.#parts;
    const { eve, syslog, webhooks, mail } = config;
    if (eve !== null) this.#outputs.push(await EveFile.open(eve, store));
    if (syslog !== null) {
      const target = typeof syslog.to === "string" ? { path: syslog.to } : syslog.to;
      this.#outputs.push(new SyslogOutput(target, syslog.severity, syslog.per_minute));
    }
    for (const { url, severity, per_minute } of webhooks) {
      const secret = secrets.get(url);
      this.#outputs.push(new WebhookOutput({ url, secret, severity, perMinute: per_minute }));
    }
    if (mail !== null) {
      const { per_hour: perHour, ...rest } = mail;
      this.#outputs.push(new MailOutput({ ...rest, perHour, name }));
    }
  }

  /** Peers that the console goes to. */
  #dialAll(): void {
    const wanted = new Map(
      this.console.peers.flatMap((p) => p.connect === undefined ? [] : [[p.name, p]]),
    );
    for (const [name, { stop }] of this.#dialling) {
      if (wanted.has(name)) continue;
      stop();
      this.#dialling.delete(name);
    }
    for (const [name, peer] of wanted) {
      if (!this.#dialling.has(name)) this.#dialling.set(name, this.#dial(peer));
    }
  }

  #dial(first: Peer): { stop: () => void; done: Promise<void> } {
    const { log, key } = this.#parts;
    let stopping = false;
    let wake: (() => void) | undefined;
    let end: ((why?: string) => void) | undefined;
    const run = async () => {
      let said = "";
      for (let failures = 0; !stopping; failures++) {
        const peer = this.console.peers.find(({ name }) => name === first.name);
        if (peer?.connect === undefined) return;
        const { host, port } = peer.connect;
        const why = await new Promise<string>((resolve) => {
          end = openSubsystem({
            host,
            port,
            user: "diaper",
            privateKey: key,
            pins: new Set([peer.key]),
            subsystem: CONSOLE_SUBSYSTEM,
            timeout: DIAL_MS,
          }, {
            open: (channel, endConnection) => {
              failures = 0;
              said = "";
              this.console.serve(channel, peer.name, `${host}:${port}`, () => endConnection());
            },
            ended: resolve,
          });
        });
        end = undefined;
        if (stopping) return;
        if (why !== said) log("warning", `${peer.name} at ${host}:${port}: ${why}`);
        said = why;
        const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 10));
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, pause);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    };
    const stop = () => {
      stopping = true;
      end?.();
      wake?.();
    };
    return { stop, done: run() };
  }

  #serveWeb(): void {
    const { config, files, tls, name, log } = this.#parts;
    if (config.web.listen === "off") return;
    const { host: hostname, port } = config.web.listen;
    const hosts = new Set<string>();
    const page = new WebPage({
      console: this.console,
      logins: this.#logins,
      name,
      hosts,
      secure: tls !== undefined,
      files,
      pinholes: () => this.#controllers.pinholes(),
    });
    this.#page = page;
    this.#web = Deno.serve({
      hostname,
      port,
      ...(tls === undefined ? {} : { cert: tls.certificate, key: tls.key }),
      onListen: ({ port: bound }) => {
        const bracketed = hostname.includes(":") ? `[${hostname}]` : hostname;
        for (const one of [bracketed, "localhost", "127.0.0.1", "[::1]"]) {
          hosts.add(`${one}:${bound}`);
        }
        for (const one of config.web.hosts) hosts.add(one);
        this.url = `${tls === undefined ? "http" : "https"}://${
          config.web.hosts[0] ?? `${bracketed}:${bound}`
        }`;
        log("info", `the page is at ${this.url}; diaper console login prints a link`);
      },
      onError: (error) => {
        log("error", `the page failed: ${error instanceof Error ? error.stack : error}`);
        return new Response('{"error":"the console failed; see its messages"}', {
          status: 500,
          headers: { "Content-Type": "application/json" },
        });
      },
    }, (request, { remoteAddr }) => page.fetch(request, remoteAddr.hostname));
  }

  #outbreak(outbreak: Outbreak, isNew: boolean): void {
    const { kind, signature, hosts, alerts, id } = outbreak;
    const what = kind === "chain" ? "a chain of scans" : `an outbreak of ${signature}`;
    if (isNew) this.#parts.log("warning", `${what} on ${hosts.length} hosts`);
    const event = {
      timestamp: new Date(outbreak.last).toISOString(),
      event_type: "outbreak",
      alert: { signature: what, category: "Diaper", severity: 1, action: "allowed" },
      scanner: "console",
      detail: { id, kind, signature, hosts: hosts.slice(0, 100), alerts, new: isNew },
    };
    const alert: StoredAlert = {
      id: 0,
      ni: this.#parts.name,
      seq: 0,
      at: outbreak.last,
      received: outbreak.last,
      scanner: "console",
      signature: `${what} on ${hosts.length} hosts`,
      category: "Diaper",
      severity: 1,
      action: "allowed",
      proto: "",
      src: hosts[0] ?? "",
      dest: "",
      destPort: 0,
      event,
      capture: 0,
    };
    // Files have the alerts themselves, numbered; people are told of the outbreak.
    for (const output of this.#outputs) if (!(output instanceof EveFile)) output.alerts([alert]);
  }

  async #prune(): Promise<void> {
    const { config, store, log } = this.#parts;
    try {
      while (
        !this.#closing && await store.prune(Date.now() - config.keep * 1000, config.keep_of_one) > 0
      ) await new Promise((resolve) => setTimeout(resolve, 50));
    } catch (error) {
      log("error", `old alerts are not removed: ${error instanceof Error ? error.message : error}`);
    }
  }
}
