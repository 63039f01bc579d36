/**
 * What a controller has asked of the NIs that a host is behind, through its console: asked again when the console comes
 * back, until it has answered or its time is over.
 *
 * @module
 */
import type { ConsoleMessage, ContainRequest, PeerMessage } from "../admin/messages.ts";
import type { NiQuarantine } from "../pinhole/policy.ts";

/** A host that is to be contained at its NI. */
export interface Quarantine {
  readonly host: string;
  readonly kind: NiQuarantine;
  /** Milliseconds since the epoch. */
  readonly until: number;
  readonly reason: string;
  /** The console is only asked what it would do. */
  readonly dryRun: boolean;
  /** Who wants it, for the log: file and line. */
  readonly where: string;
}

/** Unanswered at most: beyond that the oldest are forgotten, and that is told. */
const MOST_OPEN = 1000;
const MOST_REASON = 500;

type Log = (level: "info" | "warning" | "error", text: string) => void;

/** The quarantines of one controller that its console has not answered. */
export class Quarantines {
  readonly #say: (message: PeerMessage) => boolean;
  readonly #log: Log;
  readonly #open = new Map<string, Quarantine>();

  /** @param say tells the console; false when it is not there. */
  constructor(say: (message: PeerMessage) => boolean, log: Log) {
    this.#say = say;
    this.#log = log;
  }

  /** Asks for one, now or when the console is there. */
  ask(quarantine: Quarantine, now: number): void {
    const id = crypto.randomUUID();
    this.#open.set(id, quarantine);
    for (const [oldest, { host, where }] of this.#open) {
      if (this.#open.size <= MOST_OPEN) break;
      this.#open.delete(oldest);
      this.#log("error", `${where}: the console never answered about ${host}`);
    }
    this.#send(id, quarantine, now);
  }

  /** The console is there: whatever it has not answered is asked again. */
  connected(now: number): void {
    for (const [id, quarantine] of this.#open) this.#send(id, quarantine, now);
  }

  /** The console's answer. */
  answered({ id, ok, why, peers }: ConsoleMessage & { op: "contain-result" }): void {
    const quarantine = this.#open.get(id);
    if (quarantine === undefined) return;
    this.#open.delete(id);
    const { where, host, kind, dryRun } = quarantine;
    const what = `${kind.verb} ${host}`;
    if (!ok) return this.#log("error", `${where}: the console does not ${what} at its NI: ${why}`);
    const done = dryRun ? "would be told" : "is told";
    this.#log(dryRun ? "info" : "warning", `${where}: ${peers.join(", ")} ${done} to ${what}`);
  }

  #send(id: string, quarantine: Quarantine, now: number): void {
    const lifetime = Math.ceil((quarantine.until - now) / 1000);
    if (lifetime <= 0) {
      this.#open.delete(id);
      return;
    }
    this.#say({ op: "contain", ...requestOf(id, quarantine, lifetime) });
  }
}

function requestOf(id: string, q: Quarantine, lifetime: number): ContainRequest {
  const { kind, host, reason, dryRun } = q;
  const base = {
    ...{ id, verb: kind.verb, host, lifetime, dry_run: dryRun },
    reason: reason.slice(0, MOST_REASON),
  };
  if (kind.verb === "filter") return { ...base, destinations: [...kind.destinations] };
  if (kind.verb === "block") return base;
  const { connections, bytes } = kind;
  return {
    ...base,
    ...(connections === undefined ? {} : { connections }),
    ...(bytes === undefined ? {} : { bytes }),
  };
}
