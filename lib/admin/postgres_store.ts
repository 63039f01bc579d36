/**
 * Alerts in PostgreSQL, for several consoles that share them: whichever an NI comes to, each alert is kept once.
 *
 * @module
 */
import postgres from "postgres";
import {
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

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS diaper_alerts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ni text NOT NULL, seq bigint NOT NULL, at bigint NOT NULL, received bigint NOT NULL, scanner text NOT NULL,
    signature text NOT NULL, category text NOT NULL, severity smallint NOT NULL, action text NOT NULL,
    proto text NOT NULL, src text NOT NULL, dest text NOT NULL, dest_port integer NOT NULL,
    capture bytea, event text NOT NULL);
  CREATE INDEX IF NOT EXISTS diaper_alerts_ni ON diaper_alerts (ni, id);
  CREATE TABLE IF NOT EXISTS diaper_positions (ni text NOT NULL, spool text NOT NULL, acked bigint NOT NULL,
    lost bigint NOT NULL, alerts bigint NOT NULL, PRIMARY KEY (ni, spool));
  CREATE TABLE IF NOT EXISTS diaper_rates (at bigint NOT NULL, severity smallint NOT NULL, count bigint NOT NULL,
    PRIMARY KEY (at, severity));
`;

/** Two consoles that start at once must not both make the tables. */
const SCHEMA_LOCK = 4_202_144;
const PRUNED_AT_ONCE = 500;
/** Alerts that a search for words or addresses looks at, newest first. */
const SEARCHED = 200_000;
const MOST_CONNECTIONS = 8;

const FIELDS =
  `id, ni, seq, at, received, scanner, signature, category, severity, action, proto, src, dest,
  dest_port AS "destPort", coalesce(length(capture), 0) AS capture, event`;

type Row = Record<string, unknown>;

/** The shared store. */
export class PostgresStore implements AlertStore {
  readonly #sql: postgres.Sql;

  private constructor(sql: postgres.Sql) {
    this.#sql = sql;
  }

  /**
   * Connects, and makes the tables where they are missing.
   *
   * @param url with user and password; never shown.
   * @throws {StoreError} when the database cannot be used.
   */
  static async open(url: string): Promise<PostgresStore> {
    const { address, socket } = readUrl(url);
    const sql = postgres(address, {
      ...(socket === undefined ? {} : { path: socket }),
      max: MOST_CONNECTIONS,
      onnotice: () => {},
      connect_timeout: 10,
      // Numbers of alerts and times fit into what JavaScript holds exactly.
      types: {
        bigint: { to: 20, from: [20], parse: Number, serialize: String },
      },
    });
    try {
      await sql.begin(async (tx) => {
        await tx`SELECT pg_advisory_xact_lock(${SCHEMA_LOCK})`;
        await tx.unsafe(SCHEMA);
      });
      return new PostgresStore(sql);
    } catch (error) {
      await sql.end({ timeout: 1 });
      throw new StoreError(
        `Cannot use the PostgreSQL database: ${error instanceof Error ? error.message : error}`,
        "is it up, and does its URL in the file that store names fit?",
        { cause: error },
      );
    }
  }

  /** As {@link AlertStore.position}. */
  async position(ni: string, spool: string): Promise<SpoolPosition> {
    const [row] = await this.#sql<Row[]>`
      SELECT acked, lost FROM diaper_positions WHERE ni = ${ni} AND spool = ${spool}`;
    return (row as unknown as SpoolPosition | undefined) ?? { acked: 0, lost: 0 };
  }

  /** As {@link AlertStore.append}. */
  async append(alerts: readonly IncomingAlert[]): Promise<StoredAlert[]> {
    const now = Date.now();
    return await this.#sql.begin(async (sql) => {
      // In one order everywhere, so that two consoles never wait for each other.
      const spools = [...new Map(alerts.map((a) => [`${a.ni} ${a.spool}`, a])).entries()]
        .sort(([a], [b]) => a < b ? -1 : 1);
      const before = new Map<string, SpoolPosition>();
      for (const [key, { ni, spool }] of spools) {
        await sql`INSERT INTO diaper_positions VALUES (${ni}, ${spool}, 0, 0, 0) ON CONFLICT DO NOTHING`;
        const [row] = await sql<Row[]>`SELECT acked, lost FROM diaper_positions
          WHERE ni = ${ni} AND spool = ${spool} FOR UPDATE`;
        before.set(key, row as unknown as SpoolPosition);
      }
      const { fresh, positions } = newAlerts(
        alerts,
        (ni, spool) => before.get(`${ni} ${spool}`) ?? { acked: 0, lost: 0 },
      );
      if (fresh.length === 0) return [];
      const rows = fresh.map(({ ni, seq, event, capture }) => {
        const { destPort, ...fields } = alertFields(event, now);
        return {
          ...{ ni, seq, received: now, ...fields, dest_port: destPort },
          capture: capture.length === 0 ? null : capture,
          // PostgreSQL's text cannot hold the one character that JSON writes as this escape.
          event: JSON.stringify(event).replaceAll("\\u0000", "\\ufffd"),
        };
      }).map((row) =>
        Object.fromEntries(
          Object.entries(row).map((
            [k, v],
          ) => [k, typeof v === "string" ? v.replaceAll("\0", "") : v]),
        )
      );
      const ids = await sql<Row[]>`INSERT INTO diaper_alerts ${sql(rows)} RETURNING id`;
      const rates = [0, 0, 0, 0];
      const stored = fresh.map(({ ni, seq, event, capture }, i): StoredAlert => {
        const fields = alertFields(event, now);
        rates[fields.severity] = (rates[fields.severity] ?? 0) + 1;
        const id = Number(ids[i]?.["id"]);
        return { id, ni, seq, received: now, ...fields, event, capture: capture.length };
      });
      for (const { ni, spool, acked, lost } of positions.values()) {
        const count = fresh.filter((a) => a.ni === ni && a.spool === spool).length;
        await sql`UPDATE diaper_positions SET acked = ${acked}, lost = ${lost}, alerts = alerts + ${count}
          WHERE ni = ${ni} AND spool = ${spool}`;
      }
      const at = now - now % RATE_STEP_MS;
      for (const [severity, count] of rates.entries()) {
        if (count > 0) {
          await sql`INSERT INTO diaper_rates VALUES (${at}, ${severity}, ${count})
            ON CONFLICT (at, severity) DO UPDATE SET count = diaper_rates.count + excluded.count`;
        }
      }
      return stored;
    }) as StoredAlert[];
  }

  /** As {@link AlertStore.list}. */
  async list(f: AlertFilter): Promise<StoredAlert[]> {
    const sql = this.#sql;
    const filtered = [f.ni, f.scanner, f.signature, f.severity, f.host, f.text]
      .some((x) => x !== undefined);
    const rows = await sql<Row[]>`SELECT ${sql.unsafe(FIELDS)} FROM diaper_alerts WHERE true
      ${f.ni === undefined ? sql`` : sql`AND ni = ${f.ni}`}
      ${f.scanner === undefined ? sql`` : sql`AND scanner = ${f.scanner}`}
      ${f.signature === undefined ? sql`` : sql`AND signature = ${f.signature}`}
      ${f.severity === undefined ? sql`` : sql`AND severity <= ${f.severity}`}
      ${f.host === undefined ? sql`` : sql`AND (src = ${f.host} OR dest = ${f.host})`}
      ${f.text === undefined ? sql`` : sql`AND strpos(lower(event), lower(${f.text})) > 0`}
      ${f.before === undefined ? sql`` : sql`AND id < ${f.before}`}
      ${f.after === undefined ? sql`` : sql`AND id > ${f.after}`}
      ${
      filtered && f.oldest !== true
        ? sql`AND id > coalesce(${
          f.before ?? null
        }::bigint, (SELECT max(id) + 1 FROM diaper_alerts)) - ${SEARCHED}`
        : sql``
    }
      ORDER BY id ${f.oldest === true ? sql`ASC` : sql`DESC`} LIMIT ${f.limit}`;
    return rows.map(stored);
  }

  /** As {@link AlertStore.get}. */
  async get(id: number): Promise<StoredAlert | undefined> {
    const [row] = await this.#sql<Row[]>`SELECT ${this.#sql.unsafe(FIELDS)} FROM diaper_alerts
      WHERE id = ${id}`;
    return row === undefined ? undefined : stored(row);
  }

  /** As {@link AlertStore.capture}. */
  async capture(id: number): Promise<Uint8Array | undefined> {
    const [row] = await this.#sql<Row[]>`SELECT capture FROM diaper_alerts WHERE id = ${id}`;
    const data = row?.["capture"] as Uint8Array | null | undefined;
    return data === null || data === undefined ? undefined : new Uint8Array(data);
  }

  /** As {@link AlertStore.rates}. */
  async rates(since: number, until: number, step: number): Promise<AlertRate[]> {
    const rows = await this.#sql<Row[]>`SELECT at - at % ${step}::bigint AS step, severity,
      sum(count)::bigint AS count FROM diaper_rates WHERE at >= ${since} AND at < ${until}
      GROUP BY step, severity ORDER BY step`;
    return rows.map((r) => ({
      at: Number(r["step"]),
      severity: Number(r["severity"]),
      count: Number(r["count"]),
    }));
  }

  /** As {@link AlertStore.totals}. */
  async totals(): Promise<NiTotals[]> {
    const rows = await this.#sql<
      Row[]
    >`SELECT ni, sum(alerts)::bigint AS alerts, sum(lost)::bigint AS lost
      FROM diaper_positions GROUP BY ni ORDER BY ni`;
    return rows.map((r) => r as unknown as NiTotals);
  }

  /** As {@link AlertStore.prune}. */
  async prune(olderThan: number, mostOfOne: number): Promise<number> {
    const sql = this.#sql;
    const old = await sql`DELETE FROM diaper_alerts WHERE id IN
      (SELECT id FROM diaper_alerts WHERE received < ${olderThan} ORDER BY id LIMIT ${PRUNED_AT_ONCE})`;
    let removed = old.count;
    const many = await sql<Row[]>`SELECT ni, count(*)::bigint AS kept FROM diaper_alerts GROUP BY ni
      HAVING count(*) > ${mostOfOne}`;
    for (const { ni, kept } of many as unknown as { ni: string; kept: number }[]) {
      const most = Math.min(PRUNED_AT_ONCE, kept - mostOfOne);
      const gone = await sql`DELETE FROM diaper_alerts WHERE id IN
        (SELECT id FROM diaper_alerts WHERE ni = ${ni} ORDER BY id LIMIT ${most})`;
      removed += gone.count;
    }
    return removed;
  }

  /** As {@link AlertStore.close}. */
  async close(): Promise<void> {
    await this.#sql.end({ timeout: 5 });
  }
}

/** As for libpq, `?host=/DIRECTORY` is a Unix socket's. */
function readUrl(text: string): { address: string; socket: string | undefined } {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    // Without the text itself, which has a password in it, and which the error quotes.
    throw new StoreError("Cannot read the database's URL", "write postgres://USER@HOST/DATABASE");
  }
  const host = url.searchParams.get("host");
  url.searchParams.delete("host");
  const socket = host?.startsWith("/") === true
    ? `${host}/.s.PGSQL.${url.port === "" ? 5432 : url.port}`
    : undefined;
  return { address: url.href, socket };
}

function stored(row: Row): StoredAlert {
  return { ...row, event: JSON.parse(row["event"] as string) } as unknown as StoredAlert;
}
