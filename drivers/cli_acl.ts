/**
 * Drives any device that has numbered ACL entries and a command line; what is peculiar to a kind of device
 * is in its dialect. Lines are sent many at once, and what became of them is taken from a listing
 * afterwards, never from what the device said: it may have stopped half-way, or said nothing.
 *
 * What is ours: entries of our ACLs that let in exactly one host to one port of another, with no other
 * condition. Everything else, there and elsewhere, is somebody else's and is not touched. Our ACL always
 * holds an entry that matches nothing, since an applied ACL without entries lets everything in.
 *
 * @module
 */
import { type FiveTuple, tupleKey, tupleText } from "../lib/pinhole/pinhole.ts";
import { parseAce } from "./acl/ace.ts";
import type { AclEntry } from "./acl/entry.ts";
import { parseListing, vendorOf } from "./acl/listing.ts";
import { EntryNumbers } from "./acl/numbers.ts";
import { type BatchPlan, planBatch } from "./batch.ts";
import { type DeviceAccess, DeviceLink } from "./device_link.ts";
import { type Dialect, type DialectFamily, fill } from "./dialect.ts";
import {
  type ChangeResult,
  type Counters,
  type Enforcer,
  type EnforcerCapabilities,
  type EnforcerChange,
  EnforcerError,
  type ListedEntry,
} from "./enforcer.ts";
import { Meter } from "./meter.ts";
import { type CliSession, type Outcome, SessionError } from "./transport/session.ts";

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

type Failure = ChangeResult & { ok: false };

/** A family of addresses as the dialect speaks of it. */
interface Family {
  readonly family: 4 | 6;
  readonly acl: string;
  readonly commands: DialectFamily;
}

/** So many times what did not come about is tried again, from a new listing. */
const ROUNDS = 3;

/** The driver. */
export class CliAclEnforcer implements Enforcer {
  readonly name: string;
  readonly capabilities: EnforcerCapabilities;
  readonly #options: CliAclOptions;
  readonly #dialect: Dialect;
  readonly #link: DeviceLink;
  readonly #families: readonly Family[];
  readonly #meter = new Meter();
  #connected = false;
  /** What the last listing showed; undefined when the device's state is not known. */
  #image: AclEntry[] | undefined;

  constructor(options: CliAclOptions) {
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

  async connect(): Promise<void> {
    await this.#link.close();
    this.#image = undefined;
    const session = await this.#link.session();
    this.#connected = true;
    try {
      for (const command of this.#dialect.tidy) await session.run(this.#text(command));
      const image = await this.#refresh();
      const bare = this.#families.filter((family) => !image.some((e) => this.#isGuard(e, family)));
      if (bare.length === 0) return;
      await this.#configure(bare.flatMap((family) => this.#within(family, this.#ready(family))));
      const missing = (await this.#refresh(),
        bare.find((family) =>
          !this.#image?.some((e) => this.#isGuard(e, family))
        ));
      if (missing !== undefined) {
        throw this.#link.error(
          `The device did not take the ACL ${missing.acl}`,
          "check what the account may configure",
        );
      }
    } catch (error) {
      this.#connected = false;
      await this.#link.close();
      throw error;
    }
  }

  async apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    this.#mustBeConnected();
    if (batch.length === 0) return [];
    const plan = planBatch(batch, this.#present(await this.#current()), {
      capacity: this.capabilities.capacity,
      ipv6: this.capabilities.ipv6,
    });
    for (const key of plan.reopened) this.#meter.restart(key);
    if (plan.opens.length === 0 && plan.closes.length === 0) return plan.answers(new Map());
    return plan.answers(await this.#carryOut(plan));
  }

  async counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]> {
    this.#mustBeConnected();
    if (tuples.length > 0) await this.#refresh();
    return tuples.map((tuple) => this.#meter.read(tupleKey(tuple)));
  }

  async list(): Promise<ListedEntry[]> {
    this.#mustBeConnected();
    const listed = new Map<string, ListedEntry>();
    for (const { tuple } of await this.#refresh()) {
      if (tuple === undefined) continue;
      const key = tupleKey(tuple);
      const counted = this.#meter.read(key) ?? { packets: 0, bytes: 0 };
      listed.set(key, { tuple, ...counted, expires: undefined });
    }
    return [...listed.values()];
  }

  /** A device has no connections, only packets that match or do not: what is closed is closed. */
  endConnections(): Promise<void> {
    return Promise.resolve();
  }

  /** False when the last listing missed the entry that keeps an ACL of ours from being empty. */
  intact(): boolean {
    const image = this.#image;
    return image === undefined ||
      this.#families.every((family) => image.some((e) => this.#isGuard(e, family)));
  }

  plan(batch: readonly EnforcerChange[]): string {
    const image = this.#image ?? [];
    const plan = planBatch(batch, this.#present(image), {
      capacity: this.capabilities.capacity,
      ipv6: this.capabilities.ipv6,
    });
    const body = this.#body(plan.opens, plan.closes, image).commands;
    if (body.length === 0) return "";
    const { begin, end, commit } = this.#dialect;
    return [...begin, ...body, ...(commit === undefined ? end : [commit.command])]
      .map((command) => this.#text(command) + "\n").join("");
  }

  async close(): Promise<void> {
    this.#connected = false;
    this.#image = undefined;
    await this.#link.close();
  }

  /** Takes all pinholes away. The ACL stays, since an interface whose ACL is gone lets everything in. */
  async remove(): Promise<void> {
    const wasConnected = this.#connected;
    if (!wasConnected) await this.connect();
    const closes = (await this.list()).map(({ tuple }): EnforcerChange => ({
      action: "close",
      tuple,
      id: 0,
      lease: 0,
    }));
    const failed = (await this.apply(closes)).find((result) => !result.ok);
    if (!wasConnected) await this.close();
    if (failed?.ok === false) {
      throw new EnforcerError(
        `Cannot remove all pinholes: ${failed.message}`,
        "remove the rest by hand",
      );
    }
  }

  #mustBeConnected(): void {
    if (this.#connected) return;
    throw new EnforcerError(`The ${this.name} driver is not connected`, "call connect() first");
  }

  async #current(): Promise<AclEntry[]> {
    return this.#image ?? await this.#refresh();
  }

  /** Lists our ACLs anew. Tries once more over a new session when this one is lost. */
  async #refresh(): Promise<AclEntry[]> {
    this.#image = undefined;
    let entries: AclEntry[];
    try {
      entries = await this.#readList();
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      entries = await this.#readList();
    }
    const shown = new Map<string, Counters>();
    for (const { tuple, packets, bytes } of entries) {
      if (tuple === undefined) continue;
      const key = tupleKey(tuple);
      const more = shown.get(key); // the same pinhole twice, by a foreign edit
      shown.set(key, {
        packets: (packets ?? 0) + (more?.packets ?? 0),
        bytes: (bytes ?? 0) + (more?.bytes ?? 0),
      });
    }
    this.#meter.update(shown);
    this.#image = entries;
    return entries;
  }

  async #readList(): Promise<AclEntry[]> {
    const session = await this.#link.session();
    const entries: AclEntry[] = [];
    for (const { acl, family, commands } of this.#families) {
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
      if (needed.length === 0) {
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

  /** The device says that there is no such list. */
  #saysNothing(output: readonly string[]): boolean {
    return output.some((line) =>
      /\b(not|no) (found|such|exist|defined|configured|access)/i.test(line)
    );
  }

  #present(image: readonly AclEntry[]): Map<string, 4 | 6> {
    const present = new Map<string, 4 | 6>();
    for (const { tuple } of image) {
      if (tuple !== undefined) present.set(tupleKey(tuple), tuple.source.family);
    }
    return present;
  }

  /** Adds and removes; what did not come about is tried again, since numbers and locks change. */
  async #carryOut(plan: BatchPlan): Promise<Map<string, Failure>> {
    let { opens, closes }: { opens: readonly FiveTuple[]; closes: readonly FiveTuple[] } = plan;
    let failed = new Map<string, Failure>();
    for (let round = 0; round < ROUNDS; round++) {
      const attempt = await this.#attempt(opens, closes);
      failed = attempt.failed;
      if (failed.size === 0 || !attempt.worthwhile) break;
      opens = opens.filter((tuple) => failed.has(tupleKey(tuple)));
      closes = closes.filter((tuple) => failed.has(tupleKey(tuple)));
    }
    return failed;
  }

  /** One try. `worthwhile`: another one, from what is there now, may do better. */
  async #attempt(
    opens: readonly FiveTuple[],
    closes: readonly FiveTuple[],
  ): Promise<{ failed: Map<string, Failure>; worthwhile: boolean }> {
    const complaints = new Map<string, string>();
    let general: string | undefined;
    let lost = false;
    try {
      const size = this.capabilities.atomic
        ? Infinity
        : Math.max(1, this.capabilities.optimalBatch);
      const all = [
        ...closes.map((tuple) => ({ tuple, open: false })),
        ...opens.map((tuple) => ({ tuple, open: true })),
      ];
      let image = await this.#current();
      for (let at = 0; at < all.length; at += size) {
        const part = all.slice(at, at + size);
        const pick = (open: boolean) => part.filter((p) => p.open === open).map((p) => p.tuple);
        const body = this.#body(pick(true), pick(false), image);
        for (const [key, why] of body.impossible) complaints.set(key, why);
        const said = await this.#configure(body.commands, body.keys);
        for (const [key, why] of said.complaints) complaints.set(key, why);
        general ??= said.general;
        if (at + size < all.length) image = await this.#refresh();
      }
    } catch (error) {
      if (!(error instanceof EnforcerError)) throw error;
      general = error.message;
      lost = error instanceof SessionError;
    }
    let image: AclEntry[];
    try {
      image = await this.#refresh();
    } catch (error) {
      if (!(error instanceof EnforcerError)) throw error;
      return {
        failed: unknown([...opens, ...closes], general ?? error.message),
        worthwhile: false,
      };
    }
    const present = this.#present(image);
    const failed = new Map<string, Failure>();
    const check = (tuple: FiveTuple, wanted: boolean) => {
      const key = tupleKey(tuple);
      if (present.has(key) === wanted) return;
      const why = complaints.get(key) ?? general ?? "the device did not do it, and did not say why";
      const full = this.#dialect.full.some((pattern) => pattern.test(why)) ||
        why.startsWith(NO_NUMBER);
      const message = `${tupleText(tuple)}: ${why}`;
      failed.set(key, { ok: false, reason: full && wanted ? "full" : "refused", message });
    };
    for (const tuple of opens) check(tuple, true);
    for (const tuple of closes) check(tuple, false);
    const full = [...failed.values()].some(({ reason }) => reason === "full");
    const fewer = failed.size < opens.length + closes.length;
    return { failed, worthwhile: lost || (!full && (fewer || complaints.size > 0)) };
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
   * @returns what the device complained about, by the key of the pinhole whose line it was.
   * @throws {SessionError} when it is not known what the device did.
   */
  async #configure(
    commands: readonly string[],
    keys: ReadonlyMap<string, string> = new Map(),
  ): Promise<{ complaints: Map<string, string>; general: string | undefined }> {
    if (commands.length === 0) return { complaints: new Map(), general: undefined };
    const session = await this.#link.session();
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
    if (said.complaints.size > 0 || said.general !== undefined) {
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
  ): { complaints: Map<string, string>; general: string | undefined } {
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

function unknown(tuples: readonly FiveTuple[], why: string): Map<string, Failure> {
  return new Map(tuples.map((tuple) => [tupleKey(tuple), {
    ok: false,
    reason: "unknown",
    message: `${tupleText(tuple)}: ${why}`,
  }]));
}
