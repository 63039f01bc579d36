import assert from "node:assert/strict";
import { AuditTrail } from "../../lib/controller/audit.ts";
import { Execution, type ExecutionLimits } from "../../lib/controller/execution.ts";
import { Ledger } from "../../lib/controller/ledger.ts";
import { PinholeTable } from "../../lib/controller/pinhole_table.ts";
import type { Pinhole } from "../../lib/pinhole/pinhole.ts";
import { FakeEnforcer } from "./fake_enforcer.ts";
import { makePinhole } from "./make.ts";

interface Bench {
  readonly enforcer: FakeEnforcer;
  readonly execution: Execution;
  readonly answers: string[];
  open(port: number): Pinhole;
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
      open: (port) => {
        const p = makePinhole(ledger.nextId(), port);
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
