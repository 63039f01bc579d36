/**
 * Drives any device that has numbered ACL entries and a command line; what is peculiar to a kind of device
 * is in its dialect. Lines are sent many at once.
 *
 * What is ours: entries of our ACLs that let in exactly one host to one port of another, with no other
 * condition. Everything else, there and elsewhere, is somebody else's and is not touched. Our ACL always
 * holds an entry that matches nothing, since an applied ACL without entries lets everything in.
 *
 * @module
 */
import { type FiveTuple, tupleKey } from "../lib/pinhole/pinhole.ts";
import { parseAce } from "./acl/ace.ts";
import type { AclEntry } from "./acl/entry.ts";
import { parseListing, vendorOf } from "./acl/listing.ts";
import { LONGEST_COMMAND, lookPattern } from "./acl/look.ts";
import { EntryNumbers } from "./acl/numbers.ts";
import {
  type Changed,
  type Complaints,
  DeviceEnforcer,
  type Reading,
  type Shown,
} from "./device_enforcer.ts";
import { type DeviceAccess, DeviceLink } from "./device_link.ts";
import { type Dialect, type DialectFamily, fill } from "./dialect.ts";
import type { EnforcerCapabilities, EnforcerChange } from "./enforcer.ts";
import type { CliSession, Outcome } from "./transport/session.ts";

/** What a driver of this kind is made with. */
export interface CliAclOptions {
  readonly dialect: Dialect;
  readonly access: DeviceAccess;
  /** Our ACLs' names. */
  readonly acl: string;
  readonly acl6: string;
  /** The interface that the ACL is applied to, where counters need it. */
  readonly interface?: string | undefined;
  /** Overrides of what the dialect says. */
  readonly capacity?: number | undefined;
  readonly optimalBatch?: number | undefined;
}

/** A family of addresses as the dialect speaks of it. */
interface Family {
  readonly family: 4 | 6;
  readonly acl: string;
  readonly commands: DialectFamily;
}

/** What to ask, and of which family. */
interface Showing {
  readonly questions: readonly { readonly family: Family; readonly command: string }[];
  /** Whole ACLs are listed; false: only the lines of some pinholes. */
  readonly whole: boolean;
}

/** How something is configured. */
interface Configuring {
  /** The keys of the pinholes whose lines these are. */
  readonly keys?: ReadonlyMap<string, string>;
  /** Throws it away in any case. */
  readonly dry?: boolean;
  /** What to ask right afterwards. */
  readonly show?: Showing;
}

interface Configured {
  /** What the device complained about, by the key of the pinhole whose line it was. */
  readonly said: Complaints;
  readonly shown: Shown<AclEntry> | undefined;
}

/** The driver. */
export class CliAclEnforcer extends DeviceEnforcer<AclEntry> {
  readonly name: string;
  readonly capabilities: EnforcerCapabilities;
  readonly #options: CliAclOptions;
  readonly #dialect: Dialect;
  readonly #link: DeviceLink;
  readonly #families: readonly Family[];
  #tidied: CliSession | undefined;
  /** Where the device can check a session without committing it. */
  readonly check?: (batch: readonly EnforcerChange[]) => Promise<string | undefined>;

  constructor(options: CliAclOptions) {
    super();
    const { dialect } = options;
    this.#options = options;
    this.#dialect = dialect;
    this.#link = new DeviceLink(options.access, dialect);
    this.name = dialect.name;
    const { ipv4, ipv6 } = dialect.families;
    this.#families = [
      { family: 4, acl: options.acl, commands: ipv4 },
      ...(ipv6 === undefined ? [] : [{ family: 6, acl: options.acl6, commands: ipv6 } as const]),
    ];
    if (dialect.commit?.verify !== undefined) {
      this.check = (batch) =>
        this.checked(batch, async (opens, closes, image) => {
          const body = this.#body(opens, closes, image);
          const { said: { complaints, general } } = await this.#configure(body.commands, {
            keys: body.keys,
            dry: true,
          });
          return [...body.impossible.values(), ...complaints.values(), general][0];
        });
    }
    const { limits } = dialect;
    const counting = options.interface !== undefined ||
      ipv4.counters.every((command) => !command.includes("{interface}"));
    this.capabilities = {
      atomic: dialect.commit !== undefined,
      counterAge: counting ? limits.counter_age ?? undefined : undefined,
      capacity: options.capacity ?? limits.capacity,
      optimalBatch: options.optimalBatch ?? limits.optimal_batch,
      ipv6: ipv6 !== undefined,
      sourcePorts: true,
      portRanges: false, // a range costs as many entries of the hardware as its ports need
      persistent: false,
      leases: false,
    };
  }

  protected async begin(): Promise<void> {
    await this.#session();
  }

  protected alive(): boolean {
    return this.#link.alive;
  }

  protected override unheard(): string | undefined {
    return this.#link.silence;
  }

  protected disconnect(): Promise<void> {
    return this.#link.close();
  }

  protected isReady(image: readonly AclEntry[]): boolean {
    return this.#families.every((family) => image.some((e) => this.#isGuard(e, family)));
  }

  protected async makeReady(image: readonly AclEntry[]): Promise<void> {
    const bare = this.#families.filter((family) => !image.some((e) => this.#isGuard(e, family)));
    const lines = bare.flatMap((family) => this.#within(family, this.#ready(family)));
    const { said: { general } } = await this.#configure(lines);
    if (general === undefined) return;
    throw this.#link.error(
      `The device did not take the ACL of pinholes: ${general}`,
      "check what the account may configure",
    );
  }

  protected async change(
    opens: readonly FiveTuple[],
    closes: readonly FiveTuple[],
    image: readonly AclEntry[],
    few: boolean,
  ): Promise<Changed<AclEntry>> {
    const body = this.#body(opens, closes, image);
    const { said, shown } = await this.#configure(body.commands, {
      keys: body.keys,
      show: this.#showing([...opens, ...closes], few),
    });
    for (const [key, why] of body.impossible) said.complaints.set(key, why);
    return { ...said, shown };
  }

  protected override async look(tuples: readonly FiveTuple[]): Promise<AclEntry[] | undefined> {
    if (!this.alive()) return undefined;
    const { questions, whole } = this.#showing(tuples, true);
    if (whole) return undefined;
    const session = await this.#session();
    const entries: AclEntry[] = [];
    for (const { family, command } of questions) {
      const listed = this.#understand(family, await session.run(command));
      // Without the entry that always is there, it is not known whether the device looked.
      if (!listed.some((entry) => this.#isGuard(entry, family))) return undefined;
      entries.push(...listed);
    }
    return entries;
  }

  protected commands(
    opens: readonly FiveTuple[],
    closes: readonly FiveTuple[],
    image: readonly AclEntry[] | undefined,
  ): string[] {
    const { begin, end, commit } = this.#dialect;
    const body = this.#body(opens, closes, image).commands;
    return [...begin, ...body, ...(commit === undefined ? end : [commit.command])]
      .map((command) => this.#text(command));
  }

  protected isFull(complaint: string): boolean {
    return complaint.startsWith(NO_NUMBER) ||
      this.#dialect.full.some((pattern) => pattern.test(complaint));
  }

  protected async read(what: Reading): Promise<AclEntry[]> {
    const session = await this.#session();
    const entries: AclEntry[] = [];
    for (const family of this.#families) {
      const { acl, commands } = family;
      if (!what.families.has(family.family)) continue;
      const listed = this.#understand(
        family,
        await session.run(this.#text(commands.list, { acl })),
      );
      // Without an interface there are no counters to ask for.
      const needed = commands.counters.filter((command) =>
        this.#options.interface !== undefined || !command.includes("{interface}")
      );
      if (needed.length === 0 || !what.counted) {
        entries.push(...listed);
        continue;
      }
      const counted = new Map<string, AclEntry>();
      for (const command of needed) {
        const output = await session.run(this.#text(command, { acl }));
        for (const entry of this.#ours(family, output)) {
          if (entry.tuple !== undefined) counted.set(tupleKey(entry.tuple), entry);
        }
      }
      for (const entry of listed) {
        const more = entry.tuple === undefined ? undefined : counted.get(tupleKey(entry.tuple));
        entries.push({ ...entry, packets: more?.packets, bytes: more?.bytes });
      }
    }
    return entries;
  }

  /** The entries of our ACL in a listing. */
  #ours({ acl, family }: Family, output: readonly string[]): AclEntry[] {
    return parseListing(output.join("\n"), this.#dialect.listing)
      .filter((entry) => entry.acl === acl && entry.family === family);
  }

  /**
   * The same of a listing of it.
   *
   * @throws {EnforcerError} for what is none.
   */
  #understand(family: Family, output: readonly string[]): AclEntry[] {
    const listed = this.#ours(family, output);
    if (listed.length > 0) return listed;
    const text = output.join(" ").trim();
    if (text === "" || text.includes(family.acl) || this.#saysNothing(output)) return listed;
    throw this.#link.error(
      `What the device lists for ${family.acl} is not understood: ${
        JSON.stringify(text.slice(0, 200))
      }`,
      "check that it is the kind of device that the configuration says",
    );
  }

  /** What to ask to see what became of some pinholes. */
  #showing(tuples: readonly FiveTuple[], few: boolean): Showing {
    const touched = this.#families.filter(({ family }) =>
      tuples.some((tuple) => tuple.source.family === family)
    );
    const looks = few ? touched.map((family) => this.#look(family, tuples)) : [];
    const whole = !few || looks.includes(undefined);
    const questions = touched.map((family, i) => ({
      family,
      command: whole ? this.#text(family.commands.list, { acl: family.acl }) : looks[i] as string,
    }));
    return { questions, whole };
  }

  /** The command that shows some pinholes, the heading and the guard; undefined where there is none. */
  #look({ family, acl, commands }: Family, tuples: readonly FiveTuple[]): string | undefined {
    if (commands.look === undefined) return undefined;
    const own = tuples.filter((tuple) => tuple.source.family === family);
    const vendor = vendorOf(this.#dialect.listing);
    const pattern = lookPattern(acl, this.#text(commands.guard, { seq: "" }), own, vendor);
    const command = this.#text(commands.look, { acl, pattern });
    return command.length <= LONGEST_COMMAND ? command : undefined;
  }

  /** The session; a new one begins without what a lost one left half done. */
  async #session(): Promise<CliSession> {
    const session = await this.#link.session();
    if (session !== this.#tidied) {
      for (const command of this.#dialect.tidy) await session.run(this.#text(command));
      this.#tidied = session;
    }
    return session;
  }

  /** The device says that there is no such list. */
  #saysNothing(output: readonly string[]): boolean {
    return output.some((line) =>
      /\b(not|no) (found|such|exist|defined|configured|access)/i.test(line)
    );
  }

  /**
   * The commands inside configuration that add and remove entries, and whose each is.
   *
   * @param known undefined: of a device that was not looked at, where something is closed the ACL is there.
   */
  #body(
    opens: readonly FiveTuple[],
    closes: readonly FiveTuple[],
    known: readonly AclEntry[] | undefined,
  ): { commands: string[]; keys: Map<string, string>; impossible: Map<string, string> } {
    const commands: string[] = [];
    const keys = new Map<string, string>();
    const impossible = new Map<string, string>();
    const image = known ?? [];
    for (const family of this.#families) {
      const own = (tuple: FiveTuple) => tuple.source.family === family.family;
      const lines: string[] = [];
      const add = (line: string, tuple: FiveTuple) => {
        lines.push(line);
        keys.set(line, tupleKey(tuple));
      };
      // By what it lets in, never by number: a reboot or somebody else may have given numbers anew.
      for (const tuple of closes.filter(own)) {
        add(this.#entry(family.commands.close, family, tuple, 0), tuple);
      }
      const numbers = this.#numbers(family, image);
      const numbered = family.commands.open.includes("{seq}");
      for (const tuple of opens.filter(own)) {
        const seq = numbered ? numbers.take() : this.#appendable(family, image);
        if (seq === undefined) impossible.set(tupleKey(tuple), `${NO_NUMBER} in ${family.acl}`);
        else add(this.#entry(family.commands.open, family, tuple, seq), tuple);
      }
      if (lines.length === 0) continue;
      // Somebody may have removed the ACL meanwhile.
      const bare = known === undefined
        ? !closes.some(own)
        : !image.some((e) => this.#isGuard(e, family));
      if (bare) lines.unshift(...this.#ready(family));
      commands.push(...this.#within(family, lines));
    }
    return { commands, keys, impossible };
  }

  /** Where entries have no numbers they come last: of no use behind one that denies everything. */
  #appendable({ family }: Family, image: readonly AclEntry[]): number | undefined {
    const barred = image.some((e) => e.family === family && e.action === "deny" && e.all);
    return barred ? undefined : 0;
  }

  #numbers({ family }: Family, image: readonly AclEntry[]): EntryNumbers {
    const entries = image.filter((e) => e.family === family && e.seq !== undefined);
    const barrier = entries.find((e) => e.action === "deny" && e.all)?.seq ?? Infinity;
    const { first, last } = this.#dialect.sequence;
    return new EntryNumbers(entries.map((e) => e.seq as number), first, last, barrier);
  }

  /** Our ACL's own entry and settings. */
  #ready(family: Family): string[] {
    const { guard, prepare } = family.commands;
    const seq = String(this.#dialect.sequence.guard);
    return [...prepare, guard].map((command) => this.#text(command, { acl: family.acl, seq }));
  }

  #within(family: Family, lines: readonly string[]): string[] {
    const text = (command: string) => this.#text(command, { acl: family.acl });
    return [
      ...family.commands.enter.map(text),
      ...lines,
      ...family.commands.leave.map(text),
      ...family.commands.after.map(text),
      ...family.commands.perhaps.map(text),
    ];
  }

  #entry(template: string, { commands }: Family, t: FiveTuple, seq: number): string {
    const port = (text: string, n: number) => fill(text, { port: String(n) });
    return fill(template, {
      seq: String(seq),
      proto: t.protocol,
      source: fill(commands.host, { address: t.source.text }),
      source_port: t.sourcePort === 0 ? "" : port(commands.source_port, t.sourcePort),
      destination: fill(commands.host, { address: t.destination.text }),
      port: String(t.destinationPort),
    });
  }

  #isGuard(entry: AclEntry, { family, acl, commands }: Family): boolean {
    const context = {
      acl,
      family,
      vendor: vendorOf(this.#dialect.listing),
      standard: false,
      uncounted: undefined,
    };
    const guard = parseAce(fill(commands.guard, { seq: "1" }), context);
    return guard !== undefined && entry.acl === acl && entry.family === family &&
      entry.action === guard.action && entry.proto === guard.proto &&
      entry.source === guard.source && entry.destination === guard.destination;
  }

  #text(command: string, values: Record<string, string> = {}): string {
    const { acl } = this.#options;
    const iface = this.#options.interface ?? "";
    return fill(command, { acl, interface: iface, session: `diaper-${acl}`, ...values });
  }

  /**
   * Configures: begins, sends all at once, and ends; with a candidate, makes it effective or throws it away. What is
   * to be shown then is asked for in the same breath.
   *
   * @throws {SessionError} when it is not known what the device did.
   */
  async #configure(commands: readonly string[], options: Configuring = {}): Promise<Configured> {
    const { keys = new Map(), dry = false, show } = options;
    if (commands.length === 0) {
      return { said: { complaints: new Map(), general: undefined }, shown: undefined };
    }
    const session = await this.#session();
    const { commit, end } = this.#dialect;
    const timeout = this.#options.access.timeout + commands.length * 0.05;
    const questions = show?.questions.map(({ command }) => command) ?? [];
    if (commit === undefined) {
      await this.#begin(session);
      const outcomes = await session.pipeline(
        [...commands, ...end, ...questions],
        "enabled",
        timeout,
      );
      const sent = outcomes.length - questions.length;
      return {
        said: this.#complaints(outcomes.slice(0, sent), keys, session),
        shown: this.#shown(show, outcomes.slice(sent)),
      };
    }
    const lines = [...commands, commit.verify ?? "show clock"];
    const body = this.#atOnce
      ? await this.#beginWith(session, lines, timeout)
      : await this.#begin(session).then(() => session.pipeline(lines, "config", timeout));
    const said = this.#complaints(body, keys, session);
    if (dry || said.complaints.size > 0 || said.general !== undefined) {
      await session.run(commit.abort, timeout);
      return { said, shown: undefined };
    }
    const [committed, ...outcomes] = await session.pipeline(
      [commit.command, ...questions],
      "any",
      timeout,
    );
    const complaint = committed?.output.find((line) => this.#isError(line));
    const refused = session.mode === "config";
    if (refused) await session.run(commit.abort, timeout);
    return {
      said: { complaints: new Map(), general: complaint?.trim() },
      shown: refused || complaint !== undefined ? undefined : this.#shown(show, outcomes),
    };
  }

  /** What the device showed; undefined when it was not asked. */
  #shown(show: Showing | undefined, outcomes: readonly Outcome[]): Shown<AclEntry> | undefined {
    if (show === undefined) return undefined;
    const entries = show.questions.map(({ family }, i) =>
      this.#understand(family, outcomes[i]?.output ?? [])
    );
    // Without the entries that always are there, it is not known whether the device looked.
    const looked = show.questions.every(({ family }, i) =>
      entries[i]?.some((entry) => this.#isGuard(entry, family))
    );
    return show.whole || looked ? { entries: entries.flat(), whole: show.whole } : undefined;
  }

  /**
   * Lines may follow the command that begins at once where none of them does anything when it was refused:
   * what leaves an ACL would else leave the device.
   */
  get #atOnce(): boolean {
    return this.#families.every(({ commands }) => commands.leave.length === 0);
  }

  /** Begins and sends lines in one breath, with patience while somebody else holds the configuration. */
  async #beginWith(
    session: CliSession,
    lines: readonly string[],
    timeout: number,
  ): Promise<Outcome[]> {
    const begin = this.#dialect.begin.map((command) => this.#text(command));
    for (let tries = 0;; tries++) {
      const outcomes = await session.pipeline([...begin, ...lines], "any", timeout);
      const output = outcomes.slice(0, begin.length).flatMap((outcome) => outcome.output);
      const complaint = output.find((line) => this.#isLocked(line)) ??
        output.find((line) => this.#isError(line));
      if (complaint === undefined && session.mode === "config") return outcomes.slice(begin.length);
      session.takeAsides();
      await this.#mayBeginAgain(session, complaint, tries);
    }
  }

  /** Into configuration, with patience while somebody else holds it. */
  async #begin(session: CliSession): Promise<void> {
    for (let tries = 0;; tries++) {
      let complaint: string | undefined;
      for (const command of this.#dialect.begin) {
        const output = await session.run(this.#text(command));
        complaint = output.find((line) => this.#isLocked(line)) ??
          output.find((line) => this.#isError(line));
        if (complaint !== undefined) break;
      }
      if (complaint === undefined && session.mode === "config") return;
      await this.#mayBeginAgain(session, complaint, tries);
    }
  }

  /**
   * Waits when somebody else holds the configuration.
   *
   * @throws {EnforcerError} when it is something else, or has taken too long.
   */
  async #mayBeginAgain(
    session: CliSession,
    complaint: string | undefined,
    tries: number,
  ): Promise<void> {
    const why = complaint?.trim() ?? "it stays out of configuration";
    if (session.mode === "config") await session.run(this.#dialect.end[0] as string);
    if (complaint !== undefined && this.#isLocked(complaint) && await this.#link.backOff(tries)) {
      return;
    }
    throw this.#link.error(
      `The device cannot be configured now: ${why}`,
      "see who else configures it, and whether a lock was left behind",
    );
  }

  #complaints(
    outcomes: readonly Outcome[],
    keys: ReadonlyMap<string, string>,
    session: CliSession,
  ): Complaints {
    const complaints = new Map<string, string>();
    // A full table is told by a log line on some devices.
    const full = session.takeAsides().find((line) => this.#dialect.full.some((p) => p.test(line)));
    let general = full?.trim();
    const perhaps = this.#perhaps();
    for (const { command, output } of outcomes) {
      const complaint = output.find((line) => this.#isError(line));
      if (complaint === undefined) continue;
      if (perhaps.has(command)) continue;
      const key = keys.get(command);
      if (key === undefined) general ??= `${command}: ${complaint.trim()}`;
      else complaints.set(key, complaint.trim());
    }
    return { complaints, general };
  }

  /** The commands whose refusal means nothing. */
  #perhaps(): ReadonlySet<string> {
    return new Set(
      this.#families.flatMap(({ acl, commands }) =>
        commands.perhaps.map((command) => this.#text(command, { acl }))
      ),
    );
  }

  #isError(line: string): boolean {
    return this.#dialect.errors.some((pattern) => pattern.test(line));
  }

  #isLocked(line: string): boolean {
    return this.#dialect.locked.some((pattern) => pattern.test(line));
  }
}

const NO_NUMBER = "no place is free in front of the entry that denies everything";
