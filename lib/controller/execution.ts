/**
 * Execution (paper, section 4.3): carries out what was decided, in order, by the one writer that an
 * enforcer has. What comes together in one round goes to ledger and enforcer in one batch, up to the size
 * at which the enforcer is fastest; when there is more, delegates take turns. What does not fit into the
 * enforcer now waits in line.
 *
 * @module
 */
import type { ChangeResult, Enforcer, EnforcerChange } from "../../drivers/enforcer.ts";
import { type CloseReason, type Pinhole, tupleKey } from "../pinhole/pinhole.ts";
import type { Verdict } from "../pinhole/request.ts";
import { type AuditTrail, pinholeFields, reasonText } from "./audit.ts";
import { isoTime } from "./iso_time.ts";
import { FairQueue } from "./fair_queue.ts";
import type { LedgerBook } from "./memory_ledger.ts";
import type { PinholeTable } from "./pinhole_table.ts";

/** How much an enforcer takes, and how long one may wait for room there. */
export interface ExecutionLimits {
  /** Most pinholes at once. */
  readonly capacity: number;
  /** Seconds that a request waits for room; 0: not at all. */
  readonly wait: number;
  /** Most requests that wait at once. */
  readonly longestLine: number;
  /** Changes in one batch that give the best rate; what the enforcer says of itself without it. */
  readonly batch?: number | undefined;
  /** Where several controllers share their ledger. */
  readonly shared?: SharedLedger | undefined;
}

/** Milliseconds until what a leader could not do, since something did not answer, is tried again. */
const SHARED_PAUSE_MS = 100;

/** A ledger that several controllers share, one of which leads. */
export interface SharedLedger {
  /**
   * Writes down what is wanted, before the enforcer is told.
   *
   * @throws {Error} when that could not be done, or this controller does not lead.
   */
  commit(opened: readonly Pinhole[], ended: readonly Pinhole[]): Promise<void>;
  /** A pinhole that was written down has not come to be. */
  forget(pinhole: Pinhole): void;
}

interface Opening {
  readonly pinhole: Pinhole;
  answer: (verdict: Verdict) => void;
  readonly boundAt: number | undefined;
  /** The ledger has it. */
  recorded: boolean;
}

/** Opened pinholes whose rows still say `opening`, at most. */
const MOST_UNSETTLED = 10_000;

/** Reasons after which a living flow must be ended, since its socket may still be there. */
const FORCED: ReadonlySet<CloseReason> = new Set([
  "expired",
  "by-hand",
  "policy",
  "idle",
  "stale",
]);

/** The writer of one enforcer. */
export class Execution {
  readonly #enforcer: Enforcer;
  readonly #ledger: LedgerBook;
  readonly #table: PinholeTable;
  readonly #audit: AuditTrail;
  readonly #lease: number;
  readonly #limits: ExecutionLimits;
  readonly #opening = new FairQueue<Opening>((o) => o.pinhole.requester.delegate);
  /** When the first of them was asked for, on the clock of `performance.now`. */
  #asked = 0;
  /** Those for which there is no room at the enforcer, in order, and since when they wait. */
  #line: (Opening & { readonly since: number })[] = [];
  /** What is being opened for brokers, by pinhole: they may ask for the verdict again. */
  readonly #underWay = new Map<Pinhole, Opening>();
  readonly #closing = new Map<Pinhole, CloseReason>();
  /** Closes that the enforcer did not confirm; tried again with the next batch. */
  readonly #unconfirmed = new Map<Pinhole, CloseReason>();
  /** Opened pinholes whose ledger row still says `opening`. */
  #settled: Pinhole[] = [];
  #enforcerFailed: string | undefined;
  /** Shared ledger or enforcer failed: nothing is begun until then, on the clock of `performance.now`. */
  #pausedUntil = 0;
  /** Told of each pinhole that is no more, as soon as it is no more. */
  onClosed: ((pinhole: Pinhole, reason: CloseReason) => void) | undefined;

  /** @param lease seconds after which the enforcer itself drops an entry that nobody renewed. */
  constructor(
    enforcer: Enforcer,
    ledger: LedgerBook,
    table: PinholeTable,
    audit: AuditTrail,
    lease: number,
    limits: ExecutionLimits = { capacity: Infinity, wait: 0, longestLine: 0 },
  ) {
    this.#limits = limits;
    this.#enforcer = enforcer;
    this.#ledger = ledger;
    this.#table = table;
    this.#audit = audit;
    this.#lease = lease;
  }

  /** Why the enforcer's last batch failed as a whole, or its driver waits in vain; undefined while it works. */
  get enforcerFailed(): string | undefined {
    return this.#enforcerFailed ?? this.#enforcer.silence;
  }

  /** Something waits for {@link flush}. */
  get pending(): boolean {
    if (this.#pausedUntil > 0 && performance.now() < this.#pausedUntil) return false;
    this.#pausedUntil = 0;
    return this.#opening.length > 0 || this.#closing.size > 0;
  }

  /** Something waits for the shared ledger, or for the enforcer of several controllers, to be well again. */
  get paused(): boolean {
    return this.#pausedUntil > 0;
  }

  /** Pinholes that are at the enforcer, or on their way there. */
  get held(): number {
    return this.#table.size - this.#line.length;
  }

  /** Requests that wait for room at the enforcer. */
  get waiting(): number {
    return this.#line.length;
  }

  /**
   * Why there is no room for another pinhole; undefined when there is, or when there is room in line.
   *
   * @param patient whoever asks would wait in line.
   */
  obstacle(patient: boolean): string | undefined {
    const { capacity, wait, longestLine } = this.#limits;
    if (this.held < capacity && this.#line.length === 0) return undefined;
    const full = `the perimeter is full: ${this.held} pinholes, the most that it takes`;
    if (wait === 0 || !patient) return full;
    if (this.#line.length < longestLine) return undefined;
    return `${full}; ${this.#line.length} more wait, the most that may`;
  }

  /** A waiting pinhole's place in line, from 1; undefined when it does not wait. */
  positionOf(pinhole: Pinhole): number | undefined {
    // It is asked for by whoever has just come, at the end of the line.
    const at = this.#line.findLastIndex((o) => o.pinhole === pinhole);
    return at === -1 ? undefined : at + 1;
  }

  /** Gives the verdict about a broker's pinhole that is `opening` to somebody else than who asked first. */
  answerLater(pinhole: Pinhole, answer: (verdict: Verdict) => void): void {
    const opening = this.#underWay.get(pinhole);
    if (opening === undefined) throw new Error(`Cannot answer later: ${pinhole.id} is not opening`);
    opening.answer = answer;
  }

  /** Something waits for {@link settle}. */
  get unsettled(): boolean {
    return this.#settled.length > 0;
  }

  /** Wants a pinhole open; `answer` is called when it is, or when it cannot be. */
  open(pinhole: Pinhole, boundAt: number | undefined, answer: (verdict: Verdict) => void): void {
    this.#table.add(pinhole);
    let opening: Opening = { pinhole, answer, boundAt, recorded: false };
    if (this.#line.length > 0 || this.held > this.#limits.capacity) {
      const waiting = { ...opening, since: performance.now() };
      this.#line.push(waiting);
      opening = waiting;
    } else {
      if (this.#opening.length === 0) this.#asked = performance.now();
      this.#opening.push(opening);
    }
    if (pinhole.origin !== undefined) this.#underWay.set(pinhole, opening);
  }

  /** Answers those that have waited for room too long. To be called about once a second. */
  expireWaiting(): void {
    const since = performance.now() - this.#limits.wait * 1000;
    const late = this.#line.filter((o) => o.since <= since);
    if (late.length === 0) return;
    const { held } = this;
    this.#line = this.#line.filter((o) => o.since > since);
    late.forEach((o, i) => {
      const why = `the perimeter is full: ${held} pinholes; ` +
        `waited ${this.#limits.wait} s in line, in the end as number ${i + 1}`;
      this.#drop(o, why);
      this.#audit.add("pinhole.failed", { ...pinholeFields(o.pinhole), why });
    });
  }

  /** Wants a pinhole closed. */
  close(pinhole: Pinhole, reason: CloseReason): void {
    if (pinhole.state === "closed" || this.#closing.has(pinhole)) return;
    this.#closing.set(pinhole, reason);
  }

  /** Tries again to close what the enforcer has not confirmed. To be called now and then. */
  retry(): void {
    for (const [pinhole, reason] of this.#unconfirmed) this.#closing.set(pinhole, reason);
    this.#unconfirmed.clear();
  }

  /** Carries out all that is wanted now, in as many batches as that takes. */
  async flush(): Promise<void> {
    while (this.pending) await this.step();
  }

  /** Carries out one batch of what is wanted: ledger, then enforcer, then answers and audit trail. */
  step(): Promise<void> | undefined {
    this.#cancel();
    const most = this.#limits.batch ?? this.#enforcer.capabilities.optimalBatch;
    // Where both wait, each has half of the batch: whoever closes very much keeps nobody from opening.
    const room = most - Math.min(this.#opening.length, Math.floor(most / 2));
    const closing = [...this.#closing].slice(0, room);
    if (closing.length === this.#closing.size) this.#closing.clear();
    else for (const [p] of closing) this.#closing.delete(p);
    const opening = this.#opening.take(most - closing.length);
    if (opening.length === 0 && closing.length === 0) return undefined;
    const { shared } = this.#limits;
    if (shared !== undefined) return this.#shareFirst(shared, opening, closing);
    return this.#carryOut(opening, closing);
  }

  async #shareFirst(
    shared: SharedLedger,
    opening: Opening[],
    closing: [Pinhole, CloseReason][],
  ): Promise<void> {
    if (await this.#share(shared, opening, closing)) await this.#carryOut(opening, closing);
  }

  /** Ledger, then enforcer, then answers; a promise only when the enforcer has to be waited for. */
  #carryOut(opening: Opening[], closing: [Pinhole, CloseReason][]): Promise<void> | undefined {
    const opens = this.#record(opening, closing);
    const asked = this.#asked;
    if (closing.length > 0) {
      return this.#apply(opens, closing, asked).then(() => this.#admit());
    }
    const results = this.#enforce(opens.map((o) => this.#change("open", o.pinhole)));
    if (results instanceof Promise) {
      return results.then((far) => {
        if (!this.#heldBack(opens, [], opens.length)) this.#answer(opens, far, asked);
        this.#admit();
      });
    }
    if (!this.#heldBack(opens, [], opens.length)) this.#answer(opens, results, asked);
    this.#admit();
    return undefined;
  }

  /** Writes down what the last batches came to. Not urgent: a restart finds it out by itself. */
  settle(): void {
    if (this.#settled.length === 0) return;
    const settled = this.#settled;
    this.#settled = [];
    try {
      this.#ledger.transaction(() => {
        for (const p of settled) if (p.state === "open") this.#ledger.update(p);
      });
    } catch (error) {
      this.#audit.add("ledger.failed", { why: message(error) });
    }
  }

  /** Renews the leases of open pinholes at the enforcer, and puts back what is missing there. */
  async renew(pinholes: readonly Pinhole[]): Promise<void> {
    const open = pinholes.filter((p) => p.state === "open");
    if (open.length === 0) return;
    const results = await this.#enforce(open.map((p) => this.#change("open", p)));
    const until = Date.now() + this.#lease * 1000;
    open.forEach((p, i) => {
      if (results[i]?.ok === true) p.leasedUntil = until;
    });
  }

  /** Opens and closes of the same pinhole that have not been begun cancel out. */
  #cancel(): void {
    if (this.#closing.size === 0) return;
    let cancelled = false;
    const stays = (o: Opening) => {
      const reason = this.#closing.get(o.pinhole);
      if (reason === undefined) return true;
      if (o.recorded) {
        // It was tried once: what came of it at the enforcer is not known, so that it is closed there.
        this.#underWay.delete(o.pinhole);
        o.answer({ kind: "unavailable", why: `not opened: ${reasonText(reason)}` });
        return false;
      }
      this.#closing.delete(o.pinhole);
      cancelled = true;
      this.#drop(o, `not opened: ${reasonText(reason)}`);
      this.onClosed?.(o.pinhole, reason);
      return false;
    };
    this.#opening.filter(stays);
    if (this.#line.length > 0) this.#line = this.#line.filter(stays);
    if (cancelled) this.#admit();
  }

  /** Lets those in line go on for whom there is room now. */
  #admit(): void {
    if (this.#line.length === 0) return;
    const room = Math.max(0, this.#limits.capacity - this.held);
    const next = this.#line.splice(0, room);
    if (next[0] !== undefined && this.#opening.length === 0) this.#asked = next[0].since;
    this.#opening.push(...next);
  }

  /** Answers one that never came to the enforcer. */
  #drop(o: Opening, why: string): void {
    o.pinhole.state = "closed";
    this.#table.delete(o.pinhole);
    this.#underWay.delete(o.pinhole);
    o.answer({ kind: "unavailable", why });
  }

  /** Writes the wishes into the shared ledger; false when nothing may be done. */
  async #share(
    shared: SharedLedger,
    opening: Opening[],
    closing: [Pinhole, CloseReason][],
  ): Promise<boolean> {
    try {
      await shared.commit(opening.map((o) => o.pinhole), closing.map(([p]) => p));
      return true;
    } catch (error) {
      const why = `the shared ledger cannot be written: ${message(error)}`;
      this.#audit.add("ledger.failed", { why });
      this.#putBack(opening, closing);
      return false;
    }
  }

  /** Nobody is answered: either it can be done soon, or another controller leads and is asked again. */
  #putBack(opening: Opening[], closing: [Pinhole, CloseReason][]): void {
    this.#opening.putBack(opening);
    const later = [...this.#closing];
    this.#closing.clear();
    for (const [p, reason] of [...closing, ...later]) this.#closing.set(p, reason);
    this.#pausedUntil = performance.now() + SHARED_PAUSE_MS;
  }

  /** Writes the wishes down first; what cannot be written is not opened, but closed all the same. */
  #record(opening: Opening[], closing: [Pinhole, CloseReason][]): Opening[] {
    for (const [p] of closing) p.state = "closing";
    // What batches came to can wait for a quiet moment, but not for ever.
    const settled = this.#settled.length < MOST_UNSETTLED ? [] : this.#settled.splice(0);
    try {
      this.#ledger.transaction(() => {
        for (const p of settled) if (p.state === "open") this.#ledger.update(p);
        for (const { pinhole, recorded } of opening) if (!recorded) this.#ledger.insert(pinhole);
        for (const [p] of closing) this.#ledger.update(p);
      });
      for (const o of opening) o.recorded = true;
      return opening;
    } catch (error) {
      const why = `the ledger cannot be written: ${message(error)}`;
      this.#audit.add("ledger.failed", { why: message(error) });
      for (const o of opening) this.#forget(o, why);
      return [];
    }
  }

  async #apply(
    opening: Opening[],
    closing: [Pinhole, CloseReason][],
    asked: number,
  ): Promise<void> {
    const changes: EnforcerChange[] = [];
    // A tuple that several pinholes share is opened with the first and closed with the last of them.
    const leaving = new Map<string, Pinhole>();
    for (const [p] of closing) {
      const others = this.#table.sameTuple(p.tuple);
      if (others.every((o) => o.state === "closing")) leaving.set(tupleKey(p.tuple), p);
    }
    const last = [...leaving.values()];
    if (last.length > 0) await this.#readCounters(last);
    for (const p of last) changes.push(this.#change("close", p));
    for (const { pinhole } of opening) changes.push(this.#change("open", pinhole));
    const results = await this.#enforce(changes);
    if (this.#heldBack(opening, closing, changes.length)) return;
    const failed = new Map<Pinhole, ChangeResult & { ok: false }>();
    last.forEach((p, i) => {
      const r = results[i];
      if (r !== undefined && !r.ok) failed.set(p, r);
    });
    this.#answer(opening, results.slice(last.length), asked);
    this.#closed(closing, failed, Date.now());
    const ended = closing.filter(([p, reason]) =>
      p.state === "closed" && (FORCED.has(reason) || p.tuple.protocol === "udp")
    );
    if (ended.length > 0) await this.#enforcer.endConnections(ended.map(([p]) => p.tuple));
  }

  /**
   * Of several controllers this one may be cut off from the enforcer: what another can do better must not be
   * answered here.
   *
   * @param changes so many were just tried.
   * @returns true when they will be tried again.
   */
  #heldBack(opening: Opening[], closing: [Pinhole, CloseReason][], changes: number): boolean {
    const { shared } = this.#limits;
    if (shared === undefined || changes === 0 || this.#enforcerFailed === undefined) return false;
    this.#putBack(opening, closing);
    return true;
  }

  #answer(opening: Opening[], results: readonly ChangeResult[], asked: number): void {
    const now = Date.now();
    const openMs = Math.round((performance.now() - asked) * 1000) / 1000;
    opening.forEach((o, i) => this.#opened(o, results[i], now, openMs));
  }

  /** Applies changes, at once where the enforcer can; when it breaks, what it holds is unknown. */
  #enforce(changes: EnforcerChange[]): ChangeResult[] | Promise<ChangeResult[]> {
    if (changes.length === 0) return [];
    if (this.#enforcer.applyNow === undefined) return this.#enforceFar(changes);
    try {
      const results = this.#enforcer.applyNow(changes);
      if (results.some(isUnknown)) return this.#enforceFar(changes, results);
      this.#enforcerFailed = undefined;
      return results;
    } catch (error) {
      return this.#broken(changes, error);
    }
  }

  /** @param known results that have come already, some of them unknown. */
  async #enforceFar(changes: EnforcerChange[], known?: ChangeResult[]): Promise<ChangeResult[]> {
    try {
      const results = known ?? await this.#enforcer.apply(changes);
      this.#enforcerFailed = undefined;
      return results.some(isUnknown) ? await this.#readBack(changes, results) : results;
    } catch (error) {
      return this.#broken(changes, error);
    }
  }

  #broken(changes: EnforcerChange[], error: unknown): ChangeResult[] {
    const why = message(error);
    if (this.#enforcerFailed !== why) this.#audit.add("enforcer.failed", { why });
    this.#enforcerFailed = why;
    return changes.map(() => ({ ok: false, reason: "unknown", message: why }));
  }

  /** Looks at the enforcer for each change of which it is not known whether it was made. */
  async #readBack(changes: EnforcerChange[], results: ChangeResult[]): Promise<ChangeResult[]> {
    const unknown = changes.filter((_, i) => isUnknown(results[i]));
    const there = await this.#enforcer.counters(unknown.map((c) => c.tuple));
    const made = new Map(unknown.map((c, i) => {
      const present = there[i] !== undefined;
      return [c, present === (c.action === "open")] as const;
    }));
    return results.map((r, i) =>
      made.get(changes[i] as EnforcerChange) === true ? { ok: true } : r
    );
  }

  /** @param openMs how long it took, for the one of the batch that came first. */
  #opened(o: Opening, result: ChangeResult | undefined, now: number, openMs: number): void {
    const p = o.pinhole;
    if (result?.ok !== true) {
      return this.#forget(o, result === undefined ? "no answer" : result.message);
    }
    if (p.origin !== undefined) this.#underWay.delete(p);
    p.state = "open";
    p.openedAt = now;
    p.leasedUntil = now + this.#lease * 1000;
    this.#settled.push(p);
    o.answer({ kind: "open", id: p.id, why: p.rule });
    this.#audit.add("pinhole.opened", () => ({
      ...pinholeFields(p),
      ...(o.boundAt === undefined ? {} : { bound_at: isoTime(o.boundAt) }),
      open_ms: openMs,
    }), now);
  }

  /** Answers that a pinhole could not be opened, and leaves nothing of it behind. */
  #forget(o: Opening, why: string): void {
    const p = o.pinhole;
    this.#drop(o, why);
    this.#limits.shared?.forget(p);
    // Whoever wanted it closed meanwhile has that now.
    const reason = this.#closing.get(p);
    if (reason !== undefined) {
      this.#closing.delete(p);
      this.onClosed?.(p, reason);
    }
    this.#audit.add("pinhole.failed", { ...pinholeFields(p), why });
    try {
      this.#ledger.transaction(() => this.#ledger.archive(p, "enforcer-refused", Date.now()));
    } catch (error) {
      // The row stays `opening`; a restart finds nothing at the enforcer or closes it.
      this.#audit.add("ledger.failed", { why: message(error) });
    }
  }

  #closed(
    closing: [Pinhole, CloseReason][],
    failed: ReadonlyMap<Pinhole, ChangeResult & { ok: false }>,
    now: number,
  ): void {
    const done: [Pinhole, CloseReason][] = [];
    for (const [p, reason] of closing) {
      const failure = failed.get(p);
      if (failure !== undefined) {
        this.#unconfirmed.set(p, reason);
        continue;
      }
      p.state = "closed";
      this.#table.delete(p);
      done.push([p, reason]);
    }
    if (done.length === 0) return;
    try {
      this.#ledger.transaction(() => {
        for (const [p, reason] of done) this.#ledger.archive(p, reason, now);
      });
    } catch (error) {
      // The rows stay `closing`; a restart closes them again.
      this.#audit.add("ledger.failed", { why: message(error) });
    }
    for (const [p, reason] of done) {
      this.onClosed?.(p, reason);
      this.#audit.add("pinhole.closed", () => ({
        ...pinholeFields(p),
        reason,
        why: reasonText(reason),
        open_seconds: p.openedAt === undefined ? null : Math.max(0, now - p.openedAt) / 1000,
      }), now);
    }
  }

  async #readCounters(pinholes: readonly Pinhole[]): Promise<void> {
    try {
      const counters = await this.#enforcer.counters(pinholes.map((p) => p.tuple));
      pinholes.forEach((p, i) => {
        const c = counters[i];
        if (c !== undefined) [p.packets, p.bytes] = [c.packets, c.bytes];
      });
    } catch (error) {
      // Counters are for people; closing must not wait for them.
      this.#audit.add("enforcer.failed", { why: message(error) });
    }
  }

  #change(action: "open" | "close", p: Pinhole): EnforcerChange {
    const left = p.expiresAt === undefined
      ? this.#lease
      : Math.min(this.#lease, Math.max(1, Math.ceil((p.expiresAt - Date.now()) / 1000) + 5));
    return { action, tuple: p.tuple, id: p.id, lease: left };
  }
}

function isUnknown(result: ChangeResult | undefined): boolean {
  return result !== undefined && !result.ok && result.reason === "unknown";
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
