/**
 * The durable record of pinholes: wanted, applied, closed, and why. Written before the enforcer is.
 *
 * SQLite in WAL mode with `synchronous=NORMAL`: a commit survives the death of the process. What a loss of
 * power could take back is worthless by then, since sockets, processes and kernel sets are gone as well.
 *
 * @module
 */
import {
  DatabaseSync,
  type SQLInputValue,
  type SQLOutputValue,
  type StatementSync,
} from "node:sqlite";
import { type IpAddress, parseIp } from "../net/ip.ts";
import type {
  CloseReason,
  Pinhole,
  PinholeOrigin,
  PinholeState,
  Protocol,
  Requester,
} from "../pinhole/pinhole.ts";

const SCHEMA_VERSION = 2;

const COLUMNS = `id INTEGER PRIMARY KEY, proto TEXT NOT NULL, source TEXT NOT NULL,
  source_port INTEGER NOT NULL, destination TEXT NOT NULL, destination_port INTEGER NOT NULL,
  state TEXT NOT NULL, delegate TEXT NOT NULL, user TEXT NOT NULL, uid INTEGER NOT NULL,
  pid INTEGER NOT NULL, pid_start INTEGER NOT NULL, program TEXT NOT NULL, cookie INTEGER NOT NULL,
  rule TEXT NOT NULL, requested_at INTEGER NOT NULL, opened_at INTEGER, expires_at INTEGER,
  idle INTEGER, packets INTEGER NOT NULL, bytes INTEGER NOT NULL, origin TEXT`;

const NAMES =
  `id, proto, source, source_port, destination, destination_port, state, delegate, user, uid,
  pid, pid_start, program, cookie, rule, requested_at, opened_at, expires_at, idle, packets, bytes,
  origin`;

/** The same for reading: what may need 64 bits as text, since numbers have 53. */
const READ_NAMES = NAMES.replace("pid_start", "CAST(pid_start AS TEXT)")
  .replace("cookie", "CAST(cookie AS TEXT)");

/** A statement whose rows are arrays; Deno's types do not know that yet. */
type ArrayStatement = Omit<StatementSync, "all"> & {
  setReturnArrays(on: boolean): void;
  all(last: number): SQLOutputValue[][];
};

/**
 * Pages in the write-ahead log at which SQLite itself carries them into the database, in the middle of
 * whatever is going on: that waits for the disk, some 15 ms. It comes to this only when there is no quiet
 * moment for {@link Ledger.tidy} among many hundred pinholes.
 */
const MOST_PAGES = 4000;
/** Transactions, or new rows, after which it is worth while to tidy up. */
const WORTH_WHILE = 200;
const MANY_ROWS = 5000;

/** Rows that one statement inserts: one by one they take half as long again. */
const ROWS_AT_ONCE = 50;
const ROW = `(${NAMES.split(",").map(() => "?").join()})`;

/** Rows read at a time. */
const PAGE = 1000;

/** A ledger that cannot be used; it is left as it is for repair. */
export class LedgerError extends Error {
  override readonly name = "LedgerError";
  readonly next: string;
  constructor(message: string, options: ErrorOptions & { readonly next?: string } = {}) {
    super(message, options);
    this.next = options.next ??
      "it was left as it is, for repair; with it moved away, a new one is made at the next start, and " +
        "what is open ends with its lease";
  }
}

/** One ledger file, held by one process at a time. */
export class Ledger {
  readonly #db: DatabaseSync;
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  readonly #insert: StatementSync;
  readonly #insertMany: StatementSync;
  readonly #state: StatementSync;
  readonly #archive: StatementSync;
  readonly #remove: StatementSync;
  readonly #prune: StatementSync;
  #nextId: number;
  #inTransaction = false;
  /** What the present transaction inserts, and has not inserted yet. */
  #inserting: Pinhole[] = [];
  /** Transactions and new rows since the log was last carried into the database. */
  #commits = 0;
  #rows = 0;

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
        PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=0;
        PRAGMA wal_autocheckpoint=${MOST_PAGES};`);
      this.#migrate();
      this.#nextId = this.#highestId() + 1;
    } catch (error) {
      db?.close();
      const why = error instanceof Error ? error.message : String(error);
      if (/locked/.test(why)) {
        throw new LedgerError(`Cannot use ledger ${path}: another diaper holds it`, {
          cause: error,
          next: "stop the other one, or give this one a state_dir of its own; see diaper.yaml(5)",
        });
      }
      throw new LedgerError(`Cannot use ledger ${path}: ${why}`, { cause: error });
    }
    this.#begin = this.#db.prepare("BEGIN IMMEDIATE");
    this.#commit = this.#db.prepare("COMMIT");
    this.#insert = this.#db.prepare(`INSERT INTO live (${NAMES}) VALUES ${ROW}`);
    const rows = Array.from({ length: ROWS_AT_ONCE }, () => ROW).join();
    this.#insertMany = this.#db.prepare(`INSERT INTO live (${NAMES}) VALUES ${rows}`);
    this.#state = this.#db.prepare(
      `UPDATE live SET state=?, opened_at=?, expires_at=?, packets=?, bytes=?, program=? WHERE id=?`,
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
      this.#insertRest();
      this.#commit.run();
      this.#commits++;
    } catch (error) {
      this.#inserting = [];
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

  /** Takes over what another controller has left, in place of what is here. */
  takeOver(pinholes: readonly Pinhole[], nextId: number): void {
    this.transaction(() => {
      this.#db.exec("DELETE FROM live");
      for (const p of pinholes) this.insert(p);
    });
    this.#nextId = Math.max(this.#nextId, nextId);
  }

  /** Records a pinhole that is wanted. The program's name may follow with {@link update}. */
  insert(p: Pinhole): void {
    this.#rows++;
    if (this.#inTransaction) this.#inserting.push(p);
    else this.#insert.run(...columns(p));
  }

  /** Records a pinhole's present state, times, counters and program. */
  update(p: Pinhole): void {
    this.#insertRest();
    this.#state.run(
      p.state,
      p.openedAt ?? null,
      p.expiresAt ?? null,
      p.packets,
      p.bytes,
      p.requester.program,
      p.id,
    );
  }

  /** Moves a pinhole from the living to the history. */
  archive(p: Pinhole, reason: CloseReason, at: number): void {
    this.#insertRest();
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
   * All pinholes that are not closed, oldest first. What is written meanwhile may be missing.
   *
   * @throws {LedgerError} when a row makes no sense.
   */
  *live(): Generator<Pinhole> {
    // By pages: no statement is open while the caller works, and rows as arrays cost a third.
    const page = this.#db.prepare(
      `SELECT ${READ_NAMES} FROM live WHERE id > ? ORDER BY id LIMIT ${PAGE}`,
    ) as unknown as ArrayStatement;
    page.setReturnArrays(true);
    const reader = new RowReader();
    let last = 0;
    for (;;) {
      const rows = page.all(last);
      for (const row of rows) yield reader.read(row);
      if (rows.length < PAGE) return;
      last = Number((rows[rows.length - 1] as SQLOutputValue[])[0]);
    }
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

  /**
   * Carries the write-ahead log into the database, when that is worth while. Waits for the disk: for quiet
   * moments.
   */
  tidy(): void {
    if (this.#commits < WORTH_WHILE && this.#rows < MANY_ROWS) return;
    this.#commits = this.#rows = 0;
    this.#db.exec("PRAGMA wal_checkpoint(PASSIVE)");
  }

  /** Lets go of the file. */
  close(): void {
    this.#db.close();
  }

  /** Inserts what the present transaction has not inserted yet. */
  #insertRest(): void {
    const pinholes = this.#inserting;
    if (pinholes.length === 0) return;
    this.#inserting = [];
    const whole = pinholes.length - pinholes.length % ROWS_AT_ONCE;
    for (let from = 0; from < whole; from += ROWS_AT_ONCE) {
      const values: SQLInputValue[] = [];
      for (let i = from; i < from + ROWS_AT_ONCE; i++) {
        values.push(...columns(pinholes[i] as Pinhole));
      }
      this.#insertMany.run(...values);
    }
    for (let i = whole; i < pinholes.length; i++) {
      this.#insert.run(...columns(pinholes[i] as Pinhole));
    }
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
    if (version === 1) {
      // Pinholes of other hosts came with schema 2.
      this.#db.exec(`BEGIN;
        ALTER TABLE live ADD COLUMN origin TEXT;
        ALTER TABLE history ADD COLUMN origin TEXT;
        PRAGMA user_version=${SCHEMA_VERSION};
        COMMIT;`);
      return;
    }
    this.#db.exec(`BEGIN;
      CREATE TABLE live (${COLUMNS}) STRICT;
      CREATE TABLE history (${COLUMNS}, closed_at INTEGER NOT NULL, reason TEXT NOT NULL) STRICT;
      CREATE INDEX history_closed_at ON history (closed_at);
      CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
      PRAGMA user_version=${SCHEMA_VERSION};
      COMMIT;`);
  }
}

/** A row, in the order of {@link NAMES}. */
function columns(p: Pinhole): SQLInputValue[] {
  const { tuple: t, requester: r } = p;
  return [
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
    r.programIsLate === true ? "" : r.program,
    BigInt.asIntN(64, p.cookie),
    p.rule,
    p.requestedAt,
    p.openedAt ?? null,
    p.expiresAt ?? null,
    p.idle ?? null,
    p.packets,
    p.bytes,
    p.origin === undefined ? null : originText(p.origin),
  ];
}

function originText(origin: PinholeOrigin): string {
  return JSON.stringify({ ...origin, cookie: String(origin.cookie) });
}

function readOrigin(text: string): PinholeOrigin {
  const value = JSON.parse(text) as Record<keyof PinholeOrigin, string>;
  return { ...value, cookie: BigInt(value.cookie) };
}

/** Makes pinholes of rows. What many of them share is made once: there may be a million. */
class RowReader {
  readonly #addresses = new Map<string, IpAddress>();
  readonly #strings = new Map<string, string>();
  readonly #now = performance.now();
  #requester: Requester | undefined;

  /** @param row the columns of {@link READ_NAMES}. */
  read(row: SQLOutputValue[]): Pinhole {
    const text = (column: number) => row[column] as string;
    const number = (column: number) => row[column] as number;
    const optional = (column: number) => row[column] === null ? undefined : number(column);
    const cookie = text(13);
    return {
      id: number(0),
      tuple: {
        protocol: text(1) as Protocol,
        source: this.#address(row, 2),
        sourcePort: number(3),
        destination: this.#address(row, 4),
        destinationPort: number(5),
      },
      requester: this.#requesterOf(row),
      cookie: cookie === "0" ? 0n : BigInt.asUintN(64, BigInt(cookie)),
      rule: this.#shared(text(14)),
      state: text(6) as PinholeState,
      requestedAt: number(15),
      openedAt: optional(16),
      expiresAt: optional(17),
      idle: optional(18),
      activeAt: this.#now,
      leasedUntil: 0,
      packets: number(19),
      bytes: number(20),
      ...(row[21] === null ? {} : { origin: readOrigin(text(21)) }),
    };
  }

  #requesterOf(row: SQLOutputValue[]): Requester {
    const [delegate, user, uid, pid, start, program] = row.slice(7, 13) as [
      string,
      string,
      number,
      number,
      string,
      string,
    ];
    const last = this.#requester;
    if (
      last !== undefined && last.pid === pid && last.uid === uid && last.delegate === delegate &&
      last.user === user && last.program === program && String(last.pidStart) === start
    ) return last;
    return this.#requester = {
      delegate: this.#shared(delegate),
      user: this.#shared(user),
      uid,
      pid,
      pidStart: BigInt(start),
      program: this.#shared(program),
    };
  }

  #address(row: SQLOutputValue[], column: number): IpAddress {
    const text = row[column] as string;
    let address = this.#addresses.get(text);
    if (address === undefined) {
      address = parseIp(text);
      if (address === undefined) {
        throw new LedgerError(`Cannot read pinhole ${row[0]} from the ledger: bad address`);
      }
      this.#addresses.set(text, address);
    }
    return address;
  }

  #shared(text: string): string {
    const known = this.#strings.get(text);
    if (known !== undefined) return known;
    this.#strings.set(text, text);
    return text;
  }
}
