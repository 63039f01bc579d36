/**
 * Pinholes as elements of nftables sets: opened and closed in transactions, with a result for each.
 *
 * @module
 */
import { tupleText } from "../lib/pinhole/pinhole.ts";
import { E, errorText } from "../lib/sys/libc.ts";
import { ElementTransaction, type TransactionFailure } from "../lib/sys/nftables_elements.ts";
import type { ChangeResult, EnforcerChange } from "./enforcer.ts";
import { setOf, tupleProblem, writeKey } from "./nftables_tuple.ts";

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
  /** For each step of the transaction, the change that it belongs to. */
  #changes = new Uint32Array(1024);
  #batch: readonly EnforcerChange[] = [];
  #results: (ChangeResult | undefined)[] = [];

  constructor(transaction: ElementTransaction, table: string, features: KernelFeatures) {
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
    for (let i = 0; i < batch.length; i++) {
      const change = batch[i] as EnforcerChange;
      const problem = tupleProblem(change.tuple) ?? leaseProblem(change);
      if (problem !== undefined) this.#results[i] = refused(problem);
    }
    this.#commitRange(0, batch.length);
    const results = this.#results;
    this.#batch = [];
    this.#results = [];
    return results.map((result) => result ?? refused("the change was not tried"));
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
    if (change.action === "close") {
      return this.#room(1) && this.#step(i, this.#features.destroys ? "destroy" : "delete", 0);
    }
    if (this.#features.renews) return this.#room(1) && this.#step(i, "add", lease);
    // An older kernel keeps the old timeout: the element is made anew (its counter begins at 0).
    return this.#room(3) && this.#step(i, "add", 0) && this.#step(i, "delete", 0) &&
      this.#step(i, "add", lease);
  }

  #room(steps: number): boolean {
    return this.#transaction.room >= steps;
  }

  #step(i: number, action: "add" | "delete" | "destroy", lease: number): boolean {
    const { tuple } = this.#batch[i] as EnforcerChange;
    const transaction = this.#transaction;
    const count = transaction.count;
    const at = transaction.step(action, setOf(tuple), lease);
    if (at < 0) return false;
    writeKey(tuple, transaction.words, at);
    if (count >= this.#changes.length) {
      const larger = new Uint32Array(this.#changes.length * 2);
      larger.set(this.#changes);
      this.#changes = larger;
    }
    this.#changes[count] = i;
    return true;
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
    const detail = failure.text === "" ? "" : ` (${failure.text})`;
    return refused(`nftables refused ${tupleText(tuple)}: ${errorText(failure.code)}${detail}`);
  }
}

function refused(message: string): ChangeResult {
  return { ok: false, reason: "refused", message };
}

const LONGEST_LEASE = 10 * 365 * 86_400;

function leaseProblem(change: EnforcerChange): string | undefined {
  const lease = change.lease;
  return Number.isFinite(lease) && lease >= 0 && lease <= LONGEST_LEASE
    ? undefined
    : `a lease of ${lease} seconds is not possible`;
}
