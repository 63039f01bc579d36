/**
 * What belongs together across NIs: the same finding on several hosts within a time is one outbreak; a scan from a host
 * that was scanned before is the next step of a chain.
 *
 * @module
 */
import type { ConsoleState, Outbreak } from "./state.ts";
import { isRecord, type StoredAlert } from "./store.ts";

/** When findings belong together. */
export interface CorrelationOptions {
  /** Hosts that make an outbreak. */
  readonly hosts: number;
  /** Milliseconds. */
  readonly within: number;
}

/** Signatures, and hosts of each, that are kept in mind. */
const MOST_SIGNATURES = 2000;
const MOST_HOSTS = 10_000;
/** Hosts of a chain that make it one: somebody, whom he reached, and whom that one reached. */
const CHAIN = 3;
/** Targets of one alert that are looked at. */
const MOST_TARGETS = 64;
/** Milliseconds between two looks at what is over, and between two writes of what grows. */
const TICK_MS = 500;
const SAVE_MS = 2000;

interface Finding {
  readonly hosts: Map<string, number>;
  alerts: number;
  first: number;
  outbreak: Open | undefined;
}

interface Open {
  id: number | undefined;
  readonly kind: Outbreak["kind"];
  readonly signature: string;
  readonly first: number;
  last: number;
  alerts: number;
  readonly hosts: Set<string>;
  changed: boolean;
  saved: number;
  told: number;
}

/** Joins alerts to outbreaks. */
export class Correlation {
  readonly #options: CorrelationOptions;
  readonly #state: ConsoleState;
  readonly #tell: (outbreak: Outbreak, isNew: boolean) => void;
  readonly #findings = new Map<string, Finding>();
  /** Who was reached by whose scan, and the chain up to there. */
  readonly #reached = new Map<string, { from: string; at: number; chain: Open }>();
  readonly #open = new Set<Open>();
  readonly #timer: ReturnType<typeof setInterval>;
  /** A transaction is open. */
  #writing = false;

  /** @param tell called when an outbreak begins and when it has grown. */
  constructor(
    options: CorrelationOptions,
    state: ConsoleState,
    tell: (outbreak: Outbreak, isNew: boolean) => void,
  ) {
    this.#options = options;
    this.#state = state;
    this.#tell = tell;
    // Those that go on are gone on with, rather than told of again.
    for (const o of state.outbreaks(200)) {
      if (o.last + options.within < Date.now()) continue;
      const open = {
        ...o,
        hosts: new Set(o.hosts),
        changed: false,
        saved: 0,
        told: o.hosts.length,
      };
      this.#open.add(open);
      if (o.kind === "same-finding") {
        this.#findings.set(o.signature, {
          hosts: new Map(o.hosts.map((host) => [host, o.last])),
          alerts: o.alerts,
          first: o.first,
          outbreak: open,
        });
      } else {for (const host of o.hosts) {
          this.#reached.set(host, { from: "", at: o.last, chain: open });
        }}
    }
    this.#timer = setInterval(() => this.tick(Date.now()), TICK_MS);
  }

  /** Takes alerts in the order in which they were kept. */
  alerts(alerts: readonly StoredAlert[]): void {
    this.#together(() => {
      for (const alert of alerts) {
        this.#sameFinding(alert);
        this.#chain(alert);
      }
    });
  }

  /** Forgets what is over, and keeps what has changed. @param now milliseconds since the epoch. */
  tick(now: number): void {
    const { within } = this.#options;
    for (const [signature, finding] of this.#findings) {
      for (const [host, at] of finding.hosts) if (at + within < now) finding.hosts.delete(host);
      if (finding.hosts.size === 0) this.#findings.delete(signature);
    }
    for (const [host, { at }] of this.#reached) if (at + within < now) this.#reached.delete(host);
    this.#together(() => {
      for (const open of this.#open) {
        const over = open.last + within < now;
        if (open.changed && (over || open.saved + SAVE_MS <= now)) this.#save(open);
        if (over) this.#open.delete(open);
      }
    });
  }

  /** Keeps what has changed, and ends. */
  close(): void {
    clearInterval(this.#timer);
    this.#together(() => {
      for (const open of this.#open) if (open.changed) this.#save(open);
    });
  }

  /** Does work whose writes are one transaction. Pages wait for it, so that it does not wait for the disk. */
  #together(work: () => void): void {
    const { db } = this.#state;
    this.#state.loosely(() => {
      try {
        work();
        if (this.#writing) db.exec("COMMIT");
      } catch (error) {
        if (this.#writing) db.exec("ROLLBACK");
        throw error;
      } finally {
        this.#writing = false;
      }
    });
  }

  #sameFinding(alert: StoredAlert): void {
    const { signature, received } = alert;
    const host = alert.src || alert.ni;
    let finding = this.#findings.get(signature);
    if (finding === undefined) {
      if (this.#findings.size >= MOST_SIGNATURES) return;
      finding = { hosts: new Map(), alerts: 0, first: received, outbreak: undefined };
      this.#findings.set(signature, finding);
    }
    if (finding.hosts.size < MOST_HOSTS || finding.hosts.has(host)) {
      finding.hosts.set(host, received);
    }
    finding.alerts++;
    if (finding.outbreak !== undefined && !this.#open.has(finding.outbreak)) {
      finding.outbreak = undefined;
      finding.alerts = 1;
      finding.first = received;
    }
    if (finding.outbreak === undefined) {
      const recent = [...finding.hosts].filter(([, at]) => at + this.#options.within >= received);
      if (recent.length < this.#options.hosts) return;
      finding.outbreak = this.#begin("same-finding", signature, finding.first, received);
      finding.outbreak.alerts = finding.alerts - 1;
      for (const [name] of recent) finding.outbreak.hosts.add(name);
    }
    this.#grow(finding.outbreak, alert, host);
  }

  #chain(alert: StoredAlert): void {
    const { src, received } = alert;
    const targets = targetsOf(alert);
    if (src === "" || targets.length === 0) return;
    const before = this.#reached.get(src);
    let chain = before?.chain;
    if (chain === undefined) {
      if (this.#reached.size >= MOST_HOSTS) return;
      chain = this.#make("chain", alert.signature, received, received);
      chain.hosts.add(src);
    }
    const known = chain.hosts.size;
    chain.hosts.add(src);
    // A host is of the chain when it scans itself; who was only scanned may never have fallen.
    if (before !== undefined && before.from !== "") chain.hosts.add(before.from);
    for (const target of targets) {
      if (target === src || this.#reached.has(target) || this.#reached.size >= MOST_HOSTS) continue;
      this.#reached.set(target, { from: src, at: received, chain });
    }
    if (before !== undefined) before.at = received;
    chain.alerts++;
    chain.last = received;
    if (chain.hosts.size >= CHAIN && chain.hosts.size > known) {
      this.#open.add(chain);
      chain.changed = true;
      if (chain.id === undefined) this.#save(chain);
    } else if (this.#open.has(chain)) chain.changed = true;
  }

  #make(kind: Outbreak["kind"], signature: string, first: number, last: number): Open {
    return {
      id: undefined,
      kind,
      signature,
      first,
      last,
      alerts: 0,
      hosts: new Set(),
      changed: false,
      saved: 0,
      told: 0,
    };
  }

  #begin(kind: Outbreak["kind"], signature: string, first: number, last: number): Open {
    const open = this.#make(kind, signature, first, last);
    this.#open.add(open);
    return open;
  }

  #grow(open: Open, alert: StoredAlert, host: string): void {
    open.alerts++;
    open.last = alert.received;
    if (open.hosts.size < MOST_HOSTS) open.hosts.add(host);
    open.changed = true;
    if (open.id === undefined) this.#save(open);
  }

  #save(open: Open): void {
    const isNew = open.id === undefined;
    if (!this.#writing) this.#state.db.exec("BEGIN IMMEDIATE");
    this.#writing = true;
    open.saved = Date.now();
    const { kind, signature, first, last, alerts } = open;
    const hosts = [...open.hosts];
    open.id = this.#state.saveOutbreak({
      id: open.id,
      kind,
      signature,
      first,
      last,
      alerts,
      hosts,
    });
    open.changed = false;
    if (hosts.length === open.told) return;
    open.told = hosts.length;
    this.#tell({ id: open.id, kind, signature, first, last, alerts, hosts }, isNew);
  }
}

/** Whom an alert's source has reached. */
function targetsOf(alert: StoredAlert): string[] {
  const detail = isRecord(alert.event["detail"]) ? alert.event["detail"] : {};
  const named = detail["destinations"];
  const more = Array.isArray(named) ? named.filter((t): t is string => typeof t === "string") : [];
  return [...new Set([alert.dest, ...more])].filter((t) => t !== "").slice(0, MOST_TARGETS);
}
