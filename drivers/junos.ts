/**
 * The driver for Juniper Junos: a term of a firewall filter for each pinhole, loaded as set statements and
 * made effective by one commit, over NETCONF or the command line, in a private or exclusive candidate or in the
 * ephemeral database.
 *
 * @module
 */
import { type FiveTuple, tupleKey } from "../lib/pinhole/pinhole.ts";
import { listingEntry } from "./acl/entry.ts";
import { type Complaints, DeviceEnforcer, type Reading } from "./device_enforcer.ts";
import type { DeviceAccess } from "./device_link.ts";
import {
  accessTo,
  type DeviceConfig,
  deviceSchema,
  type DeviceSecrets,
  readSecrets,
} from "./device_options.ts";
import { readSessionDialect } from "./dialect.ts";
import text from "./dialects/junos.yaml" with { type: "text" };
import { type EnforcerCapabilities, type EnforcerChange, EnforcerError } from "./enforcer.ts";
import { JunosCli } from "./junos_cli.ts";
import { countsOf, parseShowFirewall } from "./junos_counters.ts";
import { JunosNetconf } from "./junos_netconf.ts";
import type { JunosTalk, JunosTarget } from "./junos_talk.ts";
import {
  type Filters,
  GUARD,
  guardLines,
  type JunosTerm,
  openLines,
  parseSetLines,
  termName,
  termPath,
} from "./junos_terms.ts";
import { UNKNOWN_ENTRY } from "./listing.ts";
import type { Driver } from "./registry.ts";

const DIALECT = readSessionDialect(text, "junos.yaml");
const FAMILIES = [4, 6] as const;

/** The driver. */
export class JunosEnforcer extends DeviceEnforcer<JunosTerm> {
  readonly name = "junos";
  readonly capabilities: EnforcerCapabilities;
  readonly #talk: JunosTalk;
  readonly #target: JunosTarget;
  readonly #filters: Filters;

  constructor(config: DeviceConfig, talk: JunosTalk, target: JunosTarget) {
    super();
    this.#talk = talk;
    this.#target = target;
    this.#filters = { acl: config.acl, acl6: config.acl6 };
    this.capabilities = {
      atomic: true,
      counterAge: 0,
      capacity: config.capacity ?? 8000,
      optimalBatch: config.optimal_batch ?? 4200,
      ipv6: true,
      sourcePorts: true,
      portRanges: true,
      persistent: target.ephemeral === undefined,
      leases: false,
    };
  }

  /** Has the device check a batch (`commit check`) without committing it. */
  check(batch: readonly EnforcerChange[]): Promise<string | undefined> {
    return this.checked(batch, async (opens, closes, image) => {
      const lines = this.commands(opens, closes, image);
      const answer = await this.#talk.change(lines, true);
      return [...answer.statements.values(), answer.general][0];
    });
  }

  protected async begin(): Promise<void> {
    await this.#talk.open();
  }

  protected alive(): boolean {
    return this.#talk.alive;
  }

  protected override unheard(): string | undefined {
    return this.#talk.silence;
  }

  protected disconnect(): Promise<void> {
    return this.#talk.close();
  }

  protected async read(what: Reading): Promise<JunosTerm[]> {
    const statements = await this.#talk.statements();
    const { acl, acl6 } = this.#filters;
    const own = parseSetLines(statements, this.#filters)
      .filter((term) => term.acl === (term.family === 4 ? acl : acl6));
    if (
      own.length === 0 && statements.trim() !== "" && !/^\s*(set|deactivate|#)/m.test(statements)
    ) {
      throw new EnforcerError(
        `What the device lists is not understood: ${JSON.stringify(statements.slice(0, 200))}`,
        "check that it is the kind of device that the configuration says",
      );
    }
    const terms: JunosTerm[] = [];
    for (const family of FAMILIES) {
      if (!what.families.has(family)) continue;
      const ofFamily = own.filter((term) => term.family === family);
      if (!what.counted || !ofFamily.some((term) => term.tuple !== undefined)) {
        terms.push(...ofFamily);
        continue;
      }
      const filter = family === 4 ? acl : acl6;
      const counted = countsOf(await this.#talk.counters(filter), filter);
      for (const term of ofFamily) {
        const sum = term.counter === undefined ? undefined : counted(term.counter);
        terms.push({ ...term, packets: sum?.packets, bytes: sum?.bytes });
      }
    }
    return terms;
  }

  protected isReady(image: readonly JunosTerm[]): boolean {
    return FAMILIES.every((f) => image.some((term) => term.family === f && term.term === GUARD)) &&
      !image.some((term) => term.damaged);
  }

  protected async makeReady(image: readonly JunosTerm[]): Promise<void> {
    const { statements, general } = await this.#talk.change(this.#mend(image), false);
    const why = [...statements.values(), general][0];
    if (why === undefined) return await this.#keep();
    throw new EnforcerError(
      `The device did not take the filter of pinholes: ${why}`,
      "check what the account may configure",
    );
  }

  protected async change(
    opens: readonly FiveTuple[],
    closes: readonly FiveTuple[],
    image: readonly JunosTerm[],
  ): Promise<Complaints> {
    const lines = this.commands(opens, closes, image);
    const answer = await this.#talk.change(lines, false);
    const complaints = new Map<string, string>();
    let { general } = answer;
    const owners = new Map([...opens, ...closes].map((t) => [termName(t), tupleKey(t)]));
    for (const [statement, why] of answer.statements) {
      const owner = owners.get(/ term (\S+)/.exec(statement)?.[1] ?? "");
      if (owner === undefined) general ??= why;
      else complaints.set(owner, why);
    }
    if (complaints.size === 0 && general === undefined) await this.#keep();
    return { complaints, general };
  }

  protected commands(
    opens: readonly FiveTuple[],
    closes: readonly FiveTuple[],
    known: readonly JunosTerm[] | undefined,
  ): string[] {
    const image = known ?? [];
    // Of a device that was not looked at, where something is closed the filters are there.
    const lines = known === undefined && closes.length > 0 ? [] : this.#mend(image);
    for (const tuple of closes) {
      lines.push(`delete ${termPath(this.#filters, tuple.source.family, termName(tuple))}`);
    }
    const foreign = (family: 4 | 6) =>
      image.find((t) => t.family === family && t.term !== GUARD && !t.term.startsWith("ph-"))?.term;
    const before = { 4: foreign(4), 6: foreign(6) };
    for (const tuple of opens) {
      lines.push(...openLines(this.#filters, tuple, before[tuple.source.family]));
    }
    return lines;
  }

  protected isFull(complaint: string): boolean {
    return DIALECT.full.some((pattern) => pattern.test(complaint));
  }

  /** Statements that bring back what somebody took away, and take away terms of ours that are not what they were. */
  #mend(image: readonly JunosTerm[]): string[] {
    return FAMILIES.flatMap((family) => {
      const own = image.filter((term) => term.family === family);
      return [
        ...own.filter((term) => term.damaged)
          .map((term) => `delete ${termPath(this.#filters, family, term.term)}`),
        ...(own.some((term) => term.term === GUARD) ? [] : guardLines(this.#filters, family)),
      ];
    });
  }

  /** A commit that the device would undo by itself is confirmed: we are still here, and so is the way to it. */
  async #keep(): Promise<void> {
    if (this.#target.confirm > 0) await this.#talk.confirm();
  }
}

/** Makes a driver; secrets come from files, and pauses for locks are in ms. */
export function createJunos(
  config: DeviceConfig,
  secrets: DeviceSecrets = readSecrets(config),
  backoff?: readonly number[],
): JunosEnforcer {
  const { transport, candidate, ephemeral, confirm } = config.junos;
  if (ephemeral !== undefined && (transport === "cli" || confirm > 0)) {
    throw new EnforcerError(
      "The ephemeral database needs NETCONF, and its commits cannot be confirmed",
      "use junos.transport: netconf and junos.confirm: 0",
    );
  }
  if (confirm > 0 && candidate === "private") {
    throw new EnforcerError(
      "A private candidate cannot be committed on trial",
      "use junos.candidate: exclusive with junos.confirm",
    );
  }
  const target = { candidate, ephemeral, confirm };
  const isLocked = (message: string) => DIALECT.locked.some((pattern) => pattern.test(message));
  const access: DeviceAccess = {
    ...accessTo(
      config,
      secrets,
      "junos",
      transport === "netconf" ? 830 : 22,
      (connection) =>
        transport === "netconf" ? connection.subsystem("netconf") : connection.shell(),
    ),
    backoff,
  };
  const talk = transport === "netconf"
    ? new JunosNetconf(access, target, isLocked)
    : new JunosCli(access, target, DIALECT);
  return new JunosEnforcer(config, talk, target);
}

const FILTERS = { acl: "DIAPER", acl6: "DIAPER6" };

/** What the registry knows of it. */
export const driver: Driver = {
  options: deviceSchema,
  create: (checked) => createJunos(checked as DeviceConfig),
  capabilities: {
    atomic: true,
    counterAge: 0,
    capacity: 8000,
    optimalBatch: 4200,
    ipv6: true,
    sourcePorts: true,
    portRanges: true,
    persistent: true,
    leases: false,
  },
  /** Set statements, or counters of `show firewall`. */
  parse: (listing) => {
    const terms = parseSetLines(listing, FILTERS);
    if (terms.length > 0) {
      return terms.map((term) => listingEntry(term, term.tuple !== undefined || term.damaged));
    }
    return parseShowFirewall(listing).map(({ filter, counter, packets }) => ({
      ...UNKNOWN_ENTRY,
      acl: filter,
      seq: counter,
      packets,
      ours: (filter === FILTERS.acl || filter === FILTERS.acl6) && counter.startsWith("ph-"),
    }));
  },
};
