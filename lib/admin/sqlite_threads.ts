/**
 * The default store, in threads of its own: one writes, one answers questions, so that neither the disk nor a long search
 * holds up the console. Seen from here it is a store as any other: an alert is kept when `append` resolves.
 *
 * @module
 */
import { startWorker } from "../sys/runtime.ts";
import { type AlertRecord, stored } from "./sqlite_queries.ts";
import { alertRow, storedAlerts } from "./sqlite_store.ts";
import type { StoreAnswer, StorePart, StoreRequest } from "./sqlite_worker.ts";
import {
  alertFields,
  type AlertFields,
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

/** The file of alerts, from the main thread. */
export class SqliteThreads implements AlertStore {
  readonly #writer = new Connection();
  readonly #reader = new Connection();

  private constructor() {}

  /**
   * Opens the file, and makes it where there is none. Only one console may: it holds `console.sqlite` beside it.
   *
   * @throws {StoreError} when the file is damaged or of a newer version.
   */
  static async open(path: string): Promise<SqliteThreads> {
    const threads = new SqliteThreads();
    try {
      await threads.#writer.open("writer", path);
      await threads.#reader.open("reader", path);
      return threads;
    } catch (error) {
      threads.#writer.end();
      threads.#reader.end();
      throw error;
    }
  }

  /** As {@link AlertStore.position}. */
  position(ni: string, spool: string): Promise<SpoolPosition> {
    return this.#writer.call("position", ni, spool);
  }

  /** As {@link AlertStore.append}. */
  async append(alerts: readonly IncomingAlert[]): Promise<StoredAlert[]> {
    const now = Date.now();
    const fields = alerts.map(({ event }) => alertFields(event, now));
    const rows = alerts.map((alert, i) => alertRow(alert, fields[i] as AlertFields));
    const ids = await this.#writer.call<number[]>("keep", rows, now);
    return storedAlerts(alerts, fields, ids, now);
  }

  /** As {@link AlertStore.list}. */
  async list(filter: AlertFilter): Promise<StoredAlert[]> {
    return (await this.#reader.call<AlertRecord[]>("list", filter)).map(stored);
  }

  /** As {@link AlertStore.get}. */
  async get(id: number): Promise<StoredAlert | undefined> {
    const row = await this.#reader.call<AlertRecord | undefined>("get", id);
    return row === undefined ? undefined : stored(row);
  }

  /** As {@link AlertStore.capture}. */
  capture(id: number): Promise<Uint8Array | undefined> {
    return this.#reader.call("capture", id);
  }

  /** As {@link AlertStore.rates}. */
  rates(since: number, until: number, step: number): Promise<AlertRate[]> {
    return this.#reader.call("rates", since, until, step);
  }

  /** As {@link AlertStore.totals}. */
  totals(): Promise<NiTotals[]> {
    return this.#reader.call("totals");
  }

  /** As {@link AlertStore.prune}. */
  prune(olderThan: number, mostOfOne: number): Promise<number> {
    return this.#writer.call("prune", olderThan, mostOfOne);
  }

  /** As {@link AlertStore.close}. */
  async close(): Promise<void> {
    // The writer last: who closes the file last carries the log into it, and only the writer may.
    for (const connection of [this.#reader, this.#writer]) {
      await connection.call("close");
      connection.end();
    }
  }
}

/**
 * One thread with its connection. Nothing listens for its errors: what it does not tell as an answer ends the whole
 * console, which is better than one that takes alerts and keeps none.
 */
class Connection {
  readonly #worker = startWorker(ROLE);
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #last = 0;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<StoreAnswer>) => {
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      const { error } = data;
      if (error === undefined) waiting?.resolve(data.result);
      else if (error.next === undefined) waiting?.reject(new Error(error.message));
      else waiting?.reject(new StoreError(error.message, error.next));
    };
  }

  open(part: StorePart, path: string): Promise<void> {
    return this.call("open", part, path);
  }

  call<T>(call: StoreRequest["call"], ...args: readonly unknown[]): Promise<T> {
    const id = ++this.#last;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    this.#worker.postMessage({ id, call, args } satisfies StoreRequest);
    return waiting.promise as Promise<T>;
  }

  end(): void {
    this.#worker.terminate();
  }
}
