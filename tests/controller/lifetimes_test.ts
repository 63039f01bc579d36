import assert from "node:assert/strict";
import { AuditTrail } from "../../lib/controller/audit.ts";
import { Execution } from "../../lib/controller/execution.ts";
import { Expiry, type Moment, thisMoment } from "../../lib/controller/expiry.ts";
import { Ledger } from "../../lib/controller/ledger.ts";
import { Lifetimes, type LiveSocket } from "../../lib/controller/lifetimes.ts";
import { PinholeTable } from "../../lib/controller/pinhole_table.ts";
import type { Pinhole } from "../../lib/pinhole/pinhole.ts";
import { FakeEnforcer } from "./fake_enforcer.ts";
import { makePinhole } from "./make.ts";

/** The moment by which these tests reckon. */
const START: Moment = thisMoment();

class Bench {
  readonly enforcer = new FakeEnforcer();
  readonly table = new PinholeTable();
  readonly ledger: Ledger;
  readonly audit: AuditTrail;
  readonly execution: Execution;
  readonly lifetimes: Lifetimes;
  readonly expiry: Expiry;
  sockets: LiveSocket[] = [];
  dumps = 0;
  #clock = 1_000_000;

  constructor(directory: string) {
    this.ledger = new Ledger(`${directory}/ledger.db`);
    this.audit = new AuditTrail(`${directory}/audit.jsonl`);
    this.execution = new Execution(this.enforcer, this.ledger, this.table, this.audit, 3600);
    this.expiry = new Expiry(this.execution, START);
    this.lifetimes = new Lifetimes(this.table, this.execution, this.enforcer, {
      coversBound: true,
      dump: (_what, visit) => {
        this.dumps++;
        this.sockets.forEach(visit);
      },
    });
  }

  async open(port: number, change: Partial<Pinhole> = {}): Promise<Pinhole> {
    const p = makePinhole(this.ledger.nextId(), port, change);
    this.execution.open(p, undefined, () => {});
    this.expiry.watch(p, START);
    await this.execution.flush();
    return p;
  }

  /** Traffic has passed: connections may exist. */
  used(): void {
    for (const e of this.enforcer.entries.values()) e.packets = 3;
  }

  /** Does what the perimeter's loop does, far enough in time for a dump. */
  async round(): Promise<void> {
    this.#clock += 1_000_000;
    await this.lifetimes.check(this.#clock);
    await this.execution.flush();
  }
}

async function bench(work: (b: Bench) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "diaper-lifetimes-" });
  const b = new Bench(directory);
  try {
    await work(b);
  } finally {
    b.audit.close();
    b.ledger.close();
    await Deno.remove(directory, { recursive: true });
  }
}

const connection = (port: number, remote = "198.51.100.7"): LiveSocket => ({
  protocol: "tcp",
  cookie: 1n,
  localPort: port,
  remote,
});

Deno.test("Lifetimes closes an unused pinhole with its listener, without a dump", () =>
  bench(async (b) => {
    const p = await b.open(50000);
    b.lifetimes.ended("tcp", 50000, p.cookie);
    await b.round();
    assert.equal(p.state, "closed");
    assert.equal(b.dumps, 0);
  }));

Deno.test("Lifetimes keeps a pinhole while an accepted connection lives, and closes it after", () =>
  bench(async (b) => {
    const p = await b.open(50000);
    b.used();
    b.sockets = [connection(50000)];
    b.lifetimes.ended("tcp", 50000, p.cookie); // the listener, right after accept
    await b.round();
    assert.equal(p.state, "open");
    b.sockets = [];
    b.lifetimes.ended("tcp", 50000, 4711n); // the accepted socket
    await b.round();
    assert.equal(p.state, "closed");
  }));

Deno.test("Lifetimes does not keep a pinhole for another host's or port's connection", () =>
  bench(async (b) => {
    const p = await b.open(50000);
    b.used();
    b.sockets = [connection(50000, "203.0.113.9"), connection(50001)];
    b.lifetimes.ended("tcp", 50000, p.cookie);
    await b.round();
    assert.equal(p.state, "closed");
  }));

Deno.test("Lifetimes ignores ends of sockets that have nothing to do with pinholes", () =>
  bench(async (b) => {
    const p = await b.open(50000);
    b.used();
    b.lifetimes.ended("tcp", 50000, 999n);
    b.lifetimes.ended("udp", 50000, 998n);
    await b.round();
    assert.equal(p.state, "open");
    assert.equal(b.dumps, 0);
  }));

Deno.test("Lifetimes closes a datagram pinhole at once", () =>
  bench(async (b) => {
    const { tuple } = makePinhole(0, 50000);
    const p = await b.open(50000, { tuple: { ...tuple, protocol: "udp" } });
    b.used();
    b.lifetimes.ended("udp", 50000, p.cookie);
    await b.execution.flush();
    assert.equal(p.state, "closed");
    assert.equal(b.dumps, 0);
  }));

Deno.test("Lifetimes makes one dump for many ends", () =>
  bench(async (b) => {
    const all = await Promise.all(Array.from({ length: 50 }, (_, i) => b.open(50000 + i)));
    b.used();
    for (const p of all) b.lifetimes.ended("tcp", p.tuple.destinationPort, p.cookie);
    await b.round();
    assert.equal(b.dumps, 1);
    assert.ok(all.every((p) => p.state === "closed"));
  }));

Deno.test("Lifetimes.reconcile() finds ends that nobody told of, and keeps the rest", () =>
  bench(async (b) => {
    const dead = await b.open(50000);
    const listening = await b.open(50001);
    const accepted = await b.open(50002);
    const byHand = await b.open(50003, { cookie: 0n });
    b.used();
    b.sockets = [
      { protocol: "tcp", cookie: listening.cookie, localPort: 50001, remote: undefined },
      connection(50002),
    ];
    b.lifetimes.reconcile();
    await b.execution.flush();
    assert.deepEqual([dead, listening, accepted, byHand].map((p) => p.state), [
      "closed",
      "open",
      "open",
      "open",
    ]);
  }));

/** Later, by both clocks. */
function later(ms: number, jump = 0): Moment {
  return { wall: START.wall + ms + jump, steady: START.steady + ms };
}

Deno.test("Expiry closes a pinhole when its time is over, not before", () =>
  bench(async (b) => {
    const p = await b.open(50000, { expiresAt: START.wall + 5000 });
    b.expiry.expire(later(3000));
    await b.execution.flush();
    assert.equal(p.state, "open");
    b.expiry.expire(later(6001));
    await b.execution.flush();
    assert.equal(p.state, "closed");
  }));

Deno.test("Expiry closes what is due after the clock was set forward, and says by how much", () =>
  bench(async (b) => {
    const p = await b.open(50000, { expiresAt: START.wall + 5000 });
    const long = await b.open(50001, { expiresAt: START.wall + 90_000_000 });
    const day = 86_400_000;
    assert.equal(Math.round(b.expiry.expire(later(1000, day)) / 1000), day / 1000);
    await b.execution.flush();
    assert.equal(p.state, "closed");
    assert.equal(long.state, "open");
    assert.equal(b.expiry.expire(later(2000, day)), 0, "said once");
  }));

Deno.test("Expiry lets nothing live longer when the clock was set back", () =>
  bench(async (b) => {
    const p = await b.open(50000, { expiresAt: START.wall + 5000 });
    const back = -86_400_000;
    assert.equal(Math.round(b.expiry.expire(later(1000, back)) / 1000), back / 1000);
    await b.execution.flush();
    assert.equal(p.state, "open");
    b.expiry.expire(later(6001, back));
    await b.execution.flush();
    assert.equal(p.state, "closed");
  }));

Deno.test("Expiry closes what was over before it was taken up", () =>
  bench(async (b) => {
    const p = await b.open(50000, { expiresAt: START.wall - 60_000 });
    b.expiry.expire(later(1000));
    await b.execution.flush();
    assert.equal(p.state, "closed");
  }));
