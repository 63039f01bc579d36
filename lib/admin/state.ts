/**
 * What a console must remember besides alerts: orders, outbreaks, who may log in, what was done by whom, and bundles.
 * SQLite, in a file of the console's own.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { type ContainmentOrder, readOrder } from "./messages.ts";
import { StoreError } from "./store.ts";

const SCHEMA_VERSION = 1;
/** Pages of the write-ahead log after which it is carried into the database, while everybody waits: seldom. */
const CHECKPOINT_PAGES = 4000;
const SCHEMA = `
  CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, who TEXT NOT NULL,
    what TEXT NOT NULL, detail TEXT NOT NULL);
  CREATE TABLE orders (id TEXT NOT NULL, peer TEXT NOT NULL, body TEXT NOT NULL, issued INTEGER NOT NULL,
    until INTEGER NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL, answered INTEGER,
    PRIMARY KEY (id, peer));
  CREATE INDEX orders_of_peer ON orders (peer, state);
  CREATE TABLE outbreaks (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, signature TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, alerts INTEGER NOT NULL, hosts TEXT NOT NULL);
  CREATE TABLE links (hash TEXT PRIMARY KEY, user TEXT NOT NULL, role TEXT NOT NULL, expires INTEGER NOT NULL,
    used INTEGER);
  CREATE TABLE sessions (hash TEXT PRIMARY KEY, user TEXT NOT NULL, role TEXT NOT NULL, csrf TEXT NOT NULL,
    created INTEGER NOT NULL, seen INTEGER NOT NULL, expires INTEGER NOT NULL);
  CREATE TABLE bundles (digest TEXT PRIMARY KEY, version TEXT NOT NULL, size INTEGER NOT NULL,
    manifest TEXT NOT NULL, data BLOB NOT NULL, added INTEGER NOT NULL, who TEXT NOT NULL);
  CREATE TABLE rollouts (id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL, target TEXT NOT NULL,
    state TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER, who TEXT NOT NULL, why TEXT NOT NULL);
  CREATE TABLE placements (rollout INTEGER NOT NULL, peer TEXT NOT NULL, phase TEXT NOT NULL,
    why TEXT NOT NULL, at INTEGER NOT NULL, canary INTEGER NOT NULL, PRIMARY KEY (rollout, peer));
`;

/**
 * Orders whose time is not over and that no newer one about their host at their peer has replaced. One replaces another
 * also when its own time is over, but not when it was never carried out.
 */
const NEWEST = `SELECT o.*, o.rowid FROM orders o WHERE o.until > ?1
  AND json_extract(o.body, '$.verb') <> 'allow' AND NOT EXISTS (SELECT 1 FROM orders n
    WHERE json_extract(n.body, '$.host') = json_extract(o.body, '$.host') AND n.peer = o.peer
      AND n.state IN ('sent', 'done') AND (n.issued, n.rowid) > (o.issued, o.rowid))`;
const INDEX = `CREATE INDEX IF NOT EXISTS orders_of_host
  ON orders (json_extract(body, '$.host'), peer, issued)`;

/** A line of the audit trail. */
export interface AuditLine {
  readonly id: number;
  readonly at: number;
  readonly who: string;
  readonly what: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** How an order stands at one peer. */
export interface OrderRecord {
  readonly order: ContainmentOrder;
  readonly peer: string;
  /** Milliseconds since the epoch. */
  readonly until: number;
  readonly state: "sent" | "done" | "refused" | "expired";
  readonly why: string;
}

/** What one person may do: look; also act; also administer. */
export type Role = "look" | "act" | "administer";
/** All roles, the least first. */
export const ROLES: readonly Role[] = ["look", "act", "administer"];

/** Who is logged in. */
export interface WebSession {
  readonly user: string;
  readonly role: Role;
  /** What every change has to bring along. */
  readonly csrf: string;
  readonly expires: number;
}

/** Findings that belong together. */
export interface Outbreak {
  readonly id: number;
  readonly kind: "same-finding" | "chain";
  readonly signature: string;
  readonly first: number;
  readonly last: number;
  readonly alerts: number;
  readonly hosts: readonly string[];
}

/** How a bundle came to its peers. */
export interface Rollout {
  readonly id: number;
  readonly digest: string;
  readonly version: string;
  readonly target: string;
  readonly state: "canary" | "all" | "done" | "stopped";
  readonly started: number;
  readonly ended: number | undefined;
  readonly who: string;
  readonly why: string;
  readonly placements: readonly Placement[];
}

/** How a bundle stands at one peer. */
export interface Placement {
  readonly peer: string;
  readonly phase: string;
  readonly why: string;
  readonly at: number;
  readonly canary: boolean;
}

/** The file. */
export class ConsoleState {
  readonly db: DatabaseSync;

  /** @throws {StoreError} when it is damaged, of a newer version, or held by another console. */
  constructor(path: string) {
    let db: DatabaseSync | undefined;
    try {
      this.db = db = new DatabaseSync(path);
      db.exec(`PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
        PRAGMA busy_timeout=0; PRAGMA wal_autocheckpoint=${CHECKPOINT_PAGES};`);
      const { user_version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
      if (user_version > SCHEMA_VERSION) throw new Error("it is of a newer diaper");
      if (user_version === 0) {
        db.exec(`BEGIN; ${SCHEMA} PRAGMA user_version=${SCHEMA_VERSION}; COMMIT;`);
      }
      db.exec(INDEX);
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
  }

  /** Writes down what somebody did, or tried to do. */
  audit(who: string, what: string, detail: Readonly<Record<string, unknown>>): AuditLine {
    const at = Date.now();
    const { lastInsertRowid } = this.db.prepare(
      "INSERT INTO audit (at, who, what, detail) VALUES (?, ?, ?, ?)",
    ).run(at, who.slice(0, 100), what, JSON.stringify(detail).slice(0, 10_000));
    return { id: Number(lastInsertRowid), at, who, what, detail };
  }

  /** Lines of the audit trail, newest first. */
  auditLines(before: number | undefined, limit: number): AuditLine[] {
    return this.db.prepare("SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?")
      .all(before ?? Number.MAX_SAFE_INTEGER, limit)
      .map((
        row,
      ) => ({ ...row, detail: JSON.parse(row["detail"] as string) } as unknown as AuditLine));
  }

  /** Keeps an order for a peer until the peer has answered. */
  addOrder(order: ContainmentOrder, peer: string): void {
    const issued = Date.parse(order.issued_at);
    this.db.prepare("INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?, ?, 'sent', '', NULL)").run(
      order.id,
      peer,
      JSON.stringify(order),
      issued,
      issued + order.lifetime * 1000,
    );
  }

  /** A peer answered. @returns false when it was not asked. */
  answerOrder(id: string, peer: string, ok: boolean, why: string): boolean {
    const { changes } = this.db.prepare(
      "UPDATE orders SET state = ?, why = ?, answered = ? WHERE id = ? AND peer = ? AND state = 'sent'",
    ).run(ok ? "done" : "refused", why, Date.now(), id, peer);
    return Number(changes) > 0;
  }

  /** Orders that a peer has not answered and that still mean something. */
  waitingOrders(peer: string): ContainmentOrder[] {
    const now = Date.now();
    this.db.prepare(
      "UPDATE orders SET state = 'expired', why = 'the peer was not there in time' " +
        "WHERE state = 'sent' AND until <= ?",
    ).run(now);
    return this.db.prepare(
      "SELECT body FROM orders WHERE peer = ? AND state = 'sent' ORDER BY issued, rowid",
    ).all(peer).map((row) => readOrder(JSON.parse(row["body"] as string)));
  }

  /** Orders, newest first; `live` only those that hold, or were refused not long ago. */
  orders(live: boolean, limit: number): OrderRecord[] {
    const order = "ORDER BY issued DESC, rowid DESC LIMIT";
    return live
      ? this.db.prepare(`${NEWEST} ${order} ?2`).all(Date.now(), limit).map(orderRecord)
      : this.db.prepare(`SELECT * FROM orders ${order} ?`).all(limit).map(orderRecord);
  }

  /** How an order stands at each peer that was told. */
  orderById(id: string): OrderRecord[] {
    return this.db.prepare("SELECT * FROM orders WHERE id = ?").all(id).map(orderRecord);
  }

  /** The orders about a host that hold, one a peer. */
  holding(host: string): OrderRecord[] {
    return this.db.prepare(
      `${NEWEST} AND o.state IN ('sent', 'done') AND json_extract(o.body, '$.host') = ?2`,
    )
      .all(Date.now(), host).map(orderRecord);
  }

  /**
   * Does work whose commit does not wait for the disk. A crash of the console takes nothing of it back, a loss of power may:
   * for what pages would wait for all the time, and what is found again.
   */
  loosely<T>(work: () => T): T {
    this.db.exec("PRAGMA synchronous=NORMAL");
    try {
      return work();
    } finally {
      this.db.exec("PRAGMA synchronous=FULL");
    }
  }

  /** Keeps an outbreak; without an `id` it is a new one. @returns its number. */
  saveOutbreak(o: Omit<Outbreak, "id"> & { readonly id: number | undefined }): number {
    const values = [o.kind, o.signature, o.first, o.last, o.alerts, JSON.stringify(o.hosts)];
    if (o.id !== undefined) {
      this.db.prepare(
        "UPDATE outbreaks SET kind=?, signature=?, first=?, last=?, alerts=?, hosts=? WHERE id=?",
      ).run(...values, o.id);
      return o.id;
    }
    const { lastInsertRowid } = this.db.prepare(
      "INSERT INTO outbreaks (kind, signature, first, last, alerts, hosts) VALUES (?, ?, ?, ?, ?, ?)",
    ).run(...values);
    return Number(lastInsertRowid);
  }

  /** Outbreaks, newest first. */
  outbreaks(limit: number): Outbreak[] {
    return this.db.prepare("SELECT * FROM outbreaks ORDER BY last DESC LIMIT ?").all(limit)
      .map((row) => ({ ...row, hosts: JSON.parse(row["hosts"] as string) } as unknown as Outbreak));
  }

  /** Rollouts, newest first. */
  rollouts(limit: number): Rollout[] {
    const rows = this.db.prepare(
      `SELECT rollouts.*, version FROM rollouts JOIN bundles USING (digest)
        ORDER BY rollouts.id DESC LIMIT ?`,
    ).all(limit);
    const placements = this.db.prepare(
      "SELECT peer, phase, why, at, canary FROM placements WHERE rollout = ? ORDER BY peer",
    );
    return rows.map((row) => ({
      ...row,
      ended: row["ended"] ?? undefined,
      placements: placements.all(row["id"] as number).map((p) => ({
        ...p,
        canary: p["canary"] === 1,
      })),
    } as unknown as Rollout));
  }

  /** Lets go of the file. */
  close(): void {
    this.db.close();
  }
}

function orderRecord(row: Readonly<Record<string, unknown>>): OrderRecord {
  const { peer, until, state, why } = row as unknown as OrderRecord;
  return { order: readOrder(JSON.parse(row["body"] as string)), peer, until, state, why };
}
