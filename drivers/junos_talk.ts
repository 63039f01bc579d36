/**
 * How the Junos driver talks with a device, over NETCONF or the command line.
 *
 * @module
 */
import type { JunosCount } from "./junos_counters.ts";

/** Which configuration is changed, and how. */
export interface JunosTarget {
  /** Own candidate, or the shared one alone for oneself. */
  readonly candidate: "private" | "exclusive";
  /** An instance of the ephemeral database, which is changed instead. */
  readonly ephemeral: string | undefined;
  /** Minutes after which the device undoes a commit that is not confirmed; 0: it stays at once. */
  readonly confirm: number;
}

/** What a device said to statements. */
export interface JunosAnswer {
  /** Complaints by the statement's text; nothing was committed when there are any. */
  readonly statements: ReadonlyMap<string, string>;
  /** A complaint of the commit. */
  readonly general: string | undefined;
}

/** A way to talk. Sessions are opened when they are needed, and again after they were lost. */
export interface JunosTalk {
  /** True while there is a session that works. */
  readonly alive: boolean;
  /** That nothing comes though something is waited for, where that is known before the time is over. */
  readonly silence?: string | undefined;
  /** Opens a session when there is none that works. */
  open(): Promise<void>;
  /**
   * Loads statements and commits them, or throws them away.
   *
   * @param dry has them checked and throws them away in any case.
   * @throws {SessionError} when it is not known what the device did.
   * @throws {EnforcerError} when it did nothing: somebody else holds the configuration.
   */
  change(statements: readonly string[], dry: boolean): Promise<JunosAnswer>;
  /** Confirms a commit that would be undone. */
  confirm(): Promise<void>;
  /** The statements of all filters that are in effect. */
  statements(): Promise<string>;
  /** The counters of a filter. */
  counters(filter: string): Promise<JunosCount[]>;
  /** Ends the session. */
  close(): Promise<void>;
}
