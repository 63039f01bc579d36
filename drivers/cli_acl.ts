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
import { EntryNumbers } from "./acl/numbers.ts";
import { type Complaints, DeviceEnforcer, type Reading } from "./device_enforcer.ts";
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
          const { complaints, general } = await this.#configure(body.commands, body.keys, true);
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

  protected disconnect(): Promise<void> {
    return this.#link.close();
  }

  protected isReady(image: readonly AclEntry[]): boolean {
    return this.#families.every((family) => image.some((e) => this.#isGuard(e, family)));
  }

  protected async makeReady(image: readonly AclEntry[]): Promise<void> {
    const bare = this.#families.filter((family) => !image.some((e) => this.#isGuard(e, family)));
    const lines = bare.flatMap((family) => this.#within(family, this.#ready(family)));
    const { general } = await this.#configure(lines);
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
  ): Promise<Complaints> {
    const body = this.#body(opens, closes, image);
    const said = await this.#configure(body.commands, body.keys);
    for (const [key, why] of body.impossible) said.complaints.set(key, why);
    return said;
  }

  protected commands(
    opens: readonly FiveTuple[],
    closes: readonly FiveTuple[],
    image: readonly AclEntry[],
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
    for (const { acl, family, commands } of this.#families) {
      if (!what.families.has(family)) continue;
      const read = async (command: string) => {
        const output = await session.run(this.#text(command, { acl }));
        const listed = parseListing(output.join("\n"), this.#dialect.listing)
          .filter((entry) => entry.acl === acl && entry.family === family);
        return { output, listed };
      };
      const { output, listed } = await read(commands.list);
      const text = output.join(" ").trim();
      const understood = listed.length > 0 || text === "" || text.includes(acl);
      if (!understood && !this.#saysNothing(output)) {
        throw this.#link.error(
          `What the device lists for ${acl} is not understood: ${
            JSON.stringify(text.slice(0, 200))
          }`,
          "check that it is the kind of device that the configuration says",
        );
      }
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
        for (const entry of (await read(command)).listed) {
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

  /** The commands inside configuration that add and remove entries, and whose each is. */
  #body(
    opens: readonly FiveTuple[],
    closes: readonly FiveTuple[],
    image: readonly AclEntry[],
  ): { commands: string[]; keys: Map<string, string>; impossible: Map<string, string> } {
    const commands: string[] = [];
    const keys = new Map<string, string>();
    const impossible = new Map<string, string>();
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
      if (!image.some((e) => this.#isGuard(e, family))) lines.unshift(...this.#ready(family));
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
   * Configures: begins, sends all at once, and ends; with a candidate, makes it effective or throws it away.
   *
   * @param dry throws it away in any case.
   * @returns what the device complained about, by the key of the pinhole whose line it was.
   * @throws {SessionError} when it is not known what the device did.
   */
  async #configure(
    commands: readonly string[],
    keys: ReadonlyMap<string, string> = new Map(),
    dry = false,
  ): Promise<Complaints> {
    if (commands.length === 0) return { complaints: new Map(), general: undefined };
    const session = await this.#session();
    await this.#begin(session);
    const { commit, end } = this.#dialect;
    const timeout = this.#options.access.timeout + commands.length * 0.05;
    if (commit === undefined) {
      const outcomes = await session.pipeline([...commands, ...end], "enabled", timeout);
      return this.#complaints(outcomes, keys, session);
    }
    const verify = commit.verify ?? "show clock";
    const body = await session.pipeline([...commands, verify], "config", timeout);
    const said = this.#complaints(body, keys, session);
    if (dry || said.complaints.size > 0 || said.general !== undefined) {
      await session.run(commit.abort, timeout);
      return said;
    }
    const output = await session.run(commit.command, timeout);
    const complaint = output.find((line) => this.#isError(line));
    if (session.mode === "config") await session.run(commit.abort, timeout);
    return { complaints: new Map(), general: complaint?.trim() };
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
      const why = complaint?.trim() ?? "it stays out of configuration";
      if (session.mode === "config") await session.run(this.#dialect.end[0] as string);
      if (
        complaint === undefined || !this.#isLocked(complaint) || !await this.#link.backOff(tries)
      ) {
        throw this.#link.error(
          `The device cannot be configured now: ${why}`,
          "see who else configures it, and whether a lock was left behind",
        );
      }
    }
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
    for (const { command, output } of outcomes) {
      const complaint = output.find((line) => this.#isError(line));
      if (complaint === undefined) continue;
      const key = keys.get(command);
      if (key === undefined) general ??= `${command}: ${complaint.trim()}`;
      else complaints.set(key, complaint.trim());
    }
    return { complaints, general };
  }

  #isError(line: string): boolean {
    return this.#dialect.errors.some((pattern) => pattern.test(line));
  }

  #isLocked(line: string): boolean {
    return this.#dialect.locked.some((pattern) => pattern.test(line));
  }
}

const NO_NUMBER = "no place is free in front of the entry that denies everything";
