import assert from "node:assert/strict";
import { AuditTrail } from "../../lib/controller/audit.ts";
import { Execution, type ExecutionLimits } from "../../lib/controller/execution.ts";
import { Ledger } from "../../lib/controller/ledger.ts";
import { PinholeTable } from "../../lib/controller/pinhole_table.ts";
import { type Pinhole, tupleKey } from "../../lib/pinhole/pinhole.ts";
import { FakeEnforcer } from "./fake_enforcer.ts";
import { makePinhole } from "./make.ts";

interface Bench {
  readonly enforcer: FakeEnforcer;
  readonly execution: Execution;
  readonly answers: string[];
  open(port: number, delegate?: string): Pinhole;
}

async function bench(limits: ExecutionLimits, work: (b: Bench) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "diaper-line-" });
  const ledger = new Ledger(`${directory}/ledger.db`);
  const audit = new AuditTrail(`${directory}/audit.jsonl`);
  const enforcer = new FakeEnforcer();
  const execution = new Execution(enforcer, ledger, new PinholeTable(), audit, 3600, limits);
  const answers: string[] = [];
  try {
    await work({
      enforcer,
      execution,
      answers,
      open: (port, delegate) => {
        const plain = makePinhole(ledger.nextId(), port);
        const p = delegate === undefined
          ? plain
          : { ...plain, requester: { ...plain.requester, delegate } };
        execution.open(p, undefined, (v) => answers.push(`${p.id}:${v.kind}`));
        return p;
      },
    });
  } finally {
    audit.close();
    ledger.close();
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("Execution gives the enforcer batches of its best size, in order", () =>
  bench({ capacity: 1000, wait: 0, longestLine: 0, batch: 4 }, async (b) => {
    for (let port = 50000; port < 50010; port++) b.open(port);
    await b.execution.step();
    assert.equal(b.enforcer.batches.length, 1, "one batch a step");
    await b.execution.flush();
    assert.deepEqual(b.enforcer.batches.map((batch) => batch.length), [4, 4, 2]);
    assert.deepEqual(
      b.enforcer.batches.flat(),
      Array.from({ length: 10 }, (_, i) => `+${i + 1}`),
    );
  }));

Deno.test("Execution has requests over the capacity wait in line, and go on in order", () =>
  bench({ capacity: 2, wait: 60, longestLine: 2 }, async (b) => {
    const [first, , third, fourth] = [50000, 50001, 50002, 50003].map((port) => b.open(port));
    await b.execution.flush();
    assert.deepEqual(b.answers, ["1:open", "2:open"]);
    assert.equal(b.execution.held, 2);
    assert.equal(b.execution.waiting, 2);
    assert.equal(b.execution.positionOf(third as Pinhole), 1);
    assert.equal(b.execution.positionOf(fourth as Pinhole), 2);
    assert.match(b.execution.obstacle(true) ?? "", /2 more wait, the most that may/);
    b.execution.close(first as Pinhole, "socket-closed");
    await b.execution.flush();
    assert.deepEqual(b.answers, ["1:open", "2:open", "3:open"]);
    // One that gives up in line was never at the enforcer.
    b.execution.close(fourth as Pinhole, "socket-closed");
    await b.execution.flush();
    assert.equal(b.answers[3], "4:unavailable");
    assert.ok(!b.enforcer.batches.flat().some((change) => change.endsWith("4")));
    assert.equal(b.execution.waiting, 0);
  }));

Deno.test("Execution answers nobody while the shared ledger cannot be written, and tells the enforcer nothing", () => {
  let well = false;
  const written: string[] = [];
  const shared = {
    commit: (opened: readonly Pinhole[], ended: readonly Pinhole[]) => {
      if (!well) return Promise.reject(new Error("no leader"));
      written.push(...opened.map((p) => `+${p.id}`), ...ended.map((p) => `-${p.id}`));
      return Promise.resolve();
    },
    forget: () => {},
  };
  return bench({ capacity: 10, wait: 0, longestLine: 0, shared }, async (b) => {
    const p = b.open(50000);
    await b.execution.step();
    assert.deepEqual([b.answers, b.enforcer.batches], [[], []]);
    assert.ok(b.execution.paused && !b.execution.pending);
    well = true;
    await b.execution.step();
    assert.deepEqual(b.answers, ["1:open"]);
    assert.deepEqual(written, ["+1"]);
    b.execution.close(p, "socket-closed");
    await b.execution.step();
    assert.deepEqual(written, ["+1", "-1"]);
    assert.deepEqual(b.enforcer.batches, [["+1"], ["-1"]]);
  });
});

Deno.test("Execution of several controllers answers nobody while its enforcer cannot be reached", () => {
  const shared = { commit: () => Promise.resolve(), forget: () => {} };
  return bench({ capacity: 1000, wait: 0, longestLine: 0, shared }, async (b) => {
    b.enforcer.broken = new Error("no route to host");
    const [stays, goes] = [b.open(50_000), b.open(50_001)];
    await b.execution.flush();
    assert.deepEqual(b.answers, []);
    assert.equal(b.execution.enforcerFailed, "no route to host");
    assert.ok(b.execution.paused);
    // What was tried may be there: it is closed there before anybody is told that it is.
    b.enforcer.entries.set(tupleKey(goes.tuple), { tuple: goes.tuple, packets: 0, bytes: 0 });
    b.execution.close(goes, "socket-closed");
    b.enforcer.broken = undefined;
    while (b.execution.paused) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      await b.execution.flush();
    }
    assert.deepEqual(b.answers, ["2:unavailable", "1:open"]);
    assert.deepEqual([stays.state, goes.state], ["open", "closed"]);
    assert.deepEqual([...b.enforcer.entries.keys()], [tupleKey(stays.tuple)]);
  });
});

Deno.test("Execution has delegates take turns: one that floods waits behind nobody but itself", () =>
  bench({ capacity: 10_000, wait: 0, longestLine: 0, batch: 10 }, async (b) => {
    for (let i = 0; i < 1000; i++) b.open(10_000 + i, "flooder");
    const asked = b.open(50_000, "host2");
    const also = b.open(50_001, "host3");
    await b.execution.step();
    assert.deepEqual([asked.state, also.state], ["open", "open"], "in the next batch");
    assert.equal(b.enforcer.batches[0]?.length, 10, "which is full all the same");
    for (const p of [asked, also]) b.execution.close(p, "socket-closed");
    const again = b.open(50_002, "host2");
    await b.execution.step();
    assert.deepEqual([asked.state, also.state, again.state], ["closed", "closed", "open"]);
    await b.execution.flush();
    assert.equal(b.answers.filter((a) => a.endsWith(":open")).length, 1003, "the flooder too");
    const own = b.enforcer.batches.flat().map(Number).filter((id) => id >= 1 && id <= 1000);
    assert.deepEqual(own, own.toSorted((x, y) => x - y), "in order");
  }));

Deno.test("Execution lets one that closes very much keep nobody from opening", () =>
  bench({ capacity: 10_000, wait: 0, longestLine: 0, batch: 10 }, async (b) => {
    const many = Array.from({ length: 100 }, (_, i) => b.open(10_000 + i, "flooder"));
    await b.execution.flush();
    for (const p of many) b.execution.close(p, "socket-closed");
    const asked = b.open(50_000, "host2");
    await b.execution.step();
    assert.equal(asked.state, "open");
    await b.execution.flush();
    assert.ok(many.every((p) => p.state === "closed"));
  }));
