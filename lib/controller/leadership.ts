/**
 * Which of several controllers serves: the one whose key in etcd lives, by a lease. It alone may write to the
 * ledger there (each write holds only while the key is its own) and to the enforcer (only while the lease is
 * surely alive, by this host's own clock).
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

/** Seconds that etcd keeps the key of a leader that is not heard of. */
const TTL = 2;
/** So long before the lease could end, nothing is written to the enforcer any more, in milliseconds. */
const MARGIN_MS = 400;
const RENEW_MS = 400;
const CAMPAIGN_MS = 100;
const TIMEOUT_MS = 1000;
/** An enforcer that fails so long makes its controller resign: another may reach it. */
const PATIENCE_MS = 5000;
/** Changes in one transaction; etcd takes 128. */
const CHANGES = 100;

/** This controller does not lead any more. */
export class LeadershipLost extends Error {
  override readonly name = "LeadershipLost";
  readonly next = "it starts anew as one that stands by; systemd does that by itself";
}

/** One controller's part in the leadership. */
export class Leadership implements Part, SharedLedger {
  readonly #etcd: Etcd;
  readonly #prefix: string;
  readonly #name: string;
  /** This process, so that it knows whether another has led meanwhile. */
  readonly #identity = crypto.randomUUID();
  #lease: string | undefined;
  #revision: string | undefined;
  /** On the clock of `performance.now`: until then the lease surely lives. */
  #sureUntil = 0;
  #nextRenewal = 0;
  #nextId = 1;
  /** Rows that are of no use any more; they go with the next write. */
  #useless: number[] = [];
  #failingSince: number | undefined;
  #renewing = false;
  #lost: LeadershipLost | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Why the enforcer fails, if it does. */
  enforcerFailed: () => string | undefined = () => undefined;

  /**
   * @param prefix of all keys; controllers of one enforcer have the same.
   * @param name of this controller, for people.
   */
  constructor(etcd: Etcd, prefix: string, name: string) {
    this.#etcd = etcd;
    this.#prefix = prefix.replace(/\/$/, "");
    this.#name = name;
  }

  /** The lease is surely alive. */
  get sure(): boolean {
    return performance.now() < this.#sureUntil;
  }

  /**
   * Waits until this controller leads.
   *
   * @param tell called with who leads, when that changes, or what is wrong.
   * @param cancelled says that it shall wait no longer.
   * @returns false when it was cancelled.
   */
  async campaign(tell: (text: string) => void, cancelled: () => boolean): Promise<boolean> {
    let told = "";
    const say = (text: string) => {
      if (text !== told) tell(text);
      told = text;
    };
    while (!cancelled()) {
      try {
        if (await this.#attempt()) return true;
        const leader = await this.#etcd.get(`${this.#prefix}/leader`, TIMEOUT_MS);
        say(`standing by: ${leader ?? "nobody"} leads`);
      } catch (error) {
        if (!(error instanceof EtcdError)) throw error;
        this.#lease = undefined;
        say(error.message);
      }
      await new Promise((resolve) => setTimeout(resolve, CAMPAIGN_MS));
    }
    return false;
  }

  /** All pinholes of the shared ledger, and the first number that no pinhole ever had. */
  async read(): Promise<{ pinholes: Pinhole[]; nextId: number }> {
    const pinholes: Pinhole[] = [];
    for await (const { value } of this.#etcd.list(`${this.#prefix}/pinhole/`, TIMEOUT_MS * 10)) {
      pinholes.push(readPinholeText(value));
    }
    const stored = Number(await this.#etcd.get(`${this.#prefix}/next`, TIMEOUT_MS) ?? 1);
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
      writes.push(this.#etcd.changeWhile(
        `${this.#prefix}/leader`,
        this.#revision ?? "",
        [...changes.slice(i, i + CHANGES), next],
        TIMEOUT_MS,
      ));
    }
    if ((await Promise.all(writes)).every((held) => held)) {
      this.#useless.splice(0, useless.length);
      return;
    }
    // The next renewal finds out whether another one leads.
    this.#sureUntil = 0;
    this.#nextRenewal = 0;
    throw new LeadershipLost("the lease has ended");
  }

  /** See {@link SharedLedger.forget}. */
  forget(pinhole: Pinhole): void {
    this.#useless.push(pinhole.id);
  }

  /** See {@link Part.due}. */
  due(now: number): number {
    return this.#nextRenewal - now;
  }

  /**
   * Renews the lease.
   *
   * @throws {LeadershipLost} when it cannot be held, or should not be.
   */
  async round(now: number): Promise<void> {
    if (this.#lost !== undefined) throw this.#lost;
    if (now < this.#nextRenewal) return;
    if (this.enforcerFailed() === undefined) this.#failingSince = undefined;
    else if (this.#failingSince === undefined) this.#failingSince = now;
    else if (now - this.#failingSince > PATIENCE_MS) {
      throw new LeadershipLost(`the enforcer cannot be reached: ${this.enforcerFailed()}`);
    }
    await this.#renew();
    if (this.#lost !== undefined) throw this.#lost;
  }

  /** Asks etcd to keep the lease; what becomes of it is in the fields. */
  async #renew(): Promise<void> {
    if (this.#renewing) return;
    this.#renewing = true;
    this.#nextRenewal = performance.now() + RENEW_MS;
    try {
      const asked = performance.now();
      if (!await this.#etcd.keepAlive(this.#lease ?? "0", this.#left())) {
        // Held up for too long. When nobody has led meanwhile, what this controller knows still holds.
        this.#sureUntil = 0;
        this.#lease = undefined;
        if (!await this.#attempt(this.#identity)) {
          throw new LeadershipLost("another controller leads: this one was not heard of in time");
        }
        return;
      }
      this.#sureUntil = asked + TTL * 1000 - MARGIN_MS;
    } catch (error) {
      if (error instanceof LeadershipLost) this.#lost = error;
      else if (!(error instanceof EtcdError)) throw error;
      else if (!this.sure) this.#lost = new LeadershipLost(error.message, { cause: error });
    } finally {
      this.#renewing = false;
    }
  }

  /** Lets another controller lead at once. */
  async resign(): Promise<void> {
    const lease = this.#lease;
    clearInterval(this.#timer);
    this.#sureUntil = 0;
    this.#lease = undefined;
    try {
      if (lease !== undefined) await this.#etcd.revoke(lease, TIMEOUT_MS);
    } catch (error) {
      // It ends by itself.
      if (!(error instanceof EtcdError)) throw error;
    }
    this.#etcd.close();
  }

  /** @param last who must have led last; undefined: it does not matter. */
  async #attempt(last?: string): Promise<boolean> {
    const asked = performance.now();
    if (this.#lease === undefined || !await this.#etcd.keepAlive(this.#lease, TIMEOUT_MS)) {
      this.#lease = await this.#etcd.grant(TTL, TIMEOUT_MS);
    }
    const key = `${this.#prefix}/leader`;
    const mark = { key: `${this.#prefix}/last`, value: this.#identity };
    this.#revision = await this.#etcd.create(
      key,
      this.#name,
      this.#lease,
      last === undefined ? mark : { ...mark, was: last },
      TIMEOUT_MS,
    );
    if (this.#revision === undefined) return false;
    this.#sureUntil = asked + TTL * 1000 - MARGIN_MS;
    this.#nextRenewal = 0;
    // While another part waits for a slow device it has no turn; then the clock renews the lease.
    clearInterval(this.#timer);
    this.#timer = setInterval(() => void this.#renew(), RENEW_MS);
    return true;
  }

  #left(): number {
    return Math.max(50, Math.min(TIMEOUT_MS, this.#sureUntil - performance.now()));
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
