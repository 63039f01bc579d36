/**
 * The durable record of pinholes: wanted, applied, closed, and why. Written before the enforcer is.
 *
 * SQLite in WAL mode with `synchronous=NORMAL`: a commit survives the death of the process. What a loss of
 * power could take back is worthless by then, since sockets, processes and kernel sets are gone as well.
 *
 * @module
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { parseIp } from "../net/ip.ts";
import type { CloseReason, Pinhole, PinholeState, Protocol } from "../pinhole/pinhole.ts";

const SCHEMA_VERSION = 1;

const COLUMNS = `id INTEGER PRIMARY KEY, proto TEXT NOT NULL, source TEXT NOT NULL,
  source_port INTEGER NOT NULL, destination TEXT NOT NULL, destination_port INTEGER NOT NULL,
  state TEXT NOT NULL, delegate TEXT NOT NULL, user TEXT NOT NULL, uid INTEGER NOT NULL,
  pid INTEGER NOT NULL, pid_start INTEGER NOT NULL, program TEXT NOT NULL, cookie INTEGER NOT NULL,
  rule TEXT NOT NULL, requested_at INTEGER NOT NULL, opened_at INTEGER, expires_at INTEGER,
  idle INTEGER, packets INTEGER NOT NULL, bytes INTEGER NOT NULL`;

const NAMES =
  `id, proto, source, source_port, destination, destination_port, state, delegate, user, uid,
  pid, pid_start, program, cookie, rule, requested_at, opened_at, expires_at, idle, packets, bytes`;

/** A ledger that cannot be used; it is left as it is for repair. */
export class LedgerError extends Error {
  override readonly name = "LedgerError";
}

/** One ledger file, held by one process at a time. */
export class Ledger {
  readonly #db: DatabaseSync;
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  readonly #insert: StatementSync;
  readonly #state: StatementSync;
  readonly #archive: StatementSync;
  readonly #remove: StatementSync;
  readonly #prune: StatementSync;
  #nextId: number;
  #inTransaction = false;

  /**
   * Opens or makes the ledger.
   *
   * @throws {LedgerError} when it is damaged, made by a newer version, or held by another process.
   */
  constructor(path: string) {
    let db: DatabaseSync | undefined;
    try {
      this.#db = db = new DatabaseSync(path);
      // Exclusive: two controllers on one ledger would each undo what the other does.
      this.#db.exec(`PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;
        PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=0;`);
      this.#migrate();
      this.#nextId = this.#highestId() + 1;
    } catch (error) {
      db?.close();
      const why = error instanceof Error ? error.message : String(error);
      throw new LedgerError(
        /locked/.test(why)
          ? `Cannot use ledger ${path}: another diaper holds it`
          : `Cannot use ledger ${path}: ${why}`,
        { cause: error },
      );
    }
    this.#begin = this.#db.prepare("BEGIN IMMEDIATE");
    this.#commit = this.#db.prepare("COMMIT");
    this.#insert = this.#db.prepare(
      `INSERT INTO live (${NAMES}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
    );
    this.#state = this.#db.prepare(
      `UPDATE live SET state=?, opened_at=?, expires_at=?, packets=?, bytes=? WHERE id=?`,
    );
    this.#archive = this.#db.prepare(
      `INSERT INTO history (${NAMES}, closed_at, reason) SELECT ${
        NAMES.replace("state", "'closed'").replace("packets, bytes", "?, ?")
      }, ?, ? FROM live WHERE id=?`,
    );
    this.#remove = this.#db.prepare(`DELETE FROM live WHERE id=?`);
    this.#prune = this.#db.prepare(`DELETE FROM history WHERE id IN
      (SELECT id FROM history WHERE closed_at < ? OR id < ? LIMIT 1000)`);
  }

  /** A number that no pinhole of this ledger ever had. */
  nextId(): number {
    return this.#nextId++;
  }

  /**
   * Does all of `work` or nothing of it, durably.
   *
   * @throws what `work` throws, and SQLite's errors, such as a full disk.
   */
  transaction(work: () => void): void {
    if (this.#inTransaction) throw new Error("Cannot nest transactions of the ledger");
    this.#begin.run();
    this.#inTransaction = true;
    try {
      work();
      this.#commit.run();
    } catch (error) {
      try {
        this.#db.exec("ROLLBACK");
      } catch {
        // SQLite has rolled back by itself, as it does on a full disk; the first error says why.
      }
      throw error;
    } finally {
      this.#inTransaction = false;
    }
  }

  /** Records a pinhole that is wanted. */
  insert(p: Pinhole): void {
    const { tuple: t, requester: r } = p;
    this.#insert.run(
      p.id,
      t.protocol,
      t.source.text,
      t.sourcePort,
      t.destination.text,
      t.destinationPort,
      p.state,
      r.delegate,
      r.user,
      r.uid,
      r.pid,
      r.pidStart,
      r.program,
      BigInt.asIntN(64, p.cookie),
      p.rule,
      p.requestedAt,
      p.openedAt ?? null,
      p.expiresAt ?? null,
      p.idle ?? null,
      p.packets,
      p.bytes,
    );
  }

  /** Records a pinhole's present state, times and counters. */
  update(p: Pinhole): void {
    this.#state.run(
      p.state,
      p.openedAt ?? null,
      p.expiresAt ?? null,
      p.packets,
      p.bytes,
      p.id,
    );
  }

  /** Moves a pinhole from the living to the history. */
  archive(p: Pinhole, reason: CloseReason, at: number): void {
    this.#archive.run(p.packets, p.bytes, at, reason, p.id);
    this.#remove.run(p.id);
  }

  /**
   * Forgets some of the history that is older than `before` or beyond `keep` entries.
   *
   * @returns whether there may be more to forget.
   */
  prune(before: number, keep: number): boolean {
    this.setNote("highest_id", String(this.#nextId - 1));
    return Number(this.#prune.run(before, this.#nextId - keep).changes) === 1000;
  }

  /**
   * All pinholes that are not closed.
   *
   * @throws {LedgerError} when a row makes no sense.
   */
  *live(): Generator<Pinhole> {
    const select = this.#db.prepare(`SELECT ${NAMES} FROM live ORDER BY id`);
    select.setReadBigInts(true);
    for (const row of select.iterate()) yield fromRow(row as Record<string, unknown>);
  }

  /** A remembered word about the ledger as a whole, such as the boot it belongs to. */
  note(key: string): string | undefined {
    const row = this.#db.prepare("SELECT value FROM meta WHERE key=?").get(key);
    return row === undefined ? undefined : String(row["value"]);
  }

  /** Remembers a word about the ledger as a whole. */
  setNote(key: string, value: string): void {
    this.#db.prepare("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)").run(key, value);
  }

  /** Lets go of the file. */
  close(): void {
    this.#db.close();
  }

  #highestId(): number {
    const row = this.#db.prepare(
      `SELECT max((SELECT coalesce(max(id), 0) FROM live),
                  (SELECT coalesce(max(id), 0) FROM history)) AS id`,
    ).get();
    // The note covers identities whose rows were pruned.
    return Math.max(Number(row?.["id"] ?? 0), Number(this.note("highest_id") ?? 0));
  }

  #migrate(): void {
    const version = Number(this.#db.prepare("PRAGMA user_version").get()?.["user_version"]);
    if (version > SCHEMA_VERSION) {
      throw new Error(`made by a newer diaper (schema ${version}, known is ${SCHEMA_VERSION})`);
    }
    if (version === SCHEMA_VERSION) return;
    this.#db.exec(`BEGIN;
      CREATE TABLE live (${COLUMNS}) STRICT;
      CREATE TABLE history (${COLUMNS}, closed_at INTEGER NOT NULL, reason TEXT NOT NULL) STRICT;
      CREATE INDEX history_closed_at ON history (closed_at);
      CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
      PRAGMA user_version=${SCHEMA_VERSION};
      COMMIT;`);
  }
}

function fromRow(row: Record<string, unknown>): Pinhole {
  const source = parseIp(String(row["source"]));
  const destination = parseIp(String(row["destination"]));
  if (source === undefined || destination === undefined) {
    throw new LedgerError(`Cannot read pinhole ${row["id"]} from the ledger: bad address`);
  }
  const time = (name: string) => row[name] === null ? undefined : Number(row[name]);
  return {
    id: Number(row["id"]),
    tuple: {
      protocol: row["proto"] as Protocol,
      source,
      sourcePort: Number(row["source_port"]),
      destination,
      destinationPort: Number(row["destination_port"]),
    },
    requester: {
      delegate: String(row["delegate"]),
      user: String(row["user"]),
      uid: Number(row["uid"]),
      pid: Number(row["pid"]),
      pidStart: row["pid_start"] as bigint,
      program: String(row["program"]),
    },
    cookie: BigInt.asUintN(64, row["cookie"] as bigint),
    rule: String(row["rule"]),
    state: row["state"] as PinholeState,
    requestedAt: Number(row["requested_at"]),
    openedAt: time("opened_at"),
    expiresAt: time("expires_at"),
    idle: time("idle"),
    activeAt: Date.now(),
    leasedUntil: 0,
    packets: Number(row["packets"]),
    bytes: Number(row["bytes"]),
  };
}
