/**
 * Alerts in SQLite, in a file of the console's own. A commit is on the disk before anything is acknowledged.
 *
 * @module
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { SqliteQueries, stored } from "./sqlite_queries.ts";
import {
  type AlertFields,
  alertFields,
  type AlertFilter,
  type AlertRate,
  type AlertStore,
  type IncomingAlert,
  newAlerts,
  type NiTotals,
  RATE_STEP_MS,
  type SpoolPosition,
  type StoredAlert,
  StoreError,
} from "./store.ts";

const SCHEMA_VERSION = 1;
/** Pages of the write-ahead log after which it is carried into the database, while everybody waits: few at a time. */
const CHECKPOINT_PAGES = 1000;
/** Of the file in memory: what is written to all the time is the end of each NI's list. */
const CACHE_KB = 12 * 1024;
/** Alerts removed at once, so that nobody waits for it. */
const PRUNED_AT_ONCE = 500;

const SCHEMA = `
  CREATE TABLE alerts (id INTEGER PRIMARY KEY AUTOINCREMENT, ni INTEGER NOT NULL, seq INTEGER NOT NULL,
    at INTEGER NOT NULL, received INTEGER NOT NULL, scanner TEXT NOT NULL, signature TEXT NOT NULL,
    category TEXT NOT NULL, severity INTEGER NOT NULL, action TEXT NOT NULL, proto TEXT NOT NULL,
    src TEXT NOT NULL, dest TEXT NOT NULL, dest_port INTEGER NOT NULL, capture INTEGER NOT NULL,
    event TEXT NOT NULL);
  CREATE INDEX alerts_of_ni ON alerts (ni, id);
  CREATE TABLE captures (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
  CREATE TABLE nis (ni INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, alerts INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0, kept INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE positions (ni INTEGER NOT NULL, spool TEXT NOT NULL, acked INTEGER NOT NULL,
    lost INTEGER NOT NULL, PRIMARY KEY (ni, spool)) WITHOUT ROWID;
  CREATE TABLE rates (at INTEGER NOT NULL, severity INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (at, severity)) WITHOUT ROWID;
`;

/** An alert as the file takes it: made by who has the event, so that the file's own thread only writes. */
export interface AlertRow {
  readonly ni: string;
  readonly spool: string;
  readonly seq: number;
  /** Columns from `at` to `event`. */
  readonly values: readonly (string | number)[];
  /** Undefined without one. */
  readonly capture: Uint8Array | undefined;
}

/** The default store. */
export class SqliteStore implements AlertStore {
  readonly #db: DatabaseSync;
  /** What is asked of this connection. */
  readonly queries: SqliteQueries;
  readonly #insert: StatementSync;
  readonly #insertCapture: StatementSync;
  readonly #position: StatementSync;
  readonly #setPosition: StatementSync;
  readonly #count: StatementSync;
  readonly #rate: StatementSync;
  readonly #nis = new Map<string, number>();

  /**
   * @param shared others of this process may read the file too; without it, it is this one's alone.
   * @throws {StoreError} when the file is damaged, of a newer version, or held by another console.
   */
  constructor(path: string, shared = false) {
    let db: DatabaseSync | undefined;
    try {
      this.#db = db = new DatabaseSync(path);
      db.exec(
        `PRAGMA locking_mode=${
          shared ? "NORMAL" : "EXCLUSIVE"
        }; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
        PRAGMA busy_timeout=0; PRAGMA wal_autocheckpoint=${CHECKPOINT_PAGES}; PRAGMA cache_size=-${CACHE_KB};`,
      );
      const { user_version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
      if (user_version > SCHEMA_VERSION) throw new Error("it is of a newer diaper");
      if (user_version === 0) {
        db.exec(`BEGIN; ${SCHEMA} PRAGMA user_version=${SCHEMA_VERSION}; COMMIT;`);
      }
      this.#readNis();
    } catch (error) {
      db?.close();
      const why = error instanceof Error ? error.message : String(error);
      const held = /locked/.test(why);
      throw new StoreError(
        `Cannot use ${path}: ${held ? "another console holds it" : why}`,
        held ? "stop that console first" : "put it aside and start again; it is left as it is",
        { cause: error },
      );
    }
    this.queries = new SqliteQueries(db);
    this.#insert = db.prepare(
      `INSERT INTO alerts (ni, seq, received, at, scanner, signature, category, severity, action, proto,
        src, dest, dest_port, capture, event) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
    );
    this.#insertCapture = db.prepare("INSERT INTO captures VALUES (?, ?)");
    this.#position = db.prepare("SELECT acked, lost FROM positions WHERE ni = ? AND spool = ?");
    this.#setPosition = db.prepare(
      `INSERT INTO positions VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET acked = excluded.acked,
        lost = excluded.lost`,
    );
    this.#count = db.prepare(
      "UPDATE nis SET alerts = alerts + ?1, kept = kept + ?1, lost = lost + ?2 WHERE ni = ?3",
    );
    this.#rate = db.prepare(
      "INSERT INTO rates VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
    );
  }

  /** As {@link AlertStore.position}. */
  position(ni: string, spool: string): Promise<SpoolPosition> {
    return Promise.resolve(this.#positionOf(ni, spool));
  }

  /** As {@link AlertStore.append}. */
  append(alerts: readonly IncomingAlert[]): Promise<StoredAlert[]> {
    const now = Date.now();
    const fields = alerts.map(({ event }) => alertFields(event, now));
    const rows = alerts.map((alert, i) => alertRow(alert, fields[i] as AlertFields));
    try {
      return Promise.resolve(storedAlerts(alerts, fields, this.keep(rows, now), now));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Keeps rows for good in one transaction.
   *
   * @param now when they came.
   * @returns the number of each; 0 for what was kept before.
   */
  keep(rows: readonly AlertRow[], now: number): number[] {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      const before = new Map<string, number>();
      const { fresh, positions } = newAlerts(rows, (ni, spool) => {
        const at = this.#positionOf(ni, spool);
        before.set(`${ni} ${spool}`, at.lost);
        return at;
      });
      const rates = [0, 0, 0, 0];
      const counts = new Map<string, number>();
      const isFresh = new Set(fresh);
      const ids = rows.map((row) => {
        if (!isFresh.has(row)) return 0;
        const severity = row.values[SEVERITY] as number;
        rates[severity] = (rates[severity] ?? 0) + 1;
        counts.set(row.ni, (counts.get(row.ni) ?? 0) + 1);
        return this.#addOne(row, now);
      });
      for (const [key, { ni, spool, acked, lost }] of positions) {
        const number = this.#ni(ni);
        this.#setPosition.run(number, spool, acked, lost);
        this.#count.run(counts.get(ni) ?? 0, lost - (before.get(key) ?? 0), number);
        counts.delete(ni);
      }
      const at = now - now % RATE_STEP_MS;
      for (const [severity, count] of rates.entries()) {
        if (count > 0) this.#rate.run(at, severity, count);
      }
      this.#db.exec("COMMIT");
      return ids;
    } catch (error) {
      this.#db.exec("ROLLBACK");
      this.#readNis();
      throw error;
    }
  }

  /** As {@link AlertStore.list}. */
  list(filter: AlertFilter): Promise<StoredAlert[]> {
    return Promise.resolve(this.queries.list(filter).map(stored));
  }

  /** As {@link AlertStore.get}. */
  get(id: number): Promise<StoredAlert | undefined> {
    const row = this.queries.get(id);
    return Promise.resolve(row === undefined ? undefined : stored(row));
  }

  /** As {@link AlertStore.capture}. */
  capture(id: number): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.queries.capture(id));
  }

  /** As {@link AlertStore.rates}. */
  rates(since: number, until: number, step: number): Promise<AlertRate[]> {
    return Promise.resolve(this.queries.rates(since, until, step));
  }

  /** As {@link AlertStore.totals}. */
  totals(): Promise<NiTotals[]> {
    return Promise.resolve(this.queries.totals());
  }

  /** As {@link AlertStore.prune}. */
  prune(olderThan: number, mostOfOne: number): Promise<number> {
    let removed = 0;
    const remove = (ids: readonly number[], ni?: number) => {
      if (ids.length === 0) return;
      this.#db.exec("BEGIN IMMEDIATE");
      const captures = this.#db.prepare("DELETE FROM captures WHERE id = ?");
      const alerts = this.#db.prepare("DELETE FROM alerts WHERE id = ? RETURNING ni");
      const kept = this.#db.prepare("UPDATE nis SET kept = kept - 1 WHERE ni = ?");
      for (const id of ids) {
        captures.run(id);
        const row = alerts.get(id);
        if (row !== undefined) kept.run(ni ?? (row["ni"] as number));
      }
      this.#db.exec("COMMIT");
      removed += ids.length;
    };
    // Numbers grow with time, so that the oldest are at the front.
    const old = this.#db.prepare("SELECT id, received FROM alerts ORDER BY id LIMIT ?").all(
      PRUNED_AT_ONCE,
    ) as { id: number; received: number }[];
    remove(old.filter(({ received }) => received < olderThan).map(({ id }) => id));
    const many = this.#db.prepare("SELECT ni, kept FROM nis WHERE kept > ?").all(mostOfOne) as {
      ni: number;
      kept: number;
    }[];
    for (const { ni, kept } of many) {
      const ids = this.#db.prepare("SELECT id FROM alerts WHERE ni = ? ORDER BY id LIMIT ?").all(
        ni,
        Math.min(PRUNED_AT_ONCE, kept - mostOfOne),
      ) as { id: number }[];
      remove(ids.map(({ id }) => id), ni);
    }
    return Promise.resolve(removed);
  }

  /** As {@link AlertStore.close}. */
  close(): Promise<void> {
    this.#db.close();
    return Promise.resolve();
  }

  #readNis(): void {
    this.#nis.clear();
    for (const row of this.#db.prepare("SELECT ni, name FROM nis").iterate()) {
      this.#nis.set(row["name"] as string, row["ni"] as number);
    }
  }

  #ni(name: string): number {
    const known = this.#nis.get(name);
    if (known !== undefined) return known;
    const { lastInsertRowid } = this.#db.prepare("INSERT INTO nis (name) VALUES (?)").run(name);
    const number = Number(lastInsertRowid);
    this.#nis.set(name, number);
    return number;
  }

  #positionOf(ni: string, spool: string): SpoolPosition {
    const number = this.#nis.get(ni);
    const row = number === undefined ? undefined : this.#position.get(number, spool);
    return (row as unknown as SpoolPosition | undefined) ?? { acked: 0, lost: 0 };
  }

  #addOne({ ni, seq, values, capture }: AlertRow, now: number): number {
    const { lastInsertRowid } = this.#insert.run(this.#ni(ni), seq, now, ...values);
    const id = Number(lastInsertRowid);
    if (capture !== undefined) this.#insertCapture.run(id, capture);
    return id;
  }
}

/** Place of the severity in {@link AlertRow.values}. */
const SEVERITY = 4;

/** An alert as a row. */
export function alertRow(
  { ni, spool, seq, event, capture }: IncomingAlert,
  f: AlertFields,
): AlertRow {
  return {
    ni,
    spool,
    seq,
    values: [
      ...[f.at, f.scanner, f.signature, f.category, f.severity, f.action, f.proto, f.src, f.dest],
      ...[f.destPort, capture.length, JSON.stringify(event)],
    ],
    capture: capture.length === 0 ? undefined : capture,
  };
}

/** Those of the alerts that got a number. @param ids as {@link SqliteStore.keep} tells them. */
export function storedAlerts(
  alerts: readonly IncomingAlert[],
  fields: readonly AlertFields[],
  ids: readonly number[],
  now: number,
): StoredAlert[] {
  return alerts.flatMap(({ ni, seq, event, capture }, i) => {
    const id = ids[i] ?? 0;
    const f = fields[i] as AlertFields;
    return id === 0 ? [] : [{ id, ni, seq, received: now, ...f, event, capture: capture.length }];
  });
}
