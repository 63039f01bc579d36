/**
 * Pinholes as elements of nftables sets: opened and closed in transactions, with a result for each.
 *
 * @module
 */
import { tupleText } from "../lib/pinhole/pinhole.ts";
import { E, errorText } from "../lib/sys/libc.ts";
import {
  dataOffset,
  type ElementAction,
  ElementTransaction,
  type TransactionFailure,
} from "../lib/sys/nftables_elements.ts";
import type { ChangeResult, EnforcerChange } from "./enforcer.ts";
import type { NatEntry, Translation } from "./nftables_nat.ts";
import { setOf, tupleProblem, writeAddress, writeKey } from "./nftables_tuple.ts";

/** What depends on the kernel's age. */
export interface KernelFeatures {
  /** Adding an element that exists renews its timeout (6.12). */
  readonly renews: boolean;
  /** Elements can be destroyed, i.e. deleted whether they exist or not (6.3). */
  readonly destroys: boolean;
}

const OK: ChangeResult = { ok: true };

/** Writes pinholes to the sets of one table. */
export class PinholeWriter {
  readonly #transaction: ElementTransaction;
  readonly #features: KernelFeatures;
  readonly #table: string;
  readonly #translation: Translation;
  /** For each step of the transaction, the change that it belongs to. */
  #changes = new Uint32Array(1024);
  #batch: readonly EnforcerChange[] = [];
  #results: (ChangeResult | undefined)[] = [];

  constructor(
    transaction: ElementTransaction,
    table: string,
    features: KernelFeatures,
    translation: Translation,
  ) {
    this.#translation = translation;
    this.#transaction = transaction;
    this.#table = table;
    this.#features = features;
  }

  /**
   * Makes the changes in order, in as few transactions as possible. When the kernel undoes one, it
   * is tried again without, or apart from, what was to blame.
   */
  apply(batch: readonly EnforcerChange[]): ChangeResult[] {
    this.#batch = batch;
    this.#results = new Array(batch.length).fill(undefined);
    if (batch.length > this.#changes.length) this.#changes = new Uint32Array(2 * batch.length);
    if (this.#translation.empty && this.#features.renews) this.#commitPlain();
    else this.#commitChecked();
    const results = this.#results;
    this.#batch = [];
    this.#results = [];
    for (let i = 0; i < results.length; i++) results[i] ??= refused("the change was not tried");
    return results as ChangeResult[];
  }

  /** Each change is one step: all are written in one go, as long as they fit. */
  #commitPlain(): void {
    const transaction = this.#transaction;
    const { words } = transaction;
    const closing = this.#features.destroys ? "destroy" : "delete";
    const batch = this.#batch;
    let start = 0;
    transaction.begin();
    for (let i = 0; i < batch.length; i++) {
      const change = batch[i] as EnforcerChange;
      const { tuple } = change;
      const problem = tupleProblem(tuple) ?? leaseProblem(change);
      if (problem !== undefined) {
        this.#results[i] = refused(problem);
        continue;
      }
      const action = change.action === "open" ? "add" : closing;
      const lease = Math.round(change.lease * 1000);
      const set = setOf(tuple);
      let at = transaction.step(action, set, lease);
      if (at < 0) {
        this.#settle(start, i);
        start = i;
        transaction.begin();
        at = transaction.step(action, set, lease);
      }
      writeKey(tuple, words, at);
      this.#changes[transaction.count - 1] = i;
    }
    this.#settle(start, batch.length);
  }

  #commitChecked(): void {
    const batch = this.#batch;
    for (let i = 0; i < batch.length; i++) {
      const change = batch[i] as EnforcerChange;
      const problem = tupleProblem(change.tuple) ?? leaseProblem(change);
      if (problem !== undefined) this.#results[i] = refused(problem);
    }
    this.#commitRange(0, batch.length);
  }

  #commitRange(from: number, to: number): void {
    let start = from;
    this.#transaction.begin();
    for (let i = from; i < to; i++) {
      if (this.#results[i] !== undefined || this.#put(i)) continue;
      this.#settle(start, i);
      start = i;
      this.#transaction.begin();
      this.#put(i);
    }
    this.#settle(start, to);
  }

  /** Puts a change's steps in the transaction; false, with none of them in, when it is full. */
  #put(i: number): boolean {
    const change = this.#batch[i] as EnforcerChange;
    const lease = Math.round(change.lease * 1000);
    const nat = this.#translation.entryOf(change.tuple);
    if (nat !== undefined) return this.#putTranslated(i, nat);
    if (change.action === "close") {
      return this.#room(1) && this.#step(i, this.#features.destroys ? "destroy" : "delete", 0);
    }
    if (this.#features.renews) return this.#room(1) && this.#step(i, "add", lease);
    // An older kernel keeps the old timeout: the element is made anew (its counter begins at 0).
    return this.#room(3) && this.#step(i, "add", 0) && this.#step(i, "delete", 0) &&
      this.#step(i, "add", lease);
  }

  /** A pinhole and its translation, neither without the other. */
  #putTranslated(i: number, nat: NatEntry): boolean {
    const { action, lease } = this.#batch[i] as EnforcerChange;
    const { renews, destroys } = this.#features;
    // What is added first is there to be deleted, so that both of the two always go.
    const steps: readonly ElementAction[] = action === "close"
      ? destroys ? ["destroy"] : ["add", "delete"]
      : renews
      ? ["add"]
      : ["add", "delete", "add"];
    if (!this.#room(2 * steps.length)) return false;
    const lasts = (step: number) =>
      action === "open" && step === steps.length - 1 ? Math.round(lease * 1000) : 0;
    return steps.every((step, n) => this.#step(i, step, lasts(n))) &&
      steps.every((step, n) => this.#stepNat(i, step, lasts(n), nat));
  }

  #stepNat(i: number, action: ElementAction, lease: number, nat: NatEntry): boolean {
    const transaction = this.#transaction;
    const count = transaction.count;
    const at = transaction.step(action, nat.map, lease);
    if (at < 0) return false;
    writeKey(nat.outer, transaction.words, at);
    if (action === "add") {
      writeAddress(nat.inside.bytes, transaction.words, at + dataOffset(nat.map));
    }
    this.#note(count, i);
    return true;
  }

  #room(steps: number): boolean {
    return this.#transaction.fits(steps);
  }

  #step(i: number, action: ElementAction, lease: number): boolean {
    const { tuple } = this.#batch[i] as EnforcerChange;
    const transaction = this.#transaction;
    const count = transaction.count;
    const at = transaction.step(action, setOf(tuple), lease);
    if (at < 0) return false;
    writeKey(tuple, transaction.words, at);
    this.#note(count, i);
    return true;
  }

  /** Remembers which change a step belongs to. */
  #note(count: number, i: number): void {
    if (count >= this.#changes.length) {
      const larger = new Uint32Array(this.#changes.length * 2);
      larger.set(this.#changes);
      this.#changes = larger;
    }
    this.#changes[count] = i;
  }

  #settle(from: number, to: number): void {
    let failure: TransactionFailure | undefined;
    try {
      failure = this.#transaction.commit();
    } catch (error) {
      this.#each(from, to, { ok: false, reason: "unknown", message: (error as Error).message });
      return;
    }
    if (failure === undefined) {
      this.#each(from, to, OK);
      return;
    }
    const blamed = failure.element < 0 ? -1 : this.#changes[failure.element] as number;
    if (failure.code === E.NOENT) {
      if (blamed < 0 && failure.offset >= 0) {
        this.#each(from, to, refused(`table inet ${this.#table} or a set in it is gone`));
        return;
      }
      const closing = blamed >= 0 ? blamed : to - from === 1 ? from : -1;
      if (closing >= 0 && this.#batch[closing]?.action === "close") {
        this.#results[closing] = OK;
        this.#commitRange(from, to);
        return;
      }
    }
    if (to - from === 1) {
      this.#results[from] = this.#replace(from, failure) ? OK : this.#reason(from, failure);
      return;
    }
    const middle = (from + to) >> 1;
    this.#commitRange(from, middle);
    this.#commitRange(middle, to);
  }

  /**
   * Renews a lease in a full set of an older kernel: there is no room to make the element anew while
   * the old one is there, so the pinhole is gone for the moment between two transactions.
   */
  #replace(i: number, failure: TransactionFailure): boolean {
    const { action, lease } = this.#batch[i] as EnforcerChange;
    if (failure.code !== E.NFILE || action !== "open" || this.#features.renews) return false;
    if (!this.#translation.empty) return false;
    const transaction = this.#transaction;
    transaction.begin();
    this.#step(i, "delete", 0);
    if (transaction.commit() !== undefined) return false;
    transaction.begin();
    this.#step(i, "add", Math.round(lease * 1000));
    return transaction.commit() === undefined;
  }

  #each(from: number, to: number, result: ChangeResult): void {
    for (let i = from; i < to; i++) this.#results[i] ??= result;
  }

  #reason(i: number, failure: TransactionFailure): ChangeResult {
    const { tuple } = this.#batch[i] as EnforcerChange;
    if (failure.code === E.NFILE) {
      const message = `set ${setOf(tuple).name} is full: no room for ${tupleText(tuple)}`;
      return { ok: false, reason: "full", message };
    }
    const nat = this.#translation.entryOf(tuple);
    if (nat !== undefined && (failure.code === E.BUSY || failure.code === E.EXIST)) {
      const { destination, destinationPort } = nat.outer;
      return refused(
        `${tuple.protocol} ${destination.text} port ${destinationPort} leads ${tuple.source.text} to ` +
          "another inside host already",
      );
    }
    const detail = failure.text === "" ? "" : ` (${failure.text})`;
    return refused(`nftables refused ${tupleText(tuple)}: ${errorText(failure.code)}${detail}`);
  }
}

function refused(message: string): ChangeResult {
  return { ok: false, reason: "refused", message };
}

const LONGEST_LEASE = 10 * 365 * 86_400;

function leaseProblem({ lease }: EnforcerChange): string | undefined {
  // Not a number is neither.
  return lease >= 0 && lease <= LONGEST_LEASE
    ? undefined
    : `a lease of ${lease} seconds is not possible`;
}
