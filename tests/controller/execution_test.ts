import assert from "node:assert/strict";
import { AuditTrail } from "../../lib/controller/audit.ts";
import { Execution } from "../../lib/controller/execution.ts";
import { Ledger } from "../../lib/controller/ledger.ts";
import { PinholeTable } from "../../lib/controller/pinhole_table.ts";
import type { Pinhole } from "../../lib/pinhole/pinhole.ts";
import type { Verdict } from "../../lib/pinhole/request.ts";
import { FakeEnforcer } from "./fake_enforcer.ts";
import { makePinhole } from "./make.ts";

class Bench {
  readonly enforcer = new FakeEnforcer();
  readonly table = new PinholeTable();
  readonly #events: Record<string, unknown>[] = [];
  readonly ledger: Ledger;
  readonly audit: AuditTrail;
  readonly execution: Execution;
  readonly verdicts = new Map<number, Verdict>();

  constructor(directory: string) {
    this.ledger = new Ledger(`${directory}/ledger.db`);
    this.audit = new AuditTrail(`${directory}/audit.jsonl`);
    this.audit.watch((event) => this.#events.push(event));
    this.execution = new Execution(this.enforcer, this.ledger, this.table, this.audit, 3600);
  }

  get events(): readonly Record<string, unknown>[] {
    this.audit.flush();
    return this.#events;
  }

  open(port: number, change: Partial<Pinhole> = {}): Pinhole {
    const p = makePinhole(this.ledger.nextId(), port, change);
    this.execution.open(p, undefined, (v) => {
      assert.ok(!this.verdicts.has(p.id), "answered once");
      this.verdicts.set(p.id, v);
    });
    return p;
  }

  live(): string[] {
    return [...this.ledger.live()].map((p) => `${p.id}:${p.state}`);
  }

  types(): unknown[] {
    return this.events.map((e) => e["event_type"]);
  }
}

async function bench(work: (b: Bench) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "diaper-execution-" });
  const b = new Bench(directory);
  try {
    await work(b);
  } finally {
    b.audit.close();
    b.ledger.close();
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("Execution carries out what came together in one batch", () =>
  bench(async (b) => {
    for (let port = 50000; port < 50010; port++) b.open(port);
    await b.execution.flush();
    assert.deepEqual(b.enforcer.batches, [[
      "+1",
      "+2",
      "+3",
      "+4",
      "+5",
      "+6",
      "+7",
      "+8",
      "+9",
      "+10",
    ]]);
    assert.equal(b.enforcer.entries.size, 10);
    assert.ok([...b.verdicts.values()].every((v) => v.kind === "open"));
  }));

Deno.test("Execution writes the ledger before the enforcer", () =>
  bench(async (b) => {
    let seen: string[] = [];
    b.enforcer.answer = () => {
      seen = b.live();
      return undefined;
    };
    const p = b.open(50000);
    await b.execution.flush();
    assert.deepEqual(seen, ["1:opening"]);
    b.execution.settle();
    assert.deepEqual(b.live(), ["1:open"]);
    b.execution.close(p, "socket-closed");
    await b.execution.flush();
    assert.deepEqual(seen, ["1:closing"]);
    assert.deepEqual(b.live(), []);
  }));

Deno.test("Execution cancels an open and a close of the same pinhole in one batch", () =>
  bench(async (b) => {
    const p = b.open(50000);
    b.execution.close(p, "socket-closed");
    await b.execution.flush();
    assert.deepEqual(b.enforcer.batches, []);
    assert.equal(b.verdicts.get(p.id)?.kind, "unavailable");
    assert.equal(b.table.size, 0);
    assert.deepEqual(b.live(), []);
  }));

Deno.test("Execution keeps a tuple that two sockets need open until the last is gone", () =>
  bench(async (b) => {
    const first = b.open(50000);
    const second = b.open(50000, { cookie: 7n });
    await b.execution.flush();
    b.execution.close(first, "socket-closed");
    await b.execution.flush();
    assert.equal(b.enforcer.entries.size, 1);
    b.execution.close(second, "socket-closed");
    await b.execution.flush();
    assert.equal(b.enforcer.entries.size, 0);
    assert.equal(b.table.size, 0);
  }));

Deno.test("Execution gives each pinhole its own result when the enforcer is full", () =>
  bench(async (b) => {
    b.enforcer.answer = (c) =>
      c.action === "open" && c.id > 2
        ? { ok: false, reason: "full", message: "set is full" }
        : undefined;
    for (let port = 50000; port < 50004; port++) b.open(port);
    await b.execution.flush();
    assert.deepEqual(
      [...b.verdicts].map(([id, v]) => [id, v.kind]),
      [
        [1, "open"],
        [2, "open"],
        [3, "unavailable"],
        [4, "unavailable"],
      ].sort() as never,
    );
    assert.match(b.verdicts.get(3)?.why ?? "", /full/);
    b.execution.settle();
    assert.deepEqual(b.live(), ["1:open", "2:open"]);
    assert.equal(b.table.size, 2);
  }));

Deno.test("Execution reads back what the enforcer does not know", () =>
  bench(async (b) => {
    b.enforcer.answer = (c) => {
      if (c.id === 1) b.enforcer.entries.set("made", { tuple: c.tuple, packets: 0, bytes: 0 });
      return { ok: false, reason: "unknown", message: "timed out" };
    };
    const counters = b.enforcer.counters.bind(b.enforcer);
    b.enforcer.counters = async (tuples) => {
      const made = b.enforcer.entries.get("made")?.tuple;
      const found = await counters(tuples);
      return tuples.map((t, i) => t === made ? { packets: 0, bytes: 0 } : found[i]);
    };
    b.open(50000);
    b.open(50001);
    await b.execution.flush();
    assert.equal(b.verdicts.get(1)?.kind, "open", "it was made after all");
    assert.equal(b.verdicts.get(2)?.kind, "unavailable");
  }));

Deno.test("Execution answers when the enforcer breaks, and tries closes again", () =>
  bench(async (b) => {
    const p = b.open(50000);
    await b.execution.flush();
    b.enforcer.broken = new Error("no answer from the device");
    const counters = b.enforcer.counters;
    b.execution.close(p, "socket-closed");
    const q = b.open(50001);
    await b.execution.flush();
    assert.equal(b.verdicts.get(q.id)?.kind, "unavailable");
    assert.equal(p.state, "closing");
    assert.equal(b.execution.enforcerFailed, "no answer from the device");
    assert.deepEqual(b.live(), ["1:closing"]);
    b.enforcer.broken = undefined;
    b.enforcer.counters = counters;
    b.execution.retry();
    await b.execution.flush();
    assert.equal(b.enforcer.entries.size, 0);
    assert.deepEqual(b.live(), []);
    assert.ok(b.types().includes("enforcer.failed"));
  }));

Deno.test("Execution opens nothing when the ledger cannot be written, and still closes", () =>
  bench(async (b) => {
    const p = b.open(50000);
    await b.execution.flush();
    const transaction = b.ledger.transaction.bind(b.ledger);
    b.ledger.transaction = () => {
      throw new Error("database or disk is full");
    };
    const q = b.open(50001);
    b.execution.close(p, "socket-closed");
    await b.execution.flush();
    assert.match(b.verdicts.get(q.id)?.why ?? "", /disk is full/);
    assert.equal(b.enforcer.entries.size, 0, "closed without the ledger, and nothing opened");
    b.ledger.transaction = transaction;
  }));

Deno.test("Execution ends living connections of forced closes and of datagrams only", () =>
  bench(async (b) => {
    const tcp = b.open(50000);
    const forced = b.open(50001);
    const { tuple } = makePinhole(0, 50002);
    const udp = b.open(50002, { tuple: { ...tuple, protocol: "udp" } });
    await b.execution.flush();
    b.execution.close(tcp, "socket-closed");
    b.execution.close(forced, "by-hand");
    b.execution.close(udp, "socket-closed");
    await b.execution.flush();
    assert.deepEqual(b.enforcer.ended, [
      "tcp 198.51.100.7 > 192.0.2.1:50001",
      "udp 198.51.100.7 > 192.0.2.1:50002",
    ]);
  }));

Deno.test("Execution tells who, why and how much at the close", () =>
  bench(async (b) => {
    const p = b.open(50000);
    await b.execution.flush();
    for (const e of b.enforcer.entries.values()) [e.packets, e.bytes] = [9, 1976];
    b.execution.close(p, "expired");
    await b.execution.flush();
    const closed = b.events.find((e) => e["event_type"] === "pinhole.closed");
    assert.equal(closed?.["packets"], 9);
    assert.equal(closed?.["bytes"], 1976);
    assert.equal(closed?.["reason"], "expired");
    assert.equal(closed?.["user"], "nobody");
    assert.equal(closed?.["rule"], "site.policy:3");
  }));
