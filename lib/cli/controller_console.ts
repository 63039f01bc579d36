/**
 * A controller's side of its console: which pinholes are open, as they open and close; what the site's policy has it do
 * when an NI's scanner finds something; and orders about hosts.
 *
 * @module
 */
import type { NiConsoleConfig } from "../admin/ni_config.ts";
import type { ConsoleMessage, ContainmentOrder, ReportedPinhole } from "../admin/messages.ts";
import { NiSide, type Outcome } from "../admin/ni_side.ts";
import { type AlertSpool, openSpool } from "../admin/spool.ts";
import type { Config } from "../controller/config.ts";
import { Denials, denialsFile } from "../controller/denials.ts";
import { type IpAddress, parseIp } from "../net/ip.ts";
import { reactionTo } from "../pinhole/policy.ts";
import { Quarantines } from "./quarantines.ts";
import { ReactionReports } from "./reaction_reports.ts";
import { Reactions, readFinding } from "./reactions.ts";
import { ownDirectory } from "../controller/run_directory.ts";
import { VERSION } from "../sys/runtime.ts";
import { askDaemon, askForOne, type ControlAnswer } from "./control_client.ts";
import { type PinholeRow, readChange, readPinhole } from "./daemon_data.ts";
import { readOrMakeKey } from "./ni_console.ts";

/** Milliseconds that changes wait for others to go with. */
const GATHER_MS = 100;
/** Milliseconds until the control socket is asked again after it failed. */
const AGAIN_MS = 2000;

type Log = (level: "info" | "warning" | "error", text: string) => void;

/** The console's side of one controller. */
export class ControllerConsole {
  readonly #config: Config;
  readonly #log: Log;
  readonly #spool: AlertSpool;
  readonly #side: NiSide;
  readonly #denials: Denials;
  readonly #reactions: Reactions;
  readonly #quarantines: Quarantines;
  readonly #reports: ReactionReports;
  #watch: ControlAnswer | undefined;
  #stopping = false;
  #following: Promise<void> | undefined;
  /** Hosts that nothing was done to, in a dry run or since they are never to be contained: told of once until when. */
  readonly #rehearsed = new Map<string, number>();
  #opened = new Map<number, ReportedPinhole>();
  #closed: number[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @throws {CliError} {DirectoryError} */
  constructor(config: Config, console: NiConsoleConfig, log: Log) {
    this.#config = config;
    this.#log = log;
    this.#reactions = new Reactions(config.policy);
    this.#reports = new ReactionReports((event) => this.#side.alert(event));
    this.#quarantines = new Quarantines((message) => this.#side.say(message), log);
    this.#denials = new Denials(denialsFile(config.state_dir), Date.now());
    ownDirectory(console.state_dir, 0o700);
    const { spool, warning } = openSpool(`${console.state_dir}/controller.spool`, {
      alerts: console.spool.alerts,
      bytes: console.spool.bytes,
      policy: console.spool.when_full,
    });
    if (warning !== undefined) log("warning", warning);
    this.#spool = spool;
    this.#side = new NiSide({
      role: "controller",
      host: Deno.hostname(),
      software: `diaper ${VERSION}`,
      privateKey: readOrMakeKey(console.key, log),
      consoleKeys: new Set(console.console_keys),
      connect: console.connect,
      listen: console.listen,
      localAddress: console.source ?? undefined,
      spool,
      log,
      handlers: {
        connected: () => {
          this.#quarantines.connected(Date.now());
          void this.#all();
        },
        alert: (alert) => void this.#react(alert),
        contained: (result) => this.#quarantines.answered(result),
        order: (order) => this.#order(order),
      },
    });
  }

  /** Begins to talk. */
  async start(): Promise<void> {
    await this.#side.start();
    this.#following = this.#follow();
  }

  /** Ends the talk. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    await this.#watch?.[Symbol.asyncDispose]();
    await this.#following;
    this.#reports.close();
    await this.#side.stop();
    this.#spool.close();
  }

  /** What the policy's react lines say about a finding (docs/man/diaper-policy.5). */
  async #react(alert: ConsoleMessage & { op: "alert" }): Promise<void> {
    const { ni, id, event, hosts, never } = alert;
    try {
      const finding = readFinding(event, hosts);
      if (finding === undefined) return;
      const reaction = reactionTo(finding, await this.#reactions.rules());
      if (reaction === undefined) return;
      const { rule, host } = reaction;
      const now = Date.now();
      const until = now + rule.lifetime * 1000;
      const why = `${finding.scanner} at ${ni}: ${finding.signature} (alert ${id})`;
      const where = `${rule.file}:${rule.line}`;
      if (never.includes(host.text)) {
        if ((this.#reacted(true, host) ?? 0) > now) return;
        this.#rehearsed.set(host.text, until);
        return this.#log(
          "info",
          `${where} spares ${host.text}, in the console's never_block: ${why}`,
        );
      }
      // A host that goes on is told of once, and kept out for as long as was said.
      if ((this.#reacted(rule.dryRun, host) ?? 0) >= until - rule.lifetime * 500) return;
      const { atNi: kind, dryRun } = rule;
      if (kind !== undefined) {
        // First, since the console and the NI work on it while the policy is loaded here.
        const quarantine = { host: host.text, kind, until, reason: why, dryRun, where };
        this.#quarantines.ask(quarantine, now);
      }
      const what = `no pinholes for ${host.text} until ${new Date(until).toISOString()}: ${why}`;
      if (dryRun) {
        this.#rehearsed.set(host.text, until);
        return this.#log("info", `${where} would react: ${what}`);
      }
      this.#reports.reacted({ host: host.text, where, until, why });
      this.#denials.add({ host, until, id: `react-${rule.id ?? rule.line}`, why }, now);
      await this.#reload();
      this.#log("warning", `${where} reacts: ${what}`);
    } catch (error) {
      for (const host of hosts) this.#reports.failed(host);
      this.#log("error", `an alert of ${ni} was not reacted to: ${(error as Error).message}`);
    }
  }

  /** Until when a host was reacted to, or would have been. */
  #reacted(dryRun: boolean, host: IpAddress): number | undefined {
    if (!dryRun) return this.#denials.until(host);
    const now = Date.now();
    for (const [known, until] of this.#rehearsed) if (until <= now) this.#rehearsed.delete(known);
    return this.#rehearsed.get(host.text);
  }

  async #order(order: ContainmentOrder): Promise<Outcome> {
    const host = parseIp(order.host);
    if (host === undefined) return { ok: false, why: `${order.host} is not an address` };
    const now = Date.now();
    if (order.verb === "slow" || order.verb === "filter") {
      return { ok: true, why: "" }; // at the NI; pinholes are for named hosts anyway
    }
    if (order.verb === "allow") {
      if (!this.#denials.remove(order.host, now)) return { ok: true, why: "" };
    } else {
      const until = Date.parse(order.issued_at) + order.lifetime * 1000;
      const why = `${order.reason} (${order.owner})`;
      this.#denials.add({ host, until, id: "order", why }, now);
    }
    await this.#reload();
    this.#log("info", `${order.verb} ${order.host}: ${order.reason} (${order.owner})`);
    return { ok: true, why: "" };
  }

  /** Has the controller load its policy, with what is denied now. */
  async #reload(): Promise<void> {
    await askForOne(this.#config, { op: "reload" });
  }

  /** Every change, from the control socket. Whoever comes later asks for all that is there. */
  async #follow(): Promise<void> {
    while (!this.#stopping) {
      try {
        this.#watch = await askDaemon(this.#config, { op: "watch" });
        await this.#all();
        for await (const item of this.#watch) {
          const change = readChange(item);
          if (change !== undefined) this.#change(change.event_type, change);
        }
      } catch (error) {
        if (this.#stopping) return;
        this.#log("warning", `pinholes are not told to the console: ${(error as Error).message}`);
        await new Promise((resolve) => this.#timer = setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  async #all(): Promise<void> {
    if (!this.#side.connected) return;
    try {
      const open: ReportedPinhole[] = [];
      for await (const item of await askDaemon(this.#config, { op: "list" })) {
        open.push(reported(readPinhole(item)));
      }
      this.#side.pinholes(open, [], true);
    } catch (error) {
      this.#log("warning", `pinholes are not told to the console: ${(error as Error).message}`);
    }
  }

  #change(kind: string, pinhole: PinholeRow): void {
    if (kind === "pinhole.closed") this.#reports.closed(pinhole);
    if (kind === "pinhole.opened") this.#opened.set(pinhole.id, reported(pinhole));
    else if (!this.#opened.delete(pinhole.id)) this.#closed.push(pinhole.id);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#side.pinholes([...this.#opened.values()], this.#closed, false);
      this.#opened = new Map();
      this.#closed = [];
    }, GATHER_MS);
  }
}

function reported(p: PinholeRow): ReportedPinhole {
  const { id, proto, source, source_port, destination, destination_port, state, delegate } = p;
  const { user, program, opened_at, expires_at, rule } = p;
  return {
    ...{ id, proto, source, source_port, destination, destination_port, state, delegate },
    ...{ user, program, opened_at, expires_at, rule },
  };
}
