/**
 * A simulated Juniper MX960 with Junos: command line and NETCONF over one configuration database, from the CLI and
 * Junos XML protocol guides and captured sessions. Shared, private, exclusive and ephemeral candidates, confirmed
 * commits, locks.
 *
 * @module
 */
import type { Packet } from "./acl_table.ts";
import type { DeviceSpeed } from "./clock.ts";
import { type DeviceOptions, SimulatedDevice } from "./device.ts";
import { due } from "./faults.ts";
import { JunosConfig, matchFilter } from "./junos_config.ts";
import { talkJunosCli } from "./junos_cli.ts";
import { talkJunosNetconf } from "./junos_netconf.ts";
import type { DeviceChannel } from "./ssh_server.ts";
import { Hangup } from "./terminal.ts";

/** How a Junos device is made. */
export interface JunosOptions extends DeviceOptions {
  /** Instances of the ephemeral database that are configured. Default `diaper`. */
  readonly ephemeralInstances?: readonly string[];
  /** NETCONF versions that it speaks. Default both. */
  readonly netconf?: readonly ("1.0" | "1.1")[];
}

/** What a counter has counted. */
export interface JunosCounter {
  packets: number;
  bytes: number;
}

/** A candidate configuration that a session works on. */
export interface Candidate {
  readonly kind: "shared" | "private" | "exclusive" | "ephemeral";
  config: JunosConfig;
  /** The ephemeral instance. */
  readonly instance: string | undefined;
  /** Terms set or deleted since it was opened. */
  readonly touched: Set<string>;
}

/** The device. */
export class JunosDevice extends SimulatedDevice {
  readonly name = "junos";
  readonly speed: DeviceSpeed = { rate: 446, batch: 4200, start: 2000, degradesFrom: 50_000 };
  readonly netconfVersions: readonly ("1.0" | "1.1")[];
  /** What is committed. */
  committed = new JunosConfig();
  /** What is committed in the ephemeral database. */
  readonly ephemeral = new Map<string, JunosConfig>();
  /** Who holds the configuration exclusively: a session's number. */
  lock: number | undefined;
  readonly #instances: ReadonlySet<string>;
  readonly #counters = new Map<string, JunosCounter>();
  /** The candidate that all share who do not ask for their own; what is in it outlasts sessions. */
  readonly #shared: Candidate = {
    kind: "shared",
    config: new JunosConfig(),
    instance: undefined,
    touched: new Set(),
  };
  #sessions = 0;
  #rollback: { timer: ReturnType<typeof setTimeout>; before: JunosConfig } | undefined;

  constructor(options: JunosOptions = {}) {
    super(options, "mx960", 200_000);
    this.netconfVersions = options.netconf ?? ["1.0", "1.1"];
    this.#instances = new Set(options.ephemeralInstances ?? ["diaper"]);
  }

  /** A number for a session. */
  nextSession(): number {
    return ++this.#sessions;
  }

  /**
   * Opens a candidate for a session.
   *
   * @returns the candidate, or what the device says instead.
   */
  open(kind: Candidate["kind"], session: number, instance?: string): Candidate | string {
    if (kind === "ephemeral") {
      if (instance === undefined || !this.#instances.has(instance)) {
        return `error: ephemeral instance ${instance ?? ""} is not configured`;
      }
      const config = this.ephemeral.get(instance)?.copy() ?? new JunosConfig();
      return { kind, config, instance, touched: new Set() };
    }
    if (this.faults.lockedTries > 0) {
      this.faults.lockedTries--;
      return LOCKED;
    }
    if (this.lock !== undefined && this.lock !== session && kind === "exclusive") return LOCKED;
    const modified = this.#shared.touched.size > 0;
    if (kind === "shared") {
      if (!modified) this.#shared.config = this.committed.copy();
      return this.#shared;
    }
    // What somebody left uncommitted in the shared candidate is in the way of others.
    if (modified) return "shared configuration database modified";
    if (kind === "exclusive") this.lock = session;
    return { kind, config: this.committed.copy(), instance: undefined, touched: new Set() };
  }

  /** Lets go of a candidate. */
  release(session: number): void {
    if (this.lock === session) this.lock = undefined;
  }

  /** Carries out a statement on a candidate; returns what is wrong with it. */
  statement(candidate: Candidate, line: string, channel: DeviceChannel): string | undefined {
    if (/^(set|delete) firewall/.test(line)) {
      if (due(this.faults, "dropAtLine")) {
        channel.drop();
        throw new Hangup("the device dropped the session");
      }
      if (due(this.faults, "rejectLine")) return "error: could not process statement";
      const term = / term (\S+)/.exec(line)?.[1];
      if (term !== undefined) candidate.touched.add(term);
    }
    return candidate.config.statement(line);
  }

  /** What a commit of the candidate would complain about. */
  check(candidate: Candidate, session: number): string | undefined {
    if (candidate.kind === "ephemeral") return undefined; // syntax only, and that was checked
    if (this.lock !== undefined && this.lock !== session) return LOCKED;
    return candidate.config.problem(this.acls.capacity);
  }

  /**
   * Makes a candidate effective.
   *
   * @param confirm minutes after which it is undone unless it is committed again; 0: it stays.
   * @returns what is wrong, or undefined.
   */
  async commit(
    candidate: Candidate,
    session: number,
    confirm: number,
    channel: DeviceChannel,
  ): Promise<string | undefined> {
    const problem = this.check(candidate, session);
    if (problem !== undefined) return problem;
    const updates = candidate.touched.size;
    candidate.touched.clear();
    const existing = this.committed.size("inet") + this.committed.size("inet6");
    if (this.#rollback !== undefined) clearTimeout(this.#rollback.timer);
    const before = this.#rollback?.before ?? this.committed;
    this.#rollback = undefined;
    if (candidate.kind === "ephemeral") {
      this.ephemeral.set(candidate.instance as string, candidate.config.copy());
      this.clock.spend(updates === 0 ? 0 : 50 + updates * 0.5);
    } else {
      this.committed = candidate.config.copy();
      this.spendBatch(updates, Math.max(0, existing - updates));
    }
    if (confirm > 0) {
      const undo = () => {
        this.#rollback = undefined;
        this.committed = before;
        this.onChange();
      };
      this.#rollback = { timer: setTimeout(undo, confirm * 60_000), before };
    }
    this.onChange();
    await this.clock.settle();
    if (updates > 0 && this.faults.dropAfterCommit) {
      this.faults.dropAfterCommit = false;
      channel.drop();
      throw new Hangup("the device dropped the session");
    }
    return undefined;
  }

  /** A commit waits to be confirmed. */
  get unconfirmed(): boolean {
    return this.#rollback !== undefined;
  }

  /** The filters of this name that are in effect. */
  filter(name: string): { family: "inet" | "inet6"; terms: JunosConfig }[] {
    return [this.committed, ...this.ephemeral.values()].flatMap((terms) =>
      [...terms.filters.values()].filter((f) => f.name === name)
        .map(({ family }) => ({ family, terms }))
    );
  }

  /** Counters of a filter, in order: what its terms count. */
  counters(name: string): { readonly name: string; readonly counter: JunosCounter }[] {
    return this.filter(name).flatMap(({ family, terms }) =>
      [...terms.filters.get(`${family} ${name}`)?.terms.values() ?? []].flatMap((term) => {
        const count = term.then.get("count");
        return count === undefined ? [] : [{ name: count, counter: this.#counter(name, count) }];
      })
    );
  }

  override packet(acl: string, packet: Packet, packets = 1, bytes = 60): boolean {
    const family = packet.source.family === 4 ? "inet" : "inet6";
    const filters = [this.committed, ...this.ephemeral.values()]
      .map((config) => config.filters.get(`${family} ${acl}`)).filter((f) => f !== undefined);
    if (filters.length === 0) return true;
    for (const filter of filters) {
      const term = matchFilter(filter, packet);
      if (term === undefined) continue;
      const count = term.then.get("count");
      if (count !== undefined) {
        const counter = this.#counter(acl, count);
        counter.packets += packets;
        counter.bytes += packets * bytes;
      }
      return term.then.has("accept");
    }
    return false;
  }

  override async stop(): Promise<void> {
    if (this.#rollback !== undefined) clearTimeout(this.#rollback.timer);
    this.#rollback = undefined;
    await super.stop();
  }

  /** A committed configuration outlasts a reboot; the ephemeral database and counters do not. */
  protected override rebooted(): void {
    this.ephemeral.clear();
    this.#counters.clear();
    this.lock = undefined;
  }

  protected shell(channel: DeviceChannel): Promise<void> {
    return talkJunosCli(this, channel);
  }

  protected override netconf(channel: DeviceChannel): Promise<void> {
    return talkJunosNetconf(this, channel);
  }

  #counter(filter: string, name: string): JunosCounter {
    const key = `${filter} ${name}`;
    const counter = this.#counters.get(key) ?? { packets: 0, bytes: 0 };
    this.#counters.set(key, counter);
    return counter;
  }
}

const LOCKED = "configuration database locked by:\n" +
  "  noc terminal p1 (pid 7527) on since 2026-11-24 10:00:00 UTC, idle 00:25:52\n" +
  "      exclusive [edit]";
