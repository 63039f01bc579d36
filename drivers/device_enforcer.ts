/**
 * What all drivers of network devices have in common: a batch is thought through, sent, and what became of it is
 * taken from a listing afterwards, never from what the device said: it may have stopped half-way, or said
 * nothing. What did not come about is tried again, since numbers and locks change.
 *
 * @module
 */
import { type FiveTuple, tupleKey, tupleText } from "../lib/pinhole/pinhole.ts";
import { type BatchLimits, type BatchPlan, planBatch } from "./batch.ts";
import {
  type ChangeResult,
  type Counters,
  type Enforcer,
  type EnforcerCapabilities,
  type EnforcerChange,
  EnforcerError,
  type ListedEntry,
} from "./enforcer.ts";
import { type DeviceEntry, DeviceImage } from "./device_image.ts";
import { Meter } from "./meter.ts";
import { SessionError } from "./transport/session.ts";

/** What of a device's ACLs is to be read. */
export interface Reading {
  /** Only these address families. */
  readonly families: ReadonlySet<4 | 6>;
  /** Counters too, where they take a question of their own. */
  readonly counted: boolean;
}

const EVERYTHING: Reading = { families: new Set([4, 6]), counted: true };

/** What a device complained about: by the pinhole's key, and besides. */
export interface Complaints {
  readonly complaints: Map<string, string>;
  readonly general: string | undefined;
}

/** What a device showed when it was asked in the same breath as it was changed. */
export interface Shown<E> {
  readonly entries: readonly E[];
  /** All of the families that were touched; false: of the touched pinholes only. */
  readonly whole: boolean;
}

/** What became of a change, as far as the device told. */
export interface Changed<E> extends Complaints {
  readonly shown?: Shown<E> | undefined;
}

type Failure = ChangeResult & { ok: false };

/** So many times what did not come about is tried. */
const ROUNDS = 3;
/** From so many entries on, single pinholes are looked at rather than everything listed. */
const MANY = 200;

/** A driver of a device whose entries are of kind `E`. */
export abstract class DeviceEnforcer<E extends DeviceEntry> implements Enforcer {
  abstract readonly name: string;
  abstract readonly capabilities: EnforcerCapabilities;
  readonly #meter = new Meter();
  #connected = false;
  #silence: string | undefined;
  /** What the last listing showed; undefined when the device's state is not known. */
  #image: DeviceImage<E> | undefined;

  get silence(): string | undefined {
    return this.#silence ?? this.unheard();
  }

  async connect(): Promise<void> {
    await this.disconnect();
    this.#image = undefined;
    try {
      await this.begin();
      const image = await this.#refresh();
      if (!this.isReady(image.entries)) {
        await this.makeReady(image.entries);
        if (!this.isReady((await this.#refresh()).entries)) {
          throw new EnforcerError(
            `The ${this.name} device did not take the ACL of pinholes`,
            "check what the account may configure",
          );
        }
      }
      this.#connected = true;
    } catch (error) {
      this.#connected = false;
      await this.disconnect();
      throw error;
    }
  }

  async apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    this.#mustBeConnected();
    if (batch.length === 0) return [];
    const known = this.alive() ? this.#image : undefined;
    const image = known === undefined
      ? await this.#refresh()
      : changesNothing(batch, known)
      ? await this.#lookAt(batch.map(({ tuple }) => tuple), EVERYTHING)
      : known;
    const plan = this.#plan(batch, image);
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
    return this.#listed(await this.#refresh());
  }

  async inspect(): Promise<ListedEntry[]> {
    if (this.#connected) return await this.list();
    try {
      return this.#listed(await this.#refresh());
    } finally {
      this.#image = undefined;
      await this.disconnect();
    }
  }

  /** A device has no connections, only packets that match or do not: what is closed is closed. */
  endConnections(): Promise<void> {
    return Promise.resolve();
  }

  /** False when the last listing missed what keeps our ACLs from being empty. */
  intact(): boolean {
    return this.#image === undefined || this.isReady(this.#image.entries);
  }

  plan(batch: readonly EnforcerChange[]): string {
    // Of a device that was not looked at it is taken that what is to be closed is there.
    const image = this.#image;
    const { opens, closes } = planBatch(
      batch,
      image?.present ?? closedFirst(batch),
      this.#limits(),
    );
    if (opens.length === 0 && closes.length === 0) return "";
    return this.commands(opens, closes, image?.entries).map((line) => `${line}\n`).join("");
  }

  async close(): Promise<void> {
    this.#connected = false;
    this.#image = undefined;
    await this.disconnect();
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

  /** Has the device itself check a batch; what it complains about, or undefined. */
  protected async checked(
    batch: readonly EnforcerChange[],
    check: (
      opens: readonly FiveTuple[],
      closes: readonly FiveTuple[],
      image: readonly E[],
    ) => Promise<string | undefined>,
  ): Promise<string | undefined> {
    this.#mustBeConnected();
    const image = await this.#refresh();
    const plan = this.#plan(batch, image);
    const refused = plan.answers(new Map()).find((answer) => !answer.ok);
    if (refused?.ok === false) return refused.message;
    if (plan.opens.length === 0 && plan.closes.length === 0) return undefined;
    return await check(plan.opens, plan.closes, image.entries);
  }

  /** Opens a session and tidies up what a lost one left. */
  protected abstract begin(): Promise<void>;
  /** False when the session is lost: then the device may have rebooted. */
  protected abstract alive(): boolean;
  /** That the device says nothing though an answer is waited for, where a session can tell. */
  protected unheard(): string | undefined {
    return undefined;
  }
  /** Ends the session. */
  protected abstract disconnect(): Promise<void>;
  /** Lists our ACLs. Opens a new session when there is none that works. */
  protected abstract read(what: Reading): Promise<E[]>;
  /**
   * Shows these pinholes only, with the entries that keep the ACLs from being empty as a proof that it looked;
   * undefined where the device cannot, or when it would not be less.
   */
  protected look(_tuples: readonly FiveTuple[]): Promise<E[] | undefined> {
    return Promise.resolve(undefined);
  }
  /** True when our ACLs are there and can never be empty. */
  protected abstract isReady(image: readonly E[]): boolean;
  /** Makes them so. */
  protected abstract makeReady(image: readonly E[]): Promise<void>;
  /**
   * Adds and removes.
   *
   * @param few of many entries are touched: it is enough to show these.
   * @throws {SessionError} when it is not known what the device did.
   * @throws {EnforcerError} when it did nothing.
   */
  protected abstract change(
    opens: readonly FiveTuple[],
    closes: readonly FiveTuple[],
    image: readonly E[],
    few: boolean,
  ): Promise<Changed<E>>;
  /** What {@link change} would send; the image is undefined when the device was not looked at. */
  protected abstract commands(
    opens: readonly FiveTuple[],
    closes: readonly FiveTuple[],
    image: readonly E[] | undefined,
  ): string[];
  /** True for a complaint of no room. */
  protected abstract isFull(complaint: string): boolean;

  #listed({ entries }: DeviceImage<E>): ListedEntry[] {
    const listed = new Map<string, ListedEntry>();
    for (const { tuple } of entries) {
      if (tuple === undefined) continue;
      const key = tupleKey(tuple);
      const counted = this.#meter.read(key) ?? { packets: 0, bytes: 0 };
      listed.set(key, { tuple, ...counted, expires: undefined });
    }
    return [...listed.values()];
  }

  #mustBeConnected(): void {
    if (this.#connected) return;
    throw new EnforcerError(`The ${this.name} driver is not connected`, "call connect() first");
  }

  #plan(batch: readonly EnforcerChange[], image: DeviceImage<E>): BatchPlan {
    return planBatch(batch, image.present, this.#limits());
  }

  #limits(): BatchLimits {
    const { capacity, ipv6 } = this.capabilities;
    return { capacity, ipv6 };
  }

  /** Lists our ACLs anew. Tries once more over a new session when this one is lost. */
  async #refresh(what: Reading = EVERYTHING): Promise<DeviceImage<E>> {
    const before = this.#image?.entries ?? [];
    this.#image = undefined;
    let entries: E[];
    try {
      entries = await this.#heard(() => this.read(what));
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      what = EVERYTHING; // it may have rebooted
      entries = await this.#heard(() => this.read(what));
    }
    return this.#keep(entries, what, before);
  }

  /** Asks the device for something, and keeps in mind whether it answered. */
  async #heard<T>(ask: () => Promise<T>): Promise<T> {
    try {
      const answer = await ask();
      this.#silence = undefined;
      return answer;
    } catch (error) {
      if (error instanceof EnforcerError) this.#silence = error.message;
      throw error;
    }
  }

  /** Takes a listing of some families as what is there. */
  #keep(listed: readonly E[], what: Reading, before: readonly E[]): DeviceImage<E> {
    const others = before.filter((entry) => !what.families.has(entry.family));
    const entries = [...listed, ...others];
    this.#meter.update(counted(entries, what));
    return this.#image = new DeviceImage(entries);
  }

  /** Looks at these pinholes only, among many; or lists everything. */
  async #lookAt(tuples: readonly FiveTuple[], what: Reading): Promise<DeviceImage<E>> {
    const image = this.#image;
    if (image === undefined || !this.#isFew(tuples.length, image)) return await this.#refresh(what);
    let seen: E[] | undefined;
    try {
      seen = await this.look(tuples);
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
    }
    return seen === undefined ? await this.#refresh(what) : this.#see(tuples, seen, image);
  }

  /** Takes what was seen of these pinholes into what is known; the image stays the same object. */
  #see(tuples: readonly FiveTuple[], seen: readonly E[], image: DeviceImage<E>): DeviceImage<E> {
    const keys = new Set(tuples.map(tupleKey));
    image.update(keys, seen);
    const touched = seen.filter(({ tuple }) => tuple !== undefined && keys.has(tupleKey(tuple)));
    this.#meter.replace(keys, counted(touched, { ...EVERYTHING, counted: false }));
    return this.#image = image;
  }

  #isFew(touched: number, { entries }: DeviceImage<E>): boolean {
    return entries.length >= MANY && touched <= entries.length / 20;
  }

  /** What is there after a change: as the device showed it at once, or as it shows it now. */
  async #now(
    touched: readonly FiveTuple[],
    shown: Shown<E> | undefined,
    image: DeviceImage<E>,
  ): Promise<DeviceImage<E>> {
    const what = touching(touched);
    if (shown === undefined) return await this.#lookAt(touched, what);
    return shown.whole
      ? this.#keep(shown.entries, what, image.entries)
      : this.#see(touched, shown.entries, image);
  }

  async #carryOut(plan: BatchPlan): Promise<Map<string, Failure>> {
    let { opens, closes }: { opens: readonly FiveTuple[]; closes: readonly FiveTuple[] } = plan;
    const failed = new Map<string, Failure>();
    for (let round = 1;; round++) {
      const attempt = await this.#attempt(opens, closes);
      for (const tuple of [...opens, ...closes]) failed.delete(tupleKey(tuple));
      for (const [key, failure] of attempt.failed) failed.set(key, failure);
      if (attempt.failed.size === 0) return failed;
      if (attempt.worthwhile && round < ROUNDS) {
        // What was complained about twice is left out, so that it does not hold up the others.
        const again = (tuple: FiveTuple) => {
          const key = tupleKey(tuple);
          return attempt.failed.has(key) && (round === 1 || !attempt.complaints.has(key));
        };
        opens = opens.filter(again);
        closes = closes.filter(again);
        if (opens.length > 0 || closes.length > 0) continue;
      }
      // A batch that a device refuses as a whole must not keep pinholes open that should be closed.
      closes = closes.filter((tuple) => attempt.failed.has(tupleKey(tuple)));
      if (!attempt.known || closes.length === 0 || opens.length === 0) return failed;
      opens = [];
    }
  }

  /**
   * One try. `worthwhile`: another one, from what is there now, may do better. `known`: what became of it was
   * read back.
   */
  async #attempt(opens: readonly FiveTuple[], closes: readonly FiveTuple[]): Promise<{
    failed: Map<string, Failure>;
    complaints: ReadonlyMap<string, string>;
    worthwhile: boolean;
    known: boolean;
  }> {
    const complaints = new Map<string, string>();
    let general: string | undefined;
    let lost = false;
    /** All that is known is from listings, and not from looks at single pinholes. */
    let whole = true;
    const all = [
      ...closes.map((tuple) => ({ tuple, open: false })),
      ...opens.map((tuple) => ({ tuple, open: true })),
    ];
    try {
      const { atomic, optimalBatch } = this.capabilities;
      const size = atomic ? Infinity : Math.max(1, optimalBatch);
      let image = this.#image ?? await this.#refresh();
      const few = this.#isFew(all.length, image);
      for (let at = 0; at < all.length; at += size) {
        const part = all.slice(at, at + size);
        const pick = (open: boolean) => part.filter((p) => p.open === open).map((p) => p.tuple);
        const said = await this.change(pick(true), pick(false), image.entries, few);
        for (const [key, why] of said.complaints) complaints.set(key, why);
        general ??= said.general;
        const before = image;
        image = await this.#now(part.map(({ tuple }) => tuple), said.shown, image);
        if (image === before) whole = false;
      }
    } catch (error) {
      if (!(error instanceof EnforcerError)) throw error;
      general = error.message;
      lost = error instanceof SessionError;
      if (lost) this.#silence = general;
    }
    let image: DeviceImage<E>;
    try {
      image = lost || this.#image === undefined ? await this.#refresh() : this.#image;
      const done = all.every(({ tuple, open }) => image.present.has(tupleKey(tuple)) === open);
      // Before anything is called a failure, everything is looked at.
      if (!done && (!whole || general !== undefined)) {
        image = await this.#refresh(touching(all.map(({ tuple }) => tuple)));
      }
    } catch (error) {
      if (!(error instanceof EnforcerError)) throw error;
      const failed = unknown([...opens, ...closes], general ?? error.message);
      return { failed, complaints, worthwhile: false, known: false };
    }
    const there = image.present;
    const failed = new Map<string, Failure>();
    const check = (tuple: FiveTuple, wanted: boolean) => {
      const key = tupleKey(tuple);
      if (there.has(key) === wanted) return;
      const why = complaints.get(key) ?? general ?? "the device did not do it, and did not say why";
      const message = `${tupleText(tuple)}: ${why}`;
      const full = wanted && this.isFull(why);
      failed.set(key, { ok: false, reason: full ? "full" : "refused", message });
    };
    for (const tuple of opens) check(tuple, true);
    for (const tuple of closes) check(tuple, false);
    const full = [...failed.values()].some(({ reason }) => reason === "full");
    const fewer = failed.size < opens.length + closes.length;
    const worthwhile = lost || (!full && (fewer || complaints.size > 0));
    return { failed, complaints, worthwhile, known: true };
  }
}

/**
 * True when a change is said to be there already: opened what is open, closed what is not. Somebody may have
 * changed that by hand since, and so it is looked at before it is answered.
 */
function changesNothing(
  batch: readonly EnforcerChange[],
  { present }: DeviceImage<DeviceEntry>,
): boolean {
  return batch.some(({ action, tuple }) => (action === "open") === present.has(tupleKey(tuple)));
}

/** The pinholes that a batch closes before it opens them. */
function closedFirst(batch: readonly EnforcerChange[]): Map<string, 4 | 6> {
  const seen = new Set<string>();
  const closed = new Map<string, 4 | 6>();
  for (const { action, tuple } of batch) {
    const key = tupleKey(tuple);
    if (!seen.has(key) && action === "close") closed.set(key, tuple.source.family);
    seen.add(key);
  }
  return closed;
}

/** To see what became of a change takes its families, and no counters. */
function touching(tuples: readonly FiveTuple[]): Reading {
  return { families: new Set(tuples.map(({ source }) => source.family)), counted: false };
}

/** What the device shows of each pinhole; undefined for those that were not counted this time. */
function counted(
  entries: readonly DeviceEntry[],
  what: Reading,
): Map<string, Counters | undefined> {
  const shown = new Map<string, Counters | undefined>();
  for (const { tuple, family, packets, bytes } of entries) {
    if (tuple === undefined) continue;
    const key = tupleKey(tuple);
    const more = shown.get(key); // the same pinhole twice, by a foreign edit
    const uncounted = packets === undefined && bytes === undefined && !what.counted;
    shown.set(
      key,
      uncounted || !what.families.has(family) ? undefined : {
        packets: (packets ?? 0) + (more?.packets ?? 0),
        bytes: (bytes ?? 0) + (more?.bytes ?? 0),
      },
    );
  }
  return shown;
}

function unknown(tuples: readonly FiveTuple[], why: string): Map<string, Failure> {
  return new Map(tuples.map((tuple) => [tupleKey(tuple), {
    ok: false,
    reason: "unknown",
    message: `${tupleText(tuple)}: ${why}`,
  }]));
}
