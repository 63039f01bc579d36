/**
 * The audit trail: one JSON line for each thing that was asked, allowed, refused, opened and closed,
 * and why. Kept in a file for later questions and told to those who watch.
 *
 * @module
 */
import type { CloseReason, Pinhole } from "../pinhole/pinhole.ts";
import type { PinholeRequest } from "../pinhole/request.ts";
import { isoTime } from "./iso_time.ts";

/** One line of the trail. */
export interface AuditEvent {
  readonly event_type: string;
  /** RFC 3339, UTC. */
  readonly timestamp: string;
  readonly [field: string]: unknown;
}

/** While requests keep coming, events wait to be written at most so long, and so many of them. */
const LONGEST_WAIT_MS = 100;
const MOST_WAITING = 10_000;

/** An event's own fields, or how to make them when the line is made. */
export type EventFields = Record<string, unknown> | (() => Record<string, unknown>);

/** Refusals of one account that are written in one second; the rest is counted and said in one line. */
const REFUSALS_A_SECOND = 50;

/** The trail's file and its watchers. */
export class AuditTrail {
  readonly #path: string;
  #file: Deno.FsFile;
  /** Events that are not lines yet: answers go out before anybody makes JSON. */
  #events: { type: string; at: number; fields: EventFields }[] = [];
  /** Lines that are not written yet. */
  #pending: string[] = [];
  readonly #watchers = new Set<(event: AuditEvent, line: string) => void>();
  readonly #refusals = new Map<number, { second: number; written: number; suppressed: number }>();
  readonly #encoder = new TextEncoder();
  #failed: string | undefined;

  /** Opens the file for appending, mode 0640. */
  constructor(path: string) {
    this.#path = path;
    this.#file = openFile(path);
  }

  /** Why the last write failed; undefined while the trail is written. */
  get failed(): string | undefined {
    return this.#failed;
  }

  /** There are events to write that may wait no longer, since they are many or old. */
  get overdue(): boolean {
    const oldest = this.#events[0];
    return oldest !== undefined &&
      (this.#events.length >= MOST_WAITING || Date.now() - oldest.at >= LONGEST_WAIT_MS);
  }

  /** There are events to write. */
  get waiting(): boolean {
    return this.#events.length > 0;
  }

  /** Adds an event; {@link flush} makes it a line and writes it. */
  add(type: string, fields: EventFields, at = Date.now()): void {
    this.#events.push({ type, at, fields });
  }

  /** Adds a refusal, unless the account has had too many of them this second. */
  refusal(uid: number, type: string, fields: Record<string, unknown>): void {
    const second = Math.floor(Date.now() / 1000);
    let count = this.#refusals.get(uid);
    if (count === undefined || count.second !== second) {
      if (count !== undefined && count.suppressed > 0) this.#suppressed(uid, count.suppressed);
      count = { second, written: 0, suppressed: 0 };
      if (this.#refusals.size > 10_000) this.#refusals.clear();
      this.#refusals.set(uid, count);
    }
    if (count.written++ < REFUSALS_A_SECOND) this.add(type, { uid, ...fields });
    else count.suppressed++;
  }

  /** Writes what was added. A failure is remembered, not thrown: see {@link failed}. */
  flush(): void {
    this.#makeLines();
    if (this.#pending.length === 0) return;
    const data = this.#encoder.encode(this.#pending.join("\n") + "\n");
    let done = 0;
    try {
      while (done < data.length) done += this.#file.writeSync(data.subarray(done));
      this.#pending = [];
      this.#failed = undefined;
    } catch (error) {
      this.#failed = error instanceof Error ? error.message : String(error);
      // All of it is written again: no half of a line may stay.
      if (done > 0) this.#file.truncateSync(this.#file.statSync().size - done);
      // Kept for the next try, within bounds: the newest tell most.
      if (this.#pending.length > 100_000) this.#pending.splice(0, 50_000);
    }
  }

  /** Says how many refusals were not written, for accounts that have become quiet. */
  tick(): void {
    const second = Math.floor(Date.now() / 1000);
    for (const [uid, count] of this.#refusals) {
      if (count.second === second) continue;
      if (count.suppressed > 0) this.#suppressed(uid, count.suppressed);
      this.#refusals.delete(uid);
    }
  }

  /** Calls `watcher` for each event from now on; call the result to stop. */
  watch(watcher: (event: AuditEvent, line: string) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Opens the file anew, after it was rotated. */
  reopen(): void {
    this.flush();
    const next = openFile(this.#path);
    this.#file.close();
    this.#file = next;
  }

  /** Writes what is left and closes the file. */
  close(): void {
    this.flush();
    this.#file.close();
  }

  #makeLines(): void {
    const events = this.#events;
    this.#events = [];
    for (const { type, at, fields } of events) {
      const event: AuditEvent = {
        event_type: type,
        timestamp: isoTime(at),
        ...(typeof fields === "function" ? fields() : fields),
      };
      const line = JSON.stringify(event);
      this.#pending.push(line);
      for (const watcher of this.#watchers) watcher(event, line);
    }
  }

  #suppressed(uid: number, count: number): void {
    this.add("refusals.suppressed", { uid, count });
  }
}

function openFile(path: string): Deno.FsFile {
  return Deno.openSync(path, { write: true, create: true, append: true, mode: 0o640 });
}

/** A pinhole's fields as scripts rely on them: `pinhole list --json`, and in events. */
export function pinholeFields(p: Pinhole): Record<string, unknown> {
  const time = (ms: number | undefined) => ms === undefined ? null : isoTime(ms);
  return {
    id: p.id,
    proto: p.tuple.protocol,
    source: p.tuple.source.text,
    source_port: p.tuple.sourcePort === 0 ? null : p.tuple.sourcePort,
    destination: p.tuple.destination.text,
    destination_port: p.tuple.destinationPort,
    state: p.state,
    delegate: p.requester.delegate,
    user: p.requester.user,
    pid: p.requester.pid === 0 ? null : p.requester.pid,
    program: p.requester.program === "" ? null : p.requester.program,
    opened_at: time(p.openedAt),
    expires_at: time(p.expiresAt),
    packets: p.packets,
    bytes: p.bytes,
    rule: p.rule,
  };
}

/** A request's fields in events. */
export function requestFields(q: PinholeRequest): Record<string, unknown> {
  return {
    proto: q.tuple.protocol,
    source: q.tuple.source.text,
    source_port: q.tuple.sourcePort === 0 ? null : q.tuple.sourcePort,
    destination: q.tuple.destination.text,
    destination_port: q.tuple.destinationPort,
    delegate: q.requester.delegate,
    user: q.requester.user,
    uid: q.requester.uid,
    pid: q.requester.pid === 0 ? null : q.requester.pid,
    program: q.requester.program === "" ? null : q.requester.program,
    ...(q.boundAt === undefined ? {} : { bound_at: isoTime(q.boundAt) }),
  };
}

/** A close reason in words. */
export function reasonText(reason: CloseReason): string {
  return {
    "socket-closed": "its socket was closed",
    "process-exited": "its process ended",
    "expired": "its time was over",
    "by-hand": "closed by hand",
    "policy": "the policy no longer allows it",
    "idle": "no traffic for as long as its rule allows",
    "stale": "no owner and no traffic",
    "enforcer-refused": "the enforcer did not take it",
    "reboot": "the host was started anew",
    "broker-lost": "its broker was not heard of for longer than its lease",
  }[reason];
}
