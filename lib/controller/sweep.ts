/**
 * The sweep (paper, section 4.3): reads the enforcer's counters of all pinholes, a slice at a time between
 * requests, renews leases, puts back what is missing and closes what is idle.
 *
 * @module
 */
import type { Enforcer } from "../../drivers/enforcer.ts";
import type { Pinhole } from "../pinhole/pinhole.ts";
import type { AuditTrail } from "./audit.ts";
import type { Execution } from "./execution.ts";
import type { PinholeTable } from "./pinhole_table.ts";

/** Pinholes looked at in one slice: about two milliseconds, so that a bind never waits long. */
const SLICE = 250;

/** What a sweep came to. */
export interface SweepResult {
  readonly pinholes: number;
  /** Entries that were missing at the enforcer and were put back. */
  readonly repaired: number;
  readonly idle: number;
  /** Milliseconds of work, waiting between slices not counted. */
  readonly workMs: number;
}

/** Sweeps one enforcer. */
export class Sweep {
  readonly #enforcer: Enforcer;
  readonly #execution: Execution;
  readonly #table: PinholeTable;
  readonly #audit: AuditTrail;
  readonly #lease: number;
  #cursor: IterableIterator<Pinhole> | undefined;
  #now = { pinholes: 0, repaired: 0, idle: 0, workMs: 0 };
  #last: SweepResult | undefined;

  /** @param lease seconds that an entry is kept by the enforcer without being renewed. */
  constructor(
    enforcer: Enforcer,
    execution: Execution,
    table: PinholeTable,
    audit: AuditTrail,
    lease: number,
  ) {
    this.#enforcer = enforcer;
    this.#execution = execution;
    this.#table = table;
    this.#audit = audit;
    this.#lease = lease;
  }

  /** A sweep is under way: {@link step} goes on with it. */
  get running(): boolean {
    return this.#cursor !== undefined;
  }

  /** What the last whole sweep came to. */
  get last(): SweepResult | undefined {
    return this.#last;
  }

  /** Starts a sweep, unless one is under way. */
  start(): void {
    if (this.#cursor !== undefined) return;
    this.#cursor = this.#table.all();
    this.#now = { pinholes: 0, repaired: 0, idle: 0, workMs: 0 };
  }

  /** Does the next slice. */
  async step(): Promise<void> {
    if (this.#cursor === undefined) return;
    const started = performance.now();
    const slice: Pinhole[] = [];
    while (slice.length < SLICE) {
      const next = this.#cursor.next();
      if (next.done === true) {
        this.#cursor = undefined;
        break;
      }
      if (next.value.state === "open") slice.push(next.value);
    }
    if (slice.length > 0) await this.#look(slice);
    this.#now.workMs += performance.now() - started;
    if (this.#cursor === undefined) this.#last = { ...this.#now };
  }

  async #look(slice: Pinhole[]): Promise<void> {
    let counters;
    try {
      counters = await this.#enforcer.counters(slice.map((p) => p.tuple));
    } catch (error) {
      this.#cursor = undefined;
      this.#audit.add("enforcer.failed", {
        why: error instanceof Error ? error.message : String(error),
      });
      return;
    }
    const now = performance.now();
    const renew: Pinhole[] = [];
    slice.forEach((p, i) => {
      const c = counters[i];
      this.#now.pinholes++;
      if (c === undefined) {
        this.#now.repaired++;
        renew.push(p);
        return;
      }
      // A counter that fell was reset; what passed since is still traffic.
      if (c.packets !== p.packets) p.activeAt = now;
      p.packets = c.packets;
      p.bytes = c.bytes;
      if (p.idle !== undefined && now - p.activeAt >= p.idle * 1000) {
        this.#now.idle++;
        this.#execution.close(p, "idle");
      } else if (p.leasedUntil - now < this.#lease * 500) renew.push(p);
    });
    if (renew.length > 0) await this.#execution.renew(renew);
  }
}
