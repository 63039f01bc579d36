/**
 * The default store, with a thread of its own that writes and searches, so that neither the disk nor a long search holds up
 * the console. What an index answers is read here, by a second connection: the write-ahead log lets one read while the
 * other waits for the disk, and a page need not wait its turn in another thread. Seen from outside it is a store as any
 * other: an alert is kept when `append` resolves.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { startWorker } from "../sys/runtime.ts";
import { type AlertRecord, isLong, isSearch, SqliteQueries, stored } from "./sqlite_queries.ts";
import { alertRow, storedAlerts } from "./sqlite_store.ts";
import type { StoreAnswer, StoreRequest } from "./sqlite_worker.ts";
import {
  type AlertFields,
  alertFields,
  type AlertFilter,
  type AlertRate,
  type AlertStore,
  type IncomingAlert,
  type NiTotals,
  type SpoolPosition,
  type StoredAlert,
  StoreError,
} from "./store.ts";

/** Name of the worker in main.ts. */
const ROLE = "alerts";
/** Milliseconds that a question may wait: a reader is hardly ever in anybody's way. */
const BUSY_MS = 1000;

/** The file of alerts, from the main thread. */
export class SqliteThread implements AlertStore {
  readonly #worker = startWorker(ROLE);
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #last = 0;
  #db: DatabaseSync | undefined;

  /**
   * Nothing listens for the thread's errors: what it does not tell as an answer ends the whole console, which is better than
   * one that takes alerts and keeps none.
   */
  private constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<StoreAnswer>) => {
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      const { error } = data;
      if (error === undefined) waiting?.resolve(data.result);
      else if (error.next === undefined) waiting?.reject(new Error(error.message));
      else waiting?.reject(new StoreError(error.message, error.next));
    };
  }

  /**
   * Opens the file, and makes it where there is none. Only one console may: it holds `console.sqlite` beside it.
   *
   * @throws {StoreError} when the file is damaged or of a newer version.
   */
  static async open(path: string): Promise<SqliteThread> {
    const thread = new SqliteThread();
    try {
      await thread.#call("open", path);
      thread.#db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_MS });
      return thread;
    } catch (error) {
      thread.#worker.terminate();
      throw error;
    }
  }

  /** As {@link AlertStore.position}. */
  position(ni: string, spool: string): Promise<SpoolPosition> {
    return this.#call("position", ni, spool);
  }

  /** As {@link AlertStore.append}. */
  async append(alerts: readonly IncomingAlert[]): Promise<StoredAlert[]> {
    const now = Date.now();
    const fields = alerts.map(({ event }) => alertFields(event, now));
    const rows = alerts.map((alert, i) => alertRow(alert, fields[i] as AlertFields));
    const ids = await this.#call<number[]>("keep", rows, now);
    return storedAlerts(alerts, fields, ids, now);
  }

  /** As {@link AlertStore.list}. */
  async list(filter: AlertFilter): Promise<StoredAlert[]> {
    const rows = isSearch(filter)
      ? await this.#call<AlertRecord[]>("list", filter)
      : this.#queries.list(filter);
    return rows.map(stored);
  }

  /** As {@link AlertStore.get}. */
  get(id: number): Promise<StoredAlert | undefined> {
    const row = this.#queries.get(id);
    return Promise.resolve(row === undefined ? undefined : stored(row));
  }

  /** As {@link AlertStore.capture}. */
  capture(id: number): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.#queries.capture(id));
  }

  /** As {@link AlertStore.rates}. */
  async rates(since: number, until: number, step: number): Promise<AlertRate[]> {
    return isLong(since, until)
      ? await this.#call("rates", since, until, step)
      : this.#queries.rates(since, until, step);
  }

  /** As {@link AlertStore.totals}. */
  totals(): Promise<NiTotals[]> {
    return Promise.resolve(this.#queries.totals());
  }

  /** As {@link AlertStore.prune}. */
  prune(olderThan: number, mostOfOne: number): Promise<number> {
    return this.#call("prune", olderThan, mostOfOne);
  }

  /** As {@link AlertStore.close}. */
  async close(): Promise<void> {
    // The writer last: who closes the file last carries the log into it, and only the writer may.
    this.#db?.close();
    this.#db = undefined;
    await this.#call("close");
    this.#worker.terminate();
  }

  get #queries(): SqliteQueries {
    if (this.#db === undefined) throw new Error("the alerts are closed");
    return new SqliteQueries(this.#db);
  }

  #call<T>(call: StoreRequest["call"], ...args: readonly unknown[]): Promise<T> {
    const id = ++this.#last;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    this.#worker.postMessage({ id, call, args } satisfies StoreRequest);
    return waiting.promise as Promise<T>;
  }
}
