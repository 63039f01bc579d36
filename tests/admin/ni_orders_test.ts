import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import type { ContainmentOrder } from "../../lib/admin/messages.ts";
import { NiOrders } from "../../lib/admin/ni_orders.ts";

const NOW = Date.parse("2026-11-24T12:00:00Z");

function order(verb: ContainmentOrder["verb"], seconds: number, host = "192.0.2.1") {
  return {
    id: crypto.randomUUID(),
    verb,
    host,
    lifetime: 3600,
    reason: "a test",
    owner: "alice",
    issued_at: new Date(Date.now() + seconds * 1000).toISOString(),
  } satisfies ContainmentOrder;
}

function inDirectory() {
  const directory = Deno.makeTempDirSync({ prefix: "diaper-orders-" });
  const messages: string[] = [];
  return {
    file: `${directory}/contained.json`,
    messages,
    open: (now = Date.now()) =>
      new NiOrders(`${directory}/contained.json`, now, (_level, text) => messages.push(text)),
    [Symbol.dispose]: () => Deno.removeSync(directory, { recursive: true }),
  };
}

const done = () => ({ ok: true, why: "" });

Deno.test("NI orders: what was carried out is there again; what is over, failed or was let go is not", async () => {
  using place = inDirectory();
  const orders = place.open();
  const blocked = order("block", 0, "192.0.2.1");
  await orders.obey(blocked, done);
  await orders.obey(order("slow", 0, "192.0.2.2"), () => ({ ok: false, why: "no" }));
  await orders.obey(order("slow", 0, "192.0.2.3"), done);
  await orders.obey(order("allow", 1, "192.0.2.3"), done);
  assert.deepEqual(place.open().contained, [blocked]);
  assert.deepEqual(place.open(Date.now() + 3601_000).contained, []);
  assert.equal((Deno.statSync(place.file).mode ?? 0) & 0o777, 0o600);
});

Deno.test("NI orders: an older order that comes late, over a restart too, undoes nothing", async () => {
  using place = inDirectory();
  const orders = place.open();
  const calls: string[] = [];
  const carryOut = (o: ContainmentOrder) => {
    calls.push(o.verb);
    return done();
  };
  // Both at once: the second must wait for the first.
  const both = [
    orders.obey(order("allow", 10), carryOut),
    orders.obey(order("block", 0), carryOut),
  ];
  assert.deepEqual((await Promise.all(both)).map(({ ok }) => ok), [true, true]);
  const late = await place.open().obey(order("block", 5), carryOut);
  assert.deepEqual(late, { ok: true, why: "a newer order holds: allow by alice" });
  assert.deepEqual(calls, ["allow"]);
  await place.open().obey(order("block", 20), carryOut);
  assert.deepEqual(place.open().contained.map(({ verb }) => verb), ["block"]);
});

Deno.test("NI orders: a damaged file is put aside and told of", () => {
  using place = inDirectory();
  for (const text of ["{", '{"version":1,"orders":[{"verb":"block"}]}', ""]) {
    Deno.writeTextFileSync(place.file, text);
    assert.deepEqual(place.open(NOW).contained, []);
    assert.match(place.messages.pop() ?? "", /damaged/);
    assert.equal(existsSync(`${place.file}.damaged`), true);
  }
});
