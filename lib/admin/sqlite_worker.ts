/**
 * One connection to the file of alerts as a Worker: a commit waits for the disk, and a search for many rows, and neither
 * may hold up who has peers and pages to answer. {@link SqliteThreads} is the other end.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { type AlertRow, SqliteStore } from "./sqlite_store.ts";
import { SqliteQueries } from "./sqlite_queries.ts";
import { type AlertFilter, StoreError } from "./store.ts";

/** Milliseconds that a question waits while the file is made anew after a crash. */
const BUSY_MS = 5000;

/** What a connection can do, by name; {@link StoreRequest.call} is one of them. */
function connect(part: StorePart, path: string) {
  if (part === "writer") {
    const store = new SqliteStore(path, true);
    return {
      position: (ni: string, spool: string) => store.position(ni, spool),
      keep: (rows: readonly AlertRow[], now: number) => store.keep(rows, now),
      prune: (olderThan: number, mostOfOne: number) => store.prune(olderThan, mostOfOne),
      close: () => store.close(),
    };
  }
  const db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_MS });
  const queries = new SqliteQueries(db);
  return {
    list: (filter: AlertFilter) => queries.list(filter),
    get: (id: number) => queries.get(id),
    capture: (id: number) => queries.capture(id),
    rates: (since: number, until: number, step: number) => queries.rates(since, until, step),
    totals: () => queries.totals(),
    close: () => db.close(),
  };
}

/** Which of the two connections. The writer is opened first, since it makes the file. */
export type StorePart = "writer" | "reader";

type Calls<T> = T extends unknown ? keyof T : never;

/** What the main thread wants; `open` comes first, with part and path. */
export interface StoreRequest {
  readonly id: number;
  readonly call: "open" | Calls<ReturnType<typeof connect>>;
  readonly args: readonly unknown[];
}

/** What came of it. */
export interface StoreAnswer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string; readonly next: string | undefined };
}

const scope = self as unknown as DedicatedWorkerGlobalScope;
let calls: Readonly<Record<string, (...args: never[]) => unknown>> = {
  open: (part: StorePart, path: string) => {
    calls = connect(part, path);
  },
};

scope.onmessage = async ({ data }: MessageEvent<StoreRequest>) => {
  const { id, call, args } = data;
  let answer: StoreAnswer;
  try {
    const work = calls[call];
    if (work === undefined) throw new Error(`there is no ${call} here`);
    answer = { id, result: await work(...args as never[]) };
  } catch (error) {
    const next = error instanceof StoreError ? error.next : undefined;
    answer = { id, error: { message: error instanceof Error ? error.message : `${error}`, next } };
  }
  scope.postMessage(answer);
};
