/**
 * The file of alerts as a Worker: a commit waits for the disk, and a search looks at many rows, and neither may hold up who
 * has peers and pages to answer. {@link SqliteThread} is the other end.
 *
 * @module
 */
import { type AlertRow, SqliteStore } from "./sqlite_store.ts";
import { type AlertFilter, StoreError } from "./store.ts";

/** What the thread can do, by name; {@link StoreRequest.call} is one of them. */
function connect(path: string) {
  const store = new SqliteStore(path, true);
  return {
    position: (ni: string, spool: string) => store.position(ni, spool),
    keep: (rows: readonly AlertRow[], now: number) => store.keep(rows, now),
    prune: (olderThan: number, mostOfOne: number) => store.prune(olderThan, mostOfOne),
    list: (filter: AlertFilter) => store.queries.list(filter),
    rates: (since: number, until: number, step: number) => store.queries.rates(since, until, step),
    close: () => store.close(),
  };
}

/** What the main thread wants; `open` comes first, with the path. */
export interface StoreRequest {
  readonly id: number;
  readonly call: "open" | keyof ReturnType<typeof connect>;
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
  open: (path: string) => {
    calls = connect(path);
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
