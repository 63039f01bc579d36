/**
 * Which of several controllers serves: the one whose name stands in a key of etcd. It says again and again that
 * it lives; another that has not seen that for a while puts its own name there. The leader alone may write to
 * the ledger in etcd (each write holds only while the name is its own) and to the enforcer (only while nobody
 * can have taken over yet, by this host's own clock).
 *
 * @module
 */
import type {
  ChangeResult,
  Enforcer,
  EnforcerChange,
  ListedEntry,
} from "../../drivers/enforcer.ts";
import { EnforcerError } from "../../drivers/enforcer.ts";
import type { FiveTuple, Pinhole } from "../pinhole/pinhole.ts";
import { type Etcd, type EtcdChange, EtcdError } from "./etcd.ts";
import type { SharedLedger } from "./execution.ts";
import { pinholeText, readPinholeText } from "./ledger_text.ts";
import type { Part } from "./plane.ts";

/** Parts of the patience: how often the leader says that it lives, ... */
const BEAT = 0.2;
/** ... how long after having begun to say so it is sure that nobody took over, ... */
const SURE = 0.7;
/** ... and how long another one must have seen nothing of it. Clocks may differ by a third in their speed. */
const TAKE = 1.1;
const CAMPAIGN_MS = 100;
const TIMEOUT_MS = 500;
const READ_TIMEOUT_MS = 10_000;
/** Changes in one transaction; etcd takes 128. */
const CHANGES = 100;

/** This controller does not lead any more. */
export class LeadershipLost extends Error {
  override readonly name = "LeadershipLost";
  readonly next = "it starts anew as one that stands by; systemd does that by itself";
}

/** Of a controller that does not lead. */
export interface Standby {
  /** The one that does, by its name; null when that cannot be found out. */
  readonly leader: string | null;
  /** The same in words, or what is wrong. */
  readonly why: string;
}

/** What a leader finds out about itself. Each says what is wrong, or nothing. */
export interface LeaderHealth {
  /** Why the enforcer fails. */
  readonly enforcer: () => string | undefined;
  /**
   * Why no broker can be served.
   *
   * @param silence milliseconds without a word after which a broker counts as lost.
   */
  readonly brokers: (now: number, silence: number) => string | undefined;
}

/** One controller's part in the leadership. */
export class Leadership implements Part, SharedLedger {
  readonly #etcd: Etcd;
  readonly #prefix: string;
  readonly #patience: number;
  /** What stands in the key while this process leads: its name, and what no other process has. */
  readonly #mark: string;
  /** On the clock of `performance.now`: until then nobody can have taken over. */
  #sureUntil = 0;
  #leads = false;
  #nextBeat = 0;
  #nextId = 1;
  /** Rows that are of no use any more; they go with the next write. */
  #useless: number[] = [];
  #failingSince: number | undefined;
  #lookedAt = 0;
  /** One that stands by, when its key was seen to change. */
  #other = { revision: "", at: -Infinity };
  #beating = false;
  #lost: LeadershipLost | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** How this controller is; all is well until somebody knows better. */
  health: LeaderHealth = { enforcer: () => undefined, brokers: () => undefined };

  /**
   * @param prefix of all keys; controllers of one enforcer have the same.
   * @param name of this controller, for people; no spaces.
   * @param patience milliseconds for which a leader may not be heard of.
   */
  constructor(etcd: Etcd, prefix: string, name: string, patience: number) {
    this.#etcd = etcd;
    this.#prefix = prefix.replace(/\/$/, "");
    this.#mark = `${name} ${crypto.randomUUID()}`;
    this.#patience = patience;
  }

  /** Nobody can have taken over yet. */
  get sure(): boolean {
    return performance.now() < this.#sureUntil;
  }

  /** Leads no more, if that is so. */
  get lost(): LeadershipLost | undefined {
    return this.#lost;
  }

  /**
   * Waits until this controller leads.
   *
   * @param tell called with who leads, when that changes, or what is wrong.
   * @param cancelled says that it shall wait no longer.
   * @returns false when it was cancelled.
   */
  async campaign(tell: (state: Standby) => void, cancelled: () => boolean): Promise<boolean> {
    let told = "";
    const say = (leader: string | null, why: string) => {
      if (why !== told) tell({ leader, why });
      told = why;
    };
    let seen = { revision: "", since: 0 };
    let said = -Infinity;
    while (!cancelled()) {
      try {
        if (performance.now() - said >= BEAT * this.#patience) {
          // Any key will do that a leader does not have: it is to see that there is somebody.
          said = performance.now();
          const mark = { put: this.#standbyKey, value: this.#mark };
          await this.#etcd.change(
            { key: `${this.#prefix}/none`, absent: true },
            [mark],
            TIMEOUT_MS,
          );
        }
        const leader = await this.#etcd.get(this.#key, TIMEOUT_MS);
        const now = performance.now();
        if (seen.revision !== leader?.revision) {
          seen = { revision: leader?.revision ?? "", since: now };
        }
        if (leader === undefined || now - seen.since >= TAKE * this.#patience) {
          if (await this.#take(leader?.revision)) return true;
          continue;
        }
        const name = leader.value.split(" ")[0] ?? "";
        say(name, `standing by: ${name} leads`);
      } catch (error) {
        if (!(error instanceof EtcdError)) throw error;
        // While nobody can write there, a leader cannot either: its time begins anew.
        seen = { revision: "", since: 0 };
        say(null, error.message);
      }
      await new Promise((resolve) => setTimeout(resolve, CAMPAIGN_MS));
    }
    return false;
  }

  /** All pinholes of the shared ledger, and the first number that no pinhole ever had. */
  async read(): Promise<{ pinholes: Pinhole[]; nextId: number }> {
    const pinholes: Pinhole[] = [];
    for await (const { value } of this.#etcd.list(`${this.#prefix}/pinhole/`, READ_TIMEOUT_MS)) {
      pinholes.push(readPinholeText(value));
    }
    const stored = Number((await this.#etcd.get(`${this.#prefix}/next`, TIMEOUT_MS))?.value ?? 1);
    this.#nextId = pinholes.reduce((next, p) => Math.max(next, p.id + 1), stored);
    return { pinholes: pinholes.sort((a, b) => a.id - b.id), nextId: this.#nextId };
  }

  /** See {@link SharedLedger.commit}. */
  async commit(opened: readonly Pinhole[], ended: readonly Pinhole[]): Promise<void> {
    const key = (id: number) => `${this.#prefix}/pinhole/${String(id).padStart(16, "0")}`;
    const useless = [...this.#useless];
    const changes: EtcdChange[] = [
      ...useless.map((id) => ({ delete: key(id) })),
      ...ended.map((p) => ({ delete: key(p.id) })),
      ...opened.map((p) => ({ put: key(p.id), value: pinholeText(p) })),
    ];
    for (const p of opened) this.#nextId = Math.max(this.#nextId, p.id + 1);
    const next = { put: `${this.#prefix}/next`, value: String(this.#nextId) };
    const writes: Promise<boolean>[] = [];
    for (let i = 0; i < changes.length; i += CHANGES) {
      const some = [...changes.slice(i, i + CHANGES), next];
      writes.push(this.#etcd.change(this.#mine, some, TIMEOUT_MS));
    }
    if ((await Promise.all(writes)).every((held) => held)) {
      this.#useless.splice(0, useless.length);
      return;
    }
    this.#lose("another controller leads: this one was not heard of in time");
    throw this.#lost;
  }

  /** See {@link SharedLedger.forget}. */
  forget(pinhole: Pinhole): void {
    this.#useless.push(pinhole.id);
  }

  /** See {@link Part.due}. */
  due(now: number): number {
    return this.#nextBeat - now;
  }

  /**
   * Says that this controller lives, when it is time to.
   *
   * @throws {LeadershipLost} when another one leads, or should.
   */
  async round(now: number): Promise<void> {
    if (now >= this.#nextBeat) await this.#beat();
    this.mustLead();
  }

  /**
   * To be asked also while a part of the data plane waits for something far away.
   *
   * @throws {LeadershipLost} when another one leads, or should.
   */
  mustLead(): void {
    if (this.#lost !== undefined) throw this.#lost;
  }

  /** Lets another controller lead at once. */
  async resign(): Promise<void> {
    const led = this.#leads;
    this.#end();
    try {
      if (led) await this.#etcd.change(this.#mine, [{ delete: this.#key }], TIMEOUT_MS);
    } catch (error) {
      // The others will see that nothing is heard of this one.
      if (!(error instanceof EtcdError)) throw error;
    }
    this.#etcd.close();
  }

  get #key(): string {
    return `${this.#prefix}/leader`;
  }

  get #standbyKey(): string {
    return `${this.#prefix}/standby`;
  }

  get #mine(): { key: string; value: string } {
    return { key: this.#key, value: this.#mark };
  }

  /** @param revision at which the leader was seen last; undefined: there is none. */
  async #take(revision: string | undefined): Promise<boolean> {
    const asked = performance.now();
    const condition = revision === undefined
      ? { key: this.#key, absent: true as const }
      : { key: this.#key, revision };
    const mark = { put: this.#key, value: this.#mark };
    if (!await this.#etcd.change(condition, [mark], TIMEOUT_MS)) return false;
    this.#leads = true;
    this.#sureUntil = asked + SURE * this.#patience;
    this.#nextBeat = 0;
    // While another part waits for a slow device this one has no turn; then the clock says that it lives.
    this.#timer = setInterval(() => void this.#beat(), BEAT * this.#patience);
    return true;
  }

  /** Says that this controller lives, unless it should not lead; what becomes of it is in the fields. */
  async #beat(): Promise<void> {
    if (this.#beating || this.#lost !== undefined) return;
    this.#beating = true;
    const asked = performance.now();
    this.#nextBeat = asked + BEAT * this.#patience;
    try {
      const ill = this.#illness(asked);
      if (ill !== undefined) return this.#lose(ill);
      const mark = { put: this.#key, value: this.#mark };
      const left = this.#left();
      // Held up for long, and still its own: nobody has led meanwhile, and what it knows still holds.
      const [leads, other] = await Promise.all([
        this.#etcd.change(this.#mine, [mark], left),
        this.#etcd.get(this.#standbyKey, left),
      ]);
      if (other !== undefined && other.revision !== this.#other.revision) {
        const first = this.#other.revision === "";
        this.#other = { revision: other.revision, at: first ? -Infinity : performance.now() };
      }
      if (leads) {
        this.#sureUntil = asked + SURE * this.#patience;
      } else this.#lose("another controller leads: this one was not heard of in time");
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      // Until another one can have taken over it may come back; brokers wait for that long.
      const taken = this.#sureUntil + (TAKE - SURE) * this.#patience;
      if (performance.now() >= taken) this.#lose(error.message);
    } finally {
      this.#beating = false;
    }
  }

  /** Why another controller should lead; undefined when none should. */
  #illness(now: number): string | undefined {
    const { health } = this;
    // With nobody to take over it is better to go on as well as one can.
    const another = now - this.#other.at < this.#patience;
    const heldUp = now - this.#lookedAt > 3 * BEAT * this.#patience;
    this.#lookedAt = now;
    const failed = health.enforcer();
    if (failed === undefined) this.#failingSince = undefined;
    else this.#failingSince ??= now;
    if (another && now - (this.#failingSince ?? now) > this.#patience) {
      return `the enforcer cannot be reached: ${failed}`;
    }
    // Who was held up has not heard what was said meanwhile.
    return heldUp || !another ? undefined : health.brokers(now, SURE * this.#patience);
  }

  #lose(why: string): void {
    this.#lost ??= new LeadershipLost(why);
    this.#sureUntil = 0;
    clearInterval(this.#timer);
  }

  #end(): void {
    clearInterval(this.#timer);
    this.#sureUntil = 0;
    this.#leads = false;
  }

  #left(): number {
    return Math.max(50, Math.min(TIMEOUT_MS, (this.#sureUntil - performance.now()) / 2));
  }
}

/** An enforcer that only the leader writes to. */
export class FencedEnforcer implements Enforcer {
  readonly name: string;
  readonly capabilities: Enforcer["capabilities"];
  readonly #inner: Enforcer;
  readonly #leadership: Leadership;

  constructor(inner: Enforcer, leadership: Leadership) {
    this.name = inner.name;
    this.capabilities = inner.capabilities;
    this.#inner = inner;
    this.#leadership = leadership;
  }

  get silence(): string | undefined {
    return this.#inner.silence;
  }

  connect(): Promise<void> {
    this.#mustLead();
    return this.#inner.connect();
  }

  apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    this.#mustLead();
    return this.#inner.apply(batch);
  }

  counters(tuples: readonly FiveTuple[]): ReturnType<Enforcer["counters"]> {
    return this.#inner.counters(tuples);
  }

  list(): Promise<ListedEntry[]> {
    return this.#inner.list();
  }

  endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    this.#mustLead();
    return this.#inner.endConnections(tuples);
  }

  intact(): boolean {
    // Who does not lead has nothing to mend.
    return !this.#leadership.sure || this.#inner.intact?.() !== false;
  }

  statistics(): ReturnType<NonNullable<Enforcer["statistics"]>> {
    return this.#inner.statistics?.() ?? NOTHING;
  }

  plan(batch: readonly EnforcerChange[]): string {
    return this.#inner.plan(batch);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  remove(): Promise<void> {
    this.#mustLead();
    return this.#inner.remove();
  }

  #mustLead(): void {
    if (this.#leadership.sure) return;
    throw new EnforcerError(
      "this controller may not write to the enforcer: it is not sure to lead",
      "it is tried again as soon as etcd answers; otherwise another controller leads",
    );
  }
}

const NOTHING = { dropped: { packets: 0, bytes: 0 }, invalid: { packets: 0, bytes: 0 } };
