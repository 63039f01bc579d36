/**
 * Execution (paper, section 4.3): carries out what was decided, in order, by the one writer that an
 * enforcer has. What comes together in one round goes to ledger and enforcer in one batch.
 *
 * @module
 */
import type { ChangeResult, Enforcer, EnforcerChange } from "../../drivers/enforcer.ts";
import { type CloseReason, type Pinhole, tupleKey } from "../pinhole/pinhole.ts";
import type { Verdict } from "../pinhole/request.ts";
import { type AuditTrail, pinholeFields, reasonText } from "./audit.ts";
import { isoTime } from "./iso_time.ts";
import type { Ledger } from "./ledger.ts";
import type { PinholeTable } from "./pinhole_table.ts";

interface Opening {
  readonly pinhole: Pinhole;
  readonly answer: (verdict: Verdict) => void;
  readonly boundAt: number | undefined;
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
  readonly #ledger: Ledger;
  readonly #table: PinholeTable;
  readonly #audit: AuditTrail;
  readonly #lease: number;
  #opening: Opening[] = [];
  /** When the first of them was asked for, on the clock of `performance.now`. */
  #asked = 0;
  readonly #closing = new Map<Pinhole, CloseReason>();
  /** Closes that the enforcer did not confirm; tried again with the next batch. */
  readonly #unconfirmed = new Map<Pinhole, CloseReason>();
  /** Opened pinholes whose ledger row still says `opening`. */
  #settled: Pinhole[] = [];
  #enforcerFailed: string | undefined;

  /** @param lease seconds after which the enforcer itself drops an entry that nobody renewed. */
  constructor(
    enforcer: Enforcer,
    ledger: Ledger,
    table: PinholeTable,
    audit: AuditTrail,
    lease: number,
  ) {
    this.#enforcer = enforcer;
    this.#ledger = ledger;
    this.#table = table;
    this.#audit = audit;
    this.#lease = lease;
  }

  /** Why the enforcer's last batch failed as a whole; undefined while it works. */
  get enforcerFailed(): string | undefined {
    return this.#enforcerFailed;
  }

  /** Something waits for {@link flush}. */
  get pending(): boolean {
    return this.#opening.length > 0 || this.#closing.size > 0;
  }

  /** Something waits for {@link settle}. */
  get unsettled(): boolean {
    return this.#settled.length > 0;
  }

  /** Wants a pinhole open; `answer` is called when it is, or when it cannot be. */
  open(pinhole: Pinhole, boundAt: number | undefined, answer: (verdict: Verdict) => void): void {
    this.#table.add(pinhole);
    if (this.#opening.length === 0) this.#asked = performance.now();
    this.#opening.push({ pinhole, answer, boundAt });
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

  /** Carries out what is wanted: ledger, then enforcer, then answers and audit trail. */
  async flush(): Promise<void> {
    const opening = this.#opening;
    const asked = this.#asked;
    this.#opening = [];
    const closing = [...this.#closing];
    this.#closing.clear();
    const wanted = this.#cancel(opening, closing);
    if (wanted.opening.length === 0 && wanted.closing.length === 0) return;
    const opens = this.#record(wanted.opening, wanted.closing);
    await this.#apply(opens, wanted.closing, asked);
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

  /** Opens and closes of the same pinhole that came together cancel out. */
  #cancel(opening: Opening[], closing: [Pinhole, CloseReason][]): {
    opening: Opening[];
    closing: [Pinhole, CloseReason][];
  } {
    if (opening.length === 0 || closing.length === 0) return { opening, closing };
    const ended = new Map(closing);
    const both = new Set<Pinhole>();
    for (const { pinhole, answer } of opening) {
      const reason = ended.get(pinhole);
      if (reason === undefined) continue;
      both.add(pinhole);
      pinhole.state = "closed";
      this.#table.delete(pinhole);
      answer({ kind: "unavailable", why: `not opened: ${reasonText(reason)}` });
    }
    return {
      opening: opening.filter((o) => !both.has(o.pinhole)),
      closing: closing.filter(([p]) => !both.has(p)),
    };
  }

  /** Writes the wishes down first; what cannot be written is not opened, but closed all the same. */
  #record(opening: Opening[], closing: [Pinhole, CloseReason][]): Opening[] {
    for (const [p] of closing) p.state = "closing";
    // What batches came to can wait for a quiet moment, but not for ever.
    const settled = this.#settled.length < MOST_UNSETTLED ? [] : this.#settled.splice(0);
    try {
      this.#ledger.transaction(() => {
        for (const p of settled) if (p.state === "open") this.#ledger.update(p);
        for (const { pinhole } of opening) this.#ledger.insert(pinhole);
        for (const [p] of closing) this.#ledger.update(p);
      });
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
    await this.#readCounters(last);
    for (const p of last) changes.push(this.#change("close", p));
    for (const { pinhole } of opening) changes.push(this.#change("open", pinhole));
    const results = await this.#enforce(changes);
    const failed = new Map<Pinhole, ChangeResult & { ok: false }>();
    last.forEach((p, i) => {
      const r = results[i];
      if (r !== undefined && !r.ok) failed.set(p, r);
    });
    const now = Date.now();
    const openMs = Math.round((performance.now() - asked) * 1000) / 1000;
    opening.forEach((o, i) => this.#opened(o, results[last.length + i], now, openMs));
    this.#closed(closing, failed, now);
    const ended = closing.filter(([p, reason]) =>
      p.state === "closed" && (FORCED.has(reason) || p.tuple.protocol === "udp")
    );
    if (ended.length > 0) await this.#enforcer.endConnections(ended.map(([p]) => p.tuple));
  }

  /** Applies changes; when the enforcer breaks, what it holds is unknown. */
  async #enforce(changes: EnforcerChange[]): Promise<ChangeResult[]> {
    if (changes.length === 0) return [];
    try {
      const results = await this.#enforcer.apply(changes);
      this.#enforcerFailed = undefined;
      return await this.#readBack(changes, results);
    } catch (error) {
      const why = message(error);
      if (this.#enforcerFailed !== why) this.#audit.add("enforcer.failed", { why });
      this.#enforcerFailed = why;
      return changes.map(() => ({ ok: false, reason: "unknown", message: why }));
    }
  }

  /** Looks at the enforcer for each change of which it is not known whether it was made. */
  async #readBack(changes: EnforcerChange[], results: ChangeResult[]): Promise<ChangeResult[]> {
    const unknown = changes.filter((_, i) => {
      const r = results[i];
      return r !== undefined && !r.ok && r.reason === "unknown";
    });
    if (unknown.length === 0) return results;
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
    p.state = "closed";
    this.#table.delete(p);
    o.answer({ kind: "unavailable", why });
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
      this.#audit.add("pinhole.closed", () => ({
        ...pinholeFields(p),
        reason,
        why: reasonText(reason),
        open_seconds: p.openedAt === undefined ? null : Math.max(0, now - p.openedAt) / 1000,
      }), now);
    }
  }

  async #readCounters(pinholes: readonly Pinhole[]): Promise<void> {
    if (pinholes.length === 0) return;
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

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
