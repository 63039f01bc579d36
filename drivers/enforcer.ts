/**
 * What every perimeter enforcer can do. A driver turns these calls into the commands of one kind of
 * device or software; it knows nothing of brokers, policy or ledger.
 *
 * @module
 */
import type { FiveTuple } from "../lib/pinhole/pinhole.ts";

/** What an enforcer can and cannot do, so that the controller plans accordingly. */
export interface EnforcerCapabilities {
  /** A batch is applied wholly or not at all. */
  readonly atomic: boolean;
  /** Largest age of counters in seconds; 0 when they are read live; undefined without counters. */
  readonly counterAge: number | undefined;
  /** Pinholes that fit, for each address family. */
  readonly capacity: number;
  /** Changes in one batch that give the best rate. */
  readonly optimalBatch: number;
  readonly ipv6: boolean;
  /** A pinhole can be limited to one source port. */
  readonly sourcePorts: boolean;
  /** One entry can let in a range of ports, so that ports in a row need one entry and not many. */
  readonly portRanges: boolean;
  /** Entries live through a reboot of the enforcer. */
  readonly persistent: boolean;
  /**
   * The enforcer itself drops an entry when its lease ends. Where it does not, `lease` is ignored,
   * `expires` is undefined, and whoever wants the pinhole to end must close it.
   */
  readonly leases: boolean;
  /**
   * It can translate: with a map of inside to outside addresses in its options, opening a pinhole for such
   * an inside host also leads what comes for the outside address there, and closing it ends that. Tuples
   * have inside addresses everywhere. Absent: it cannot, and translation is another device's work.
   */
  readonly nat?: boolean;
  /** All that it holds ends with this process. Absent: it does not. */
  readonly ephemeral?: boolean;
}

/** One change wanted at the enforcer. `lease` in seconds is its own safety net (0: none). */
export interface EnforcerChange {
  readonly action: "open" | "close";
  readonly tuple: FiveTuple;
  readonly id: number;
  readonly lease: number;
}

/**
 * What became of one change. `full`: no room; `refused`: the enforcer said no; `unknown`: it is not
 * known whether the change was made, and the state must be read back.
 */
export type ChangeResult =
  | { readonly ok: true }
  | {
    readonly ok: false;
    readonly reason: "full" | "refused" | "unknown";
    readonly message: string;
  };

/** Traffic that an entry has let through since the enforcer made it. */
export interface Counters {
  readonly packets: number;
  readonly bytes: number;
}

/** An entry found at the enforcer. `expires` in seconds, undefined without a lease. */
export interface ListedEntry extends Counters {
  readonly tuple: FiveTuple;
  readonly expires: number | undefined;
}

/** A perimeter enforcer. Calls are made one after the other, never at the same time. */
export interface Enforcer {
  /** Its name as in `--enforcer NAME`. */
  readonly name: string;
  readonly capabilities: EnforcerCapabilities;
  /**
   * Reaches the enforcer and makes its perimeter ready; existing entries of ours are kept.
   *
   * @throws {EnforcerError} when it cannot be reached or lacks what is needed.
   */
  connect(): Promise<void>;
  /**
   * Makes the changes, in order; one result for each. Opening what is open renews its lease, and
   * closing what is not there succeeds.
   */
  apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]>;
  /**
   * The same without a promise, for whom a program waits. Absent where something far away has to answer.
   *
   * @throws what {@link apply} rejects with.
   */
  applyNow?(batch: readonly EnforcerChange[]): ChangeResult[];
  /** The counters of given pinholes, in their order; undefined for one that is not there. */
  counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]>;
  /** All entries of ours that the enforcer holds now. */
  list(): Promise<ListedEntry[]>;
  /**
   * All entries of ours that the enforcer holds now, without being connected and without changing
   * anything there (no perimeter is made). Absent where there is no such way.
   *
   * @throws {EnforcerError} when it cannot be reached.
   */
  inspect?(): Promise<ListedEntry[]>;
  /** Ends living connections that came in by a pinhole that is closed already. */
  endConnections(tuples: readonly FiveTuple[]): Promise<void>;
  /**
   * False when somebody else changed or removed what the perimeter is made of, as far as that is quick to
   * see; {@link connect} makes it right again. Absent where there is no quick way.
   */
  intact?(): boolean;
  /**
   * Why nothing is heard of it, known while a call is still under way and tries again; undefined while it
   * answers. Absent where nothing far away has to answer.
   */
  readonly silence?: string | undefined;
  /**
   * How many entries of ours it holds, where that is much quicker to tell than {@link list}; entries whose
   * lease has just ended may be counted. Undefined, or absent, where it is not.
   */
  held?(): number | undefined;
  /** What the perimeter did not let in, where the enforcer counts that. */
  statistics?(): { readonly dropped: Counters; readonly invalid: Counters };
  /**
   * What {@link apply} would send for these changes, as text in the enforcer's own language, for dry runs.
   * Sends nothing; what is open is taken from what is known. While not connected, what was planned before
   * may count as done.
   */
  plan(batch: readonly EnforcerChange[]): string;
  /**
   * Has the enforcer itself check what {@link apply} would send, without changing anything (`nft -c`,
   * `commit check`, `verify`). Resolves to what it complains about, or undefined when it does not.
   * Absent where the enforcer has no such way. Enforcers of this host need not be connected for it.
   */
  check?(batch: readonly EnforcerChange[]): Promise<string | undefined>;
  /** Lets go of the enforcer. The perimeter and its entries stay. */
  close(): Promise<void>;
  /** Takes away everything that this driver ever made there. */
  remove(): Promise<void>;
}

/** An enforcer that does not do what it should; `next` says what a person can do about it. */
export class EnforcerError extends Error {
  override readonly name = "EnforcerError";
  readonly next: string;
  constructor(message: string, next: string) {
    super(message);
    this.next = next;
  }
}
