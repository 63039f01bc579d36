/**
 * An enforcer that is asked for its plans and sends nothing: what a controller would have sent is told, and
 * counts as done.
 *
 * @module
 */
import { type FiveTuple, tupleText } from "../lib/pinhole/pinhole.ts";
import { createDebug, type DebugEnforcer } from "./debug.ts";
import type {
  ChangeResult,
  Counters,
  Enforcer,
  EnforcerCapabilities,
  EnforcerChange,
  ListedEntry,
} from "./enforcer.ts";

/** How a dry run is made. */
export interface DryRunOptions {
  /** Told what would be sent, in the enforcer's own language; lines with `#` are remarks. */
  readonly say: (text: string) => void;
  /** Has the enforcer itself check each batch, where it can do so without being connected. */
  readonly check: boolean;
}

/** Makes a dry run of an enforcer, which is never connected. */
export function createDryRun(enforcer: Enforcer, options: DryRunOptions): Enforcer {
  return new DryRun(enforcer, options);
}

class DryRun implements Enforcer {
  readonly name: string;
  readonly capabilities: EnforcerCapabilities;
  readonly #enforcer: Enforcer;
  readonly #options: DryRunOptions;
  readonly #memory: DebugEnforcer;

  constructor(enforcer: Enforcer, options: DryRunOptions) {
    this.name = enforcer.name;
    this.capabilities = enforcer.capabilities;
    this.#enforcer = enforcer;
    this.#options = options;
    this.#memory = createDebug({ capacity: enforcer.capabilities.capacity });
  }

  connect(): Promise<void> {
    return this.#memory.connect();
  }

  async apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    if (batch.length === 0) return [];
    const { say, check } = this.#options;
    const possible = batch.filter((change) => this.#problem(change) === undefined);
    const complaint = check ? await this.#enforcer.check?.(possible) : undefined;
    const plan = this.#enforcer.plan(possible);
    const remarks = batch.map(({ action, tuple, id }) =>
      `# ${action} ${id}: ${tupleText(tuple)}\n`
    );
    say(remarks.join("") + plan);
    if (complaint !== undefined) {
      say(`# ${this.name} would refuse it: ${complaint.replaceAll("\n", " ")}\n`);
      return batch.map(() => ({ ok: false, reason: "refused", message: complaint }));
    }
    const made = (await this.#memory.apply(possible)).values();
    return batch.map((change) => {
      const message = this.#problem(change);
      if (message === undefined) return made.next().value as ChangeResult;
      return { ok: false, reason: "refused", message };
    });
  }

  counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]> {
    return this.#memory.counters(tuples);
  }

  list(): Promise<ListedEntry[]> {
    return this.#memory.list();
  }

  endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    for (const t of tuples) this.#options.say(`# end connections: ${tupleText(t)}\n`);
    return Promise.resolve();
  }

  plan(batch: readonly EnforcerChange[]): string {
    return this.#enforcer.plan(batch);
  }

  close(): Promise<void> {
    return this.#memory.close();
  }

  remove(): Promise<void> {
    return this.#memory.remove();
  }

  #problem({ tuple }: EnforcerChange): string | undefined {
    const { ipv6, sourcePorts } = this.capabilities;
    if (!ipv6 && tuple.source.family === 6) return `${this.name} has no IPv6: ${tupleText(tuple)}`;
    return sourcePorts || tuple.sourcePort === 0
      ? undefined
      : `${this.name} has no source ports: ${tupleText(tuple)}`;
  }
}
