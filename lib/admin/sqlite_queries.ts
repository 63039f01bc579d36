/**
 * What is asked of a console's alerts in SQLite: of the connection that writes them, or of another one.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import type { AlertFilter, AlertRate, NiTotals, StoredAlert } from "./store.ts";

/** Alerts that a search for words or addresses looks at, newest first. */
const SEARCHED = 200_000;

const FIELDS = `alerts.id AS id, nis.name AS ni, seq, at, received, scanner, signature, category,
  severity, action, proto, src, dest, dest_port AS destPort, capture, event`;

/** Milliseconds of rates that are few enough rows. */
const SHORT_RATES_MS = 86_400_000;

/** True for what an index cannot answer: it may have to look at very many alerts. */
export function isSearch(filter: AlertFilter): boolean {
  const { scanner, signature, severity, host, text } = filter;
  return [scanner, signature, severity, host, text].some((wanted) => wanted !== undefined);
}

/** True for rates of a long time. */
export function isLong(since: number, until: number): boolean {
  return until - since > SHORT_RATES_MS;
}

/** An alert as a row: its event is text ({@link stored}). */
export type AlertRecord = Readonly<Record<string, unknown>>;

/** Questions to one connection. */
export class SqliteQueries {
  readonly #db: DatabaseSync;

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /** As {@link AlertStore.list}, in rows where there are alerts. */
  list(filter: AlertFilter): AlertRecord[] {
    const where: string[] = [];
    const values: (string | number)[] = [];
    const add = (condition: string, ...more: (string | number)[]) => {
      where.push(condition);
      values.push(...more);
    };
    if (filter.ni !== undefined) add("alerts.ni = (SELECT ni FROM nis WHERE name = ?)", filter.ni);
    if (filter.scanner !== undefined) add("scanner = ?", filter.scanner);
    if (filter.signature !== undefined) add("signature = ?", filter.signature);
    if (filter.severity !== undefined) add("severity <= ?", filter.severity);
    if (filter.host !== undefined) add("(src = ? OR dest = ?)", filter.host, filter.host);
    if (filter.text !== undefined) add("instr(lower(event), lower(?)) > 0", filter.text);
    if (filter.before !== undefined) add("alerts.id < ?", filter.before);
    if (filter.after !== undefined) add("alerts.id > ?", filter.after);
    if (where.length > 0 && filter.oldest !== true) {
      // Who looks for what hardly ever happens must not hold up everybody else.
      add("alerts.id > ?", Math.min(filter.before ?? Infinity, this.#last() + 1) - SEARCHED);
    }
    const order = filter.oldest === true ? "ASC" : "DESC";
    return this.#db.prepare(
      `SELECT ${FIELDS} FROM alerts JOIN nis ON nis.ni = alerts.ni
        ${where.length === 0 ? "" : `WHERE ${where.join(" AND ")}`}
        ORDER BY alerts.id ${order} LIMIT ?`,
    ).all(...values, filter.limit);
  }

  /** As {@link AlertStore.get}, in rows where there are alerts. */
  get(id: number): AlertRecord | undefined {
    return this.#db.prepare(
      `SELECT ${FIELDS} FROM alerts JOIN nis ON nis.ni = alerts.ni WHERE alerts.id = ?`,
    ).get(id);
  }

  /** As {@link AlertStore.capture}, in rows where there are alerts. */
  capture(id: number): Uint8Array | undefined {
    const row = this.#db.prepare("SELECT data FROM captures WHERE id = ?").get(id);
    return row?.["data"] as Uint8Array | undefined;
  }

  /** As {@link AlertStore.rates}, in rows where there are alerts. */
  rates(since: number, until: number, step: number): AlertRate[] {
    const rows = this.#db.prepare(
      `SELECT at - at % ?1 AS step, severity, sum(count) AS count FROM rates
        WHERE at >= ?2 AND at < ?3 GROUP BY step, severity ORDER BY step`,
    ).all(step, since, until) as { step: number; severity: number; count: number }[];
    return rows.map((r) => ({ at: r.step, severity: r.severity, count: r.count }));
  }

  /** As {@link AlertStore.totals}, in rows where there are alerts. */
  totals(): NiTotals[] {
    const rows = this.#db.prepare("SELECT name AS ni, alerts, lost FROM nis ORDER BY name").all();
    return rows.map((row) => ({ ...row } as unknown as NiTotals));
  }

  #last(): number {
    const row = this.#db.prepare("SELECT max(id) AS id FROM alerts").get();
    return (row?.["id"] as number | null) ?? 0;
  }
}

/** The alert of a row. */
export function stored(row: AlertRecord): StoredAlert {
  return { ...row, event: JSON.parse(row["event"] as string) } as unknown as StoredAlert;
}
