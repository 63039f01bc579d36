/**
 * The ledger of an enforcer that ends with this process. There is nothing that could be made equal to a
 * ledger after a restart, and so nothing to be found there.
 *
 * @module
 */
import type { Enforcer } from "../../drivers/enforcer.ts";
import type { Pinhole } from "../pinhole/pinhole.ts";
import { Ledger } from "./ledger.ts";

/** What every ledger does, wherever it keeps what it is told. */
export type LedgerBook = Pick<Ledger, keyof Ledger>;

/** The ledger that an enforcer needs, in a directory. */
export function openLedger(directory: string, enforcer: Enforcer): LedgerBook {
  return enforcer.capabilities.ephemeral === true
    ? new MemoryLedger()
    : new Ledger(`${directory}/ledger.db`);
}

/** Numbers pinholes, and remembers no more than that. */
export class MemoryLedger implements LedgerBook {
  readonly #notes = new Map<string, string>();
  #nextId = 1;
  #taken: readonly Pinhole[] = [];

  nextId(): number {
    return this.#nextId++;
  }

  transaction(work: () => void): void {
    work();
  }

  takeOver(pinholes: readonly Pinhole[], nextId: number): void {
    this.#taken = pinholes;
    this.#nextId = Math.max(this.#nextId, nextId);
  }

  /** What was taken over, once. */
  *live(): Generator<Pinhole> {
    const taken = this.#taken;
    this.#taken = [];
    yield* taken;
  }

  note(key: string): string | undefined {
    return this.#notes.get(key);
  }

  setNote(key: string, value: string): void {
    this.#notes.set(key, value);
  }

  prune(): boolean {
    return false;
  }

  insert(): void {}

  update(): void {}

  archive(): void {}

  tidy(): void {}

  close(): void {}
}
