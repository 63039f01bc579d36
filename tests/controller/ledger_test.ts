import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { Ledger, LedgerError } from "../../lib/controller/ledger.ts";
import { type Pinhole, tupleText } from "../../lib/pinhole/pinhole.ts";
import { ip, makePinhole } from "./make.ts";

async function withDirectory(work: (directory: string) => void | Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "diaper-ledger-" });
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("Ledger gives back what was written, also with a 64-bit cookie", () =>
  withDirectory((directory) => {
    const path = `${directory}/ledger.db`;
    const first = new Ledger(path);
    const p = makePinhole(first.nextId(), 50000, {
      cookie: 0xffff_ffff_ffff_fffen,
      state: "opening",
      expiresAt: 1_800_000_000_000,
      idle: 600,
    });
    first.transaction(() => first.insert(p));
    p.state = "open";
    p.openedAt = 1_700_000_000_001;
    p.packets = 12;
    p.bytes = 3456;
    first.transaction(() => first.update(p));
    first.close();
    const second = new Ledger(path);
    const [found, ...more] = [...second.live()];
    second.close();
    assert.equal(more.length, 0);
    assert.ok(found !== undefined);
    const { activeAt: _a, leasedUntil: _l, ...stored } = found;
    const { activeAt: _b, leasedUntil: _m, ...wanted } = p;
    assert.deepEqual(stored, wanted);
  }));

Deno.test("Ledger.tidy() carries the log into the database itself, when there is enough of it", () =>
  withDirectory((directory) => {
    const path = `${directory}/ledger.db`;
    const ledger = new Ledger(path);
    let copies = 0;
    /** Pinholes in the database without its log. */
    const carried = () => {
      const copy = `${directory}/copy${copies++}.db`;
      Deno.copyFileSync(path, copy);
      const db = new DatabaseSync(copy);
      const tables = db.prepare("SELECT name FROM sqlite_master WHERE name='live'").all();
      const count = tables.length === 0
        ? 0
        : db.prepare("SELECT count(*) AS n FROM live").get()?.["n"];
      db.close();
      return count;
    };
    const add = (count: number) => {
      for (let i = 0; i < count; i++) {
        ledger.transaction(() => ledger.insert(makePinhole(ledger.nextId(), 50000)));
      }
    };
    add(10);
    ledger.tidy();
    assert.equal(carried(), 0, "it was not worth while");
    add(290);
    ledger.tidy();
    assert.equal(carried(), 300);
    add(1);
    ledger.close();
    const again = new Ledger(path);
    assert.equal([...again.live()].length, 301);
    again.close();
  }));

Deno.test("Ledger learns a program's name that comes late", () =>
  withDirectory((directory) => {
    const path = `${directory}/ledger.db`;
    const first = new Ledger(path);
    const { requester, ...rest } = makePinhole(first.nextId(), 50000);
    let read = false;
    const late = {
      ...requester,
      get program() {
        read = true;
        return "/usr/sbin/vsftpd";
      },
      programIsLate: true,
    };
    const p = { ...rest, requester: late };
    first.transaction(() => first.insert(p));
    assert.equal(read, false, "not before the answer");
    assert.equal([...first.live()][0]?.requester.program, "");
    first.transaction(() => first.update(p));
    first.close();
    const second = new Ledger(path);
    assert.equal([...second.live()][0]?.requester.program, "/usr/sbin/vsftpd");
    second.close();
  }));

Deno.test("Ledger gives back thousands in order, and each its own owner and addresses", () =>
  withDirectory((directory) => {
    const path = `${directory}/ledger.db`;
    const first = new Ledger(path);
    const wanted = Array.from({ length: 2500 }, (_, i) => {
      const p = makePinhole(first.nextId(), 1 + i);
      const source = ip(i % 3 === 0 ? "2001:db8::7" : `198.51.100.${i % 7}`);
      // Runs of rows with one owner, and a start time beyond what numbers hold exactly.
      const pidStart = 0x20_0000_0000_0001n + BigInt(i >> 2);
      const requester = { ...p.requester, user: `user${(i >> 3) % 5}`, pid: i >> 2, pidStart };
      return { ...p, tuple: { ...p.tuple, source }, requester };
    });
    first.transaction(() => wanted.forEach((p) => first.insert(p)));
    first.transaction(() => wanted.slice(1000, 1003).forEach((p) => first.archive(p, "stale", 1)));
    first.close();
    const second = new Ledger(path);
    const essence = (p: Pinhole) => [p.id, tupleText(p.tuple), p.requester, p.cookie, p.state];
    assert.deepEqual(
      [...second.live()].map(essence),
      wanted.filter((_, i) => i < 1000 || i >= 1003).map(essence),
    );
    second.close();
  }));

Deno.test("Ledger never gives an identity twice, also after a restart and pruning", () =>
  withDirectory((directory) => {
    const path = `${directory}/ledger.db`;
    const first = new Ledger(path);
    const p = makePinhole(first.nextId(), 50000);
    first.transaction(() => first.insert(p));
    first.transaction(() => first.archive(p, "socket-closed", 1_700_000_000_000));
    first.prune(1_700_000_000_001, 0);
    first.close();
    const second = new Ledger(path);
    const next = second.nextId();
    second.close();
    assert.ok(next > p.id, `${next} after ${p.id}`);
  }));

Deno.test("Ledger undoes a transaction that fails", () =>
  withDirectory((directory) => {
    const ledger = new Ledger(`${directory}/ledger.db`);
    assert.throws(() =>
      ledger.transaction(() => {
        ledger.insert(makePinhole(1, 50000));
        ledger.insert(makePinhole(1, 50001)); // the same identity
      }), /UNIQUE|constraint/i);
    assert.deepEqual([...ledger.live()], []);
    ledger.transaction(() => ledger.insert(makePinhole(1, 50000)));
    ledger.close();
  }));

Deno.test("Ledger keeps closed pinholes with the reason, as closed", () =>
  withDirectory((directory) => {
    const path = `${directory}/ledger.db`;
    const ledger = new Ledger(path);
    const p = makePinhole(1, 50000, { packets: 5, bytes: 700 });
    ledger.transaction(() => ledger.insert(p));
    ledger.transaction(() => ledger.archive(p, "by-hand", 1_700_000_000_500));
    ledger.close();
    const db = new DatabaseSync(path);
    const row = db.prepare("SELECT * FROM history").get();
    db.close();
    assert.equal(row?.["state"], "closed");
    assert.equal(row?.["reason"], "by-hand");
    assert.equal(row?.["packets"], 5);
    assert.equal(row?.["closed_at"], 1_700_000_000_500);
  }));

Deno.test("Ledger is held by one at a time", () =>
  withDirectory((directory) => {
    const first = new Ledger(`${directory}/ledger.db`);
    first.transaction(() => first.insert(makePinhole(1, 50000)));
    assert.throws(() => new Ledger(`${directory}/ledger.db`), /another diaper holds it/);
    first.close();
  }));

Deno.test("Ledger refuses a damaged file and leaves it as it is", () =>
  withDirectory((directory) => {
    const path = `${directory}/ledger.db`;
    Deno.writeTextFileSync(path, "this is not a database, but it is long enough to be read as one");
    assert.throws(() => new Ledger(path), LedgerError);
    assert.match(Deno.readTextFileSync(path), /^this is not a database/);
  }));

Deno.test("Ledger refuses a file of a newer version", () =>
  withDirectory((directory) => {
    const path = `${directory}/ledger.db`;
    const db = new DatabaseSync(path);
    db.exec("PRAGMA user_version=99");
    db.close();
    assert.throws(() => new Ledger(path), /newer diaper \(schema 99/);
  }));
