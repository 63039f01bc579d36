/**
 * The file of alerts in a thread of its own: what any store promises, and that questions do not wait for the writer.
 */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { SqliteStore } from "../../lib/admin/sqlite_store.ts";
import { SqliteThread } from "../../lib/admin/sqlite_thread.ts";
import { StoreError } from "../../lib/admin/store.ts";
import { alertEvent } from "./support.ts";

function incoming(seq: number, capture = new Uint8Array()) {
  return { ni: "ni1", spool: "s", seq, event: alertEvent(`a${seq}`), capture };
}

Deno.test("alerts in a thread: kept once, found again with their packets, by this and by a later console", async () => {
  const directory = Deno.makeTempDirSync();
  const path = `${directory}/alerts.sqlite`;
  const packets = Uint8Array.of(1, 2, 3);
  let store = await SqliteThread.open(path);
  const first = await store.append([incoming(1), incoming(3, packets)]);
  assert.deepEqual(first.map((a) => [a.id, a.seq, a.capture]), [[1, 1, 0], [2, 3, 3]]);
  const again = await store.append([incoming(1), incoming(3, packets), incoming(4)]);
  assert.deepEqual(again.map((a) => a.signature), ["a4"]);
  assert.deepEqual(await store.list({ limit: 10, oldest: true }), [...first, ...again]);
  assert.deepEqual(await store.list({ limit: 10, ni: "ni1", severity: 3 }), [
    ...again,
    ...first.toReversed(),
  ]);
  assert.deepEqual(await store.list({ limit: 10, ni: "another" }), []);
  assert.deepEqual(await store.get(2), first[1]);
  assert.equal(await store.get(99), undefined);
  assert.deepEqual(await store.capture(2), packets);
  assert.deepEqual(await store.totals(), [{ ni: "ni1", alerts: 3, lost: 1 }]);
  const at = first[0]?.received ?? 0;
  const rates = await store.rates(at - 60_000, at + 60_000, 10_000);
  assert.equal(rates.reduce((sum, { count }) => sum + count, 0), 3);
  assert.deepEqual(await store.position("ni1", "s"), { acked: 4, lost: 1 });
  await store.close();
  store = await SqliteThread.open(path);
  assert.deepEqual(await store.position("ni1", "s"), { acked: 4, lost: 1 });
  assert.equal(await store.prune(Date.now(), 1), 3);
  assert.deepEqual(await store.list({ limit: 10 }), []);
  await store.close();
  // All of it is in the one file, without a log beside it.
  assert.deepEqual([...Deno.readDirSync(directory)].map((e) => e.name), ["alerts.sqlite"]);
  const one = new SqliteStore(path);
  assert.deepEqual(await one.totals(), [{ ni: "ni1", alerts: 3, lost: 1 }]);
  await one.close();
  Deno.removeSync(directory, { recursive: true });
});

Deno.test("alerts in a thread: questions are answered while the writer waits", async () => {
  const directory = Deno.makeTempDirSync();
  const path = `${directory}/alerts.sqlite`;
  const store = await SqliteThread.open(path);
  await store.append([incoming(1)]);
  // What holds the writer up here is another writer; the disk would do the same.
  const other = new DatabaseSync(path, { timeout: 5000 });
  other.exec("BEGIN IMMEDIATE");
  const refused = assert.rejects(store.append([incoming(2)]), /locked/);
  assert.deepEqual((await store.list({ limit: 10 })).map((a) => a.signature), ["a1"]);
  await refused;
  other.exec("ROLLBACK");
  other.close();
  assert.deepEqual((await store.append([incoming(2)])).map((a) => a.id), [2]);
  await store.close();
  Deno.removeSync(directory, { recursive: true });
});

Deno.test("alerts in a thread: a damaged file is left as it is, and the reason comes with the next step", async () => {
  const directory = Deno.makeTempDirSync();
  const path = `${directory}/alerts.sqlite`;
  const damaged = "this is no database, and long enough to be looked at ".repeat(100);
  Deno.writeTextFileSync(path, damaged);
  await assert.rejects(
    SqliteThread.open(path),
    (error) =>
      error instanceof StoreError && /alerts.sqlite/.test(error.message) && error.next !== "",
  );
  assert.equal(Deno.readTextFileSync(path), damaged);
  Deno.removeSync(directory, { recursive: true });
});
