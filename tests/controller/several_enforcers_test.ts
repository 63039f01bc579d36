import assert from "node:assert/strict";
import { createDebug } from "../../drivers/debug.ts";
import type { EnforcerChange } from "../../drivers/enforcer.ts";
import { SeveralEnforcers } from "../../lib/controller/several_enforcers.ts";
import { type IpAddress, type IpRange, parseIp, prefixRange } from "../../lib/net/ip.ts";
import { FakeEnforcer } from "./fake_enforcer.ts";

const prefix = (text: string): IpRange => {
  const [address = "", length = ""] = text.split("/");
  return prefixRange(parseIp(address) as IpAddress, Number(length));
};

function change(action: "open" | "close", id: number, destination: string): EnforcerChange {
  const tuple = {
    protocol: "tcp" as const,
    source: parseIp("198.51.100.7") as IpAddress,
    sourcePort: 0,
    destination: parseIp(destination) as IpAddress,
    destinationPort: 50_000 + id,
  };
  return { action, tuple, id, lease: 0 };
}

Deno.test("SeveralEnforcers adds up the capacities of segments and gives each its own", async () => {
  const [a, b] = [createDebug({ capacity: 2 }), createDebug({ capacity: 3 })];
  const all = new SeveralEnforcers([
    { enforcer: a, destinations: [prefix("192.0.2.0/25")] },
    { enforcer: b, destinations: [prefix("192.0.2.128/25")] },
  ]);
  await all.connect();
  assert.equal(all.capabilities.capacity, 5);
  const results = await all.apply([
    change("open", 1, "192.0.2.1"),
    change("open", 2, "192.0.2.129"),
    change("open", 3, "192.0.2.2"),
    change("open", 4, "203.0.113.1"),
  ]);
  assert.deepEqual(results.map((r) => r.ok), [true, true, true, false]);
  assert.deepEqual([(await a.list()).length, (await b.list()).length], [2, 1]);
  await all.apply([change("close", 1, "192.0.2.1"), change("close", 2, "192.0.2.129")]);
  assert.deepEqual([(await a.list()).length, (await b.list()).length], [1, 0]);
});

Deno.test("SeveralEnforcers in sequence opens at all or at none, and from the inside out", async () => {
  const [border, inner] = [new FakeEnforcer(), new FakeEnforcer()];
  const all = new SeveralEnforcers([
    { enforcer: border, destinations: undefined },
    { enforcer: inner, destinations: [prefix("192.0.2.0/24")] },
  ]);
  border.answer = (c) =>
    c.id === 2 && c.action === "open"
      ? { ok: false, reason: "full", message: "no room" }
      : undefined;
  const results = await all.apply([
    change("open", 1, "192.0.2.1"),
    change("open", 2, "192.0.2.2"),
    change("open", 3, "203.0.113.9"),
  ]);
  assert.deepEqual(results.map((r) => r.ok), [true, false, true]);
  assert.equal(border.entries.size, 2);
  assert.equal(inner.entries.size, 1, "what the border refused was taken back inside");
  assert.deepEqual(inner.batches, [["+1", "+2"], ["-2"]]);
});

Deno.test("SeveralEnforcers says that it does not know, when one breaks and cannot be undone", async () => {
  const [border, inner] = [new FakeEnforcer(), new FakeEnforcer()];
  const all = new SeveralEnforcers([
    { enforcer: border, destinations: undefined },
    { enforcer: inner, destinations: undefined },
  ]);
  border.broken = new Error("connection lost");
  const [broken] = await all.apply([change("open", 1, "192.0.2.1")]);
  assert.deepEqual(broken, { ok: false, reason: "unknown", message: "fake: connection lost" });
  assert.equal(inner.entries.size, 0, "taken back where that was possible");
  border.broken = undefined;
  inner.answer = (c) =>
    c.action === "close" ? { ok: false, reason: "refused", message: "read-only" } : undefined;
  border.answer = () => ({ ok: false, reason: "refused", message: "no" });
  const [stuck] = await all.apply([change("open", 2, "192.0.2.2")]);
  assert.equal(stuck?.ok === false ? stuck.reason : "", "unknown");
  // A pinhole that is missing at one of its enforcers is missing.
  const { tuple } = change("open", 2, "192.0.2.2");
  assert.deepEqual(await all.counters([tuple]), [undefined]);
});
