/**
 * What a controller's reactions did, as events for its console: they stand there beside the finding and the NI's orders,
 * so that one story can be read in one place.
 *
 * @module
 */
import type { PinholeRow } from "./daemon_data.ts";

/** A reaction that was carried out. */
export interface Reacted {
  readonly host: string;
  /** File and line. */
  readonly where: string;
  /** Milliseconds since the epoch. */
  readonly until: number;
  readonly why: string;
}

/** Milliseconds that the closing of a host's pinholes is waited for: they close within a sweep of the policy. */
const SETTLED_MS = 500;
/** Pinholes that are named; more are counted. */
const NAMED = 20;

interface Open {
  readonly reacted: Reacted;
  readonly at: string;
  readonly closed: string[];
  count: number;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** Reactions whose consequences are still to be told. */
export class ReactionReports {
  readonly #tell: (event: Readonly<Record<string, unknown>>) => void;
  readonly #open = new Map<string, Open>();

  /** @param tell takes an event, which is told for good. */
  constructor(tell: (event: Readonly<Record<string, unknown>>) => void) {
    this.#tell = tell;
  }

  /** A host was reacted to; its pinholes close now. */
  reacted(reacted: Reacted): void {
    this.#end(reacted.host);
    const timer = setTimeout(() => this.#end(reacted.host), SETTLED_MS);
    const at = new Date().toISOString();
    this.#open.set(reacted.host, { reacted, at, closed: [], count: 0, timer });
  }

  /** A pinhole was closed, for whatever reason. */
  closed({ proto, source, destination, destination_port }: PinholeRow): void {
    const open = this.#open.get(destination);
    if (open === undefined) return;
    open.count++;
    if (open.closed.length < NAMED) open.closed.push(`${proto} ${source} to ${destination_port}`);
  }

  /** It was not carried out: there is nothing to tell. */
  failed(host: string): void {
    const open = this.#open.get(host);
    clearTimeout(open?.timer);
    this.#open.delete(host);
  }

  /** Tells of all that is open. */
  close(): void {
    for (const host of [...this.#open.keys()]) this.#end(host);
  }

  #end(host: string): void {
    const open = this.#open.get(host);
    if (open === undefined) return;
    clearTimeout(open.timer);
    this.#open.delete(host);
    const { where, until, why } = open.reacted;
    this.#tell({
      timestamp: open.at,
      event_type: "alert",
      src_ip: host,
      alert: {
        signature: `host lost ${open.count} open pinhole${
          open.count === 1 ? "" : "s"
        }, gets no new ones`,
        category: "Reaction",
        severity: 3,
        action: "blocked",
      },
      scanner: "reaction",
      detail: {
        rule: where,
        why,
        until: new Date(until).toISOString(),
        pinholes_closed: open.count,
        closed: open.closed,
      },
    });
  }
}
