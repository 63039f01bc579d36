/**
 * Log-in by single-use links, and the sessions that come of it. Only digests are kept: who reads the file cannot log in.
 *
 * @module
 */
import { createHash, randomBytes } from "node:crypto";
import type { ConsoleState, Role, WebSession } from "../state.ts";

/** Milliseconds that a link may be used. */
export const LINK_MS = 10 * 60_000;
/** Milliseconds of a session without a word, and at all. */
const IDLE_MS = 60 * 60_000;
const LONGEST_MS = 12 * 3600_000;
/** Failures in a minute, of all, after which nobody may try until it is over. */
const FAILURES_A_MINUTE = 30;

const digest = (secret: string) => createHash("sha256").update(secret).digest("hex");
const secret = () => randomBytes(32).toString("base64url");

/** Why somebody is not let in. */
export type LoginFailure = "unknown" | "used" | "expired" | "too-many";

/** Links and sessions. */
export class Logins {
  readonly #state: ConsoleState;
  #minute = 0;
  #failures = 0;

  constructor(state: ConsoleState) {
    this.#state = state;
  }

  /** Makes a link's secret for a person. */
  link(user: string, role: Role, lifetime: number = LINK_MS): { secret: string; expires: number } {
    const text = secret();
    const expires = Date.now() + lifetime;
    this.#state.db.prepare("DELETE FROM links WHERE expires < ?").run(Date.now() - 7 * 86_400_000);
    this.#state.db.prepare("INSERT INTO links VALUES (?, ?, ?, ?, NULL)")
      .run(digest(text), user, role, expires);
    return { secret: text, expires };
  }

  /** Uses a link up. */
  login(link: string): { cookie: string; session: WebSession } | LoginFailure {
    const now = Date.now();
    const minute = Math.floor(now / 60_000);
    if (minute !== this.#minute) [this.#minute, this.#failures] = [minute, 0];
    if (this.#failures >= FAILURES_A_MINUTE) return "too-many";
    const { db } = this.#state;
    const row = db.prepare("SELECT user, role, expires, used FROM links WHERE hash = ?")
      .get(digest(link)) as
        | { user: string; role: Role; expires: number; used: number | null }
        | undefined;
    const failure = row === undefined
      ? "unknown"
      : row.used !== null
      ? "used"
      : row.expires <= now
      ? "expired"
      : undefined;
    if (row === undefined || failure !== undefined) {
      this.#failures++;
      return failure ?? "unknown";
    }
    // Used up in the same statement that looks, so that it cannot be used twice.
    const { changes } = db.prepare("UPDATE links SET used = ? WHERE hash = ? AND used IS NULL")
      .run(now, digest(link));
    if (Number(changes) !== 1) return "used";
    const cookie = secret();
    const session = {
      user: row.user,
      role: row.role,
      csrf: secret(),
      expires: now + LONGEST_MS,
    };
    db.prepare("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)")
      .run(digest(cookie), session.user, session.role, session.csrf, now, now, session.expires);
    return { cookie, session };
  }

  /** Whom a cookie stands for; undefined: for nobody any more. */
  session(cookie: string): WebSession | undefined {
    const now = Date.now();
    const hash = digest(cookie);
    const row = this.#state.db.prepare("SELECT * FROM sessions WHERE hash = ?").get(hash) as
      | (WebSession & { seen: number })
      | undefined;
    if (row === undefined) return undefined;
    if (row.expires <= now || row.seen + IDLE_MS <= now) {
      this.logout(cookie);
      return undefined;
    }
    // Not with each request, and without waiting for the disk: where it is lost, the session ends sooner.
    if (now - row.seen > 60_000) {
      this.#state.loosely(() =>
        this.#state.db.prepare("UPDATE sessions SET seen = ? WHERE hash = ?").run(now, hash)
      );
    }
    return { user: row.user, role: row.role, csrf: row.csrf, expires: row.expires };
  }

  /** Ends a session. */
  logout(cookie: string): void {
    this.#state.db.prepare("DELETE FROM sessions WHERE hash = ?").run(digest(cookie));
  }

  /** Who is logged in, the newest first. */
  sessions(): { user: string; role: Role; created: number; seen: number; expires: number }[] {
    const now = Date.now();
    return this.#state.db.prepare(
      `SELECT user, role, created, seen, expires FROM sessions WHERE expires > ? AND seen > ?
        ORDER BY created DESC LIMIT 1000`,
    ).all(now, now - IDLE_MS) as never;
  }

  /** Ends all sessions and links of a person. @returns how many sessions. */
  revoke(user: string): number {
    this.#state.db.prepare("DELETE FROM links WHERE user = ?").run(user);
    return Number(
      this.#state.db.prepare("DELETE FROM sessions WHERE user = ?").run(user).changes,
    );
  }
}
