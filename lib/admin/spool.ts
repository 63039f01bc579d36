/**
 * An NI's alerts on its own disk, until the console has them for good. A commit survives the death of the process;
 * numbers are never given twice, so that a number that does not arrive was lost, and the console can count it.
 *
 * @module
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";

/** What happens when the spool is full. */
export type SpoolPolicy = "drop-oldest" | "drop-newest";

/** Bounds of a spool. */
export interface SpoolBounds {
  readonly alerts: number;
  readonly bytes: number;
  readonly policy: SpoolPolicy;
}

/** An alert as the NI made it. */
export interface SpooledAlert {
  readonly seq: number;
  readonly event: Readonly<Record<string, unknown>>;
  /** A capture file with its packets; empty when there are none. */
  readonly capture: Uint8Array;
}

/** How a spool stands. */
export interface SpoolState {
  readonly waiting: number;
  readonly bytes: number;
  readonly lost: number;
  /** The oldest that waits, and the number that the next will get. */
  readonly first: number;
  readonly next: number;
}

const NOTHING = new Uint8Array();
const encoder = new TextEncoder();

/** Octets of an event, and of its packets. */
const LARGEST_PART = 512 * 1024;
/** Pages of the write-ahead log after which it is carried into the database. */
const CHECKPOINT_PAGES = 1000;

/** One spool file, held by one process at a time. */
export class AlertSpool {
  /** Its identity, 32 hexadecimal digits. */
  readonly id: string;
  readonly #db: DatabaseSync;
  readonly #bounds: SpoolBounds;
  readonly #insert: StatementSync;
  readonly #read: StatementSync;
  readonly #remove: StatementSync;
  readonly #keep: StatementSync;
  readonly #sizes: StatementSync;
  readonly #upTo: StatementSync;
  #next: number;
  #first: number;
  #count: number;
  #bytes: number;
  #lost: number;

  /**
   * Opens or makes a spool.
   *
   * @throws {Error} when it is damaged or held by another process. {@link openSpool} puts a damaged one aside.
   */
  constructor(path: string, bounds: SpoolBounds) {
    this.#bounds = bounds;
    this.#db = new DatabaseSync(path);
    try {
      this.#db.exec(`PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;
        PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=0;
        PRAGMA wal_autocheckpoint=${CHECKPOINT_PAGES};
        CREATE TABLE IF NOT EXISTS spool (seq INTEGER PRIMARY KEY, size INTEGER NOT NULL,
          event TEXT NOT NULL, capture BLOB);
        CREATE TABLE IF NOT EXISTS state (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL,
          next INTEGER NOT NULL, lost INTEGER NOT NULL);`);
      this.#db.prepare("INSERT OR IGNORE INTO state VALUES (1, ?, 1, 0)").run(
        crypto.getRandomValues(new Uint8Array(16)).toHex(),
      );
      const state = this.#db.prepare("SELECT id, next, lost FROM state").get() as {
        id: string;
        next: number;
        lost: number;
      };
      const held = this.#db.prepare(
        "SELECT count(*) AS n, coalesce(sum(size), 0) AS bytes, min(seq) AS first FROM spool",
      ).get() as { n: number; bytes: number; first: number | null };
      this.id = state.id;
      this.#next = state.next;
      this.#lost = state.lost;
      this.#count = held.n;
      this.#bytes = held.bytes;
      this.#first = held.first ?? state.next;
      this.#insert = this.#db.prepare("INSERT INTO spool VALUES (?, ?, ?, ?)");
      this.#read = this.#db.prepare(
        "SELECT seq, size, event, capture FROM spool WHERE seq > ? ORDER BY seq LIMIT ?",
      );
      this.#remove = this.#db.prepare("DELETE FROM spool WHERE seq <= ?");
      this.#keep = this.#db.prepare("UPDATE state SET next = ?, lost = ?");
      this.#upTo = this.#db.prepare(
        "SELECT count(*) AS n, coalesce(sum(size), 0) AS bytes FROM spool WHERE seq <= ?",
      );
      this.#sizes = this.#db.prepare("SELECT seq, size FROM spool ORDER BY seq LIMIT ?");
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  /** How it stands. */
  get state(): SpoolState {
    return {
      waiting: this.#count,
      bytes: this.#bytes,
      lost: this.#lost,
      first: this.#count === 0 ? this.#next : this.#first,
      next: this.#next,
    };
  }

  /**
   * Keeps alerts; when this returns, they survive the death of the process.
   *
   * @returns how many were lost for want of room, of these or of older ones.
   * @throws {Error} when the disk does not take them.
   */
  add(alerts: readonly Omit<SpooledAlert, "seq">[]): number {
    const before = this.#lost;
    this.#db.exec("BEGIN IMMEDIATE");
    const kept = [this.#next, this.#first, this.#count, this.#bytes, this.#lost] as const;
    try {
      for (const { event, capture } of alerts) this.#addOne(JSON.stringify(event), capture);
      this.#keep.run(this.#next, this.#lost);
      this.#db.exec("COMMIT");
    } catch (error) {
      this.#db.exec("ROLLBACK");
      [this.#next, this.#first, this.#count, this.#bytes, this.#lost] = kept;
      throw error;
    }
    return this.#lost - before;
  }

  /**
   * The alerts after a number, in order.
   *
   * @param most how many.
   * @param bytes about how many octets; at least one alert is given.
   */
  after(seq: number, most: number, bytes: number): SpooledAlert[] {
    const out: SpooledAlert[] = [];
    let size = 0;
    for (const row of this.#read.iterate(seq, most)) {
      const r = row as { seq: number; size: number; event: string; capture: Uint8Array | null };
      size += r.size;
      if (out.length > 0 && size > bytes) break;
      out.push({
        seq: r.seq,
        event: JSON.parse(r.event) as Record<string, unknown>,
        capture: r.capture ?? NOTHING,
      });
    }
    return out;
  }

  /** The console has all alerts up to a number. */
  acknowledge(seq: number): void {
    if (seq < this.#first || this.#count === 0) return;
    const last = Math.min(seq, this.#next - 1);
    const gone = this.#upTo.get(last) as { n: number; bytes: number };
    if (gone.n > 0) this.#remove.run(last);
    this.#count -= gone.n;
    this.#bytes -= gone.bytes;
    this.#first = last + 1;
  }

  /** Lets go of the file. */
  close(): void {
    this.#db.close();
  }

  #addOne(event: string, packets: Uint8Array): void {
    // An alert that no message could carry would hold up all that come after it.
    const capture = packets.length > LARGEST_PART ? NOTHING : packets;
    const size = encoder.encode(event).length + capture.length;
    const seq = this.#next++;
    const full = () =>
      this.#count >= this.#bounds.alerts || this.#bytes + size > this.#bounds.bytes;
    if (event.length * 3 > LARGEST_PART * 2 || size > this.#bounds.bytes) {
      this.#lost++;
      return;
    }
    if (full()) {
      if (this.#bounds.policy === "drop-newest") {
        this.#lost++;
        return;
      }
      this.#dropOldest(full);
    }
    this.#insert.run(seq, size, event, capture.length === 0 ? null : capture);
    if (this.#count === 0) this.#first = seq;
    this.#count++;
    this.#bytes += size;
  }

  #dropOldest(full: () => boolean): void {
    while (full() && this.#count > 0) {
      // A part at a time, so that a full spool does not look for its oldest with each alert.
      const rows = this.#sizes.all(Math.max(1, Math.ceil(this.#bounds.alerts / 100))) as {
        seq: number;
        size: number;
      }[];
      const last = rows.at(-1);
      if (last === undefined) return;
      this.#remove.run(last.seq);
      this.#count -= rows.length;
      this.#lost += rows.length;
      for (const { size } of rows) this.#bytes -= size;
      this.#first = last.seq + 1;
    }
  }
}

/**
 * Opens a spool; one that is damaged is put aside, since an NI must go on, and its alerts may be read from there.
 *
 * @returns the spool, and what a person has to be told.
 */
export function openSpool(
  path: string,
  bounds: SpoolBounds,
): { readonly spool: AlertSpool; readonly warning: string | undefined } {
  try {
    return { spool: new AlertSpool(path, bounds), warning: undefined };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (!/malformed|not a database|no such (column|table)/.test(why)) throw error;
    const aside = `${path}.damaged-${new Date().toISOString().replaceAll(":", "")}`;
    Deno.renameSync(path, aside);
    for (const more of ["-wal", "-shm"]) {
      try {
        Deno.renameSync(path + more, aside + more);
      } catch (failure) {
        if (!(failure instanceof Deno.errors.NotFound)) throw failure;
      }
    }
    return {
      spool: new AlertSpool(path, bounds),
      warning: `the spool of alerts was damaged (${why}) and is kept as ${aside}`,
    };
  }
}
