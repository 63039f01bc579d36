import assert from "node:assert/strict";
import type { CapturedPacket } from "../lab/capture.ts";
import type { AuditLine } from "../lab/diaper.ts";
import { quantile, timelineOf } from "./timeline.ts";

const KEY = { source: "198.51.100.10", destination: "192.0.2.10", port: 50_000, since: 1_000.5 };

function event(event_type: string, at: number, fields: Record<string, unknown> = {}): AuditLine {
  const own = { source: KEY.source, destination: KEY.destination, destination_port: KEY.port };
  return { event_type, timestamp: new Date(at).toISOString(), ...own, ...fields };
}

function packet(time: number, fields: Partial<CapturedPacket> = {}): CapturedPacket {
  const own = { source: KEY.source, sourcePort: 40_000, flags: "S" };
  return {
    ...{ time, ...own, destination: KEY.destination, destinationPort: KEY.port },
    ...fields,
  };
}

Deno.test("timeline: joins the events and the first packet of one pinhole, and of no other", () => {
  const timeline = timelineOf(KEY, [
    event("pinhole.opened", 900, { open_ms: 9 }), // an earlier life of the same port
    event("pinhole.requested", 1_001, { bound_at: new Date(1_000).toISOString() }),
    event("pinhole.opened", 1_001, { source: "198.51.100.66", open_ms: 8 }),
    event("pinhole.opened", 1_001, { destination_port: 50_001, open_ms: 7 }),
    event("pinhole.allowed", 1_001, { rule: "site.policy:2" }),
    event("pinhole.opened", 1_002, { open_ms: 0.4, user: "nobody", program: "/usr/sbin/vsftpd" }),
    event("pinhole.closed", 1_009, { why: "its socket was closed", packets: 3, bytes: 180 }),
  ], [
    packet(999),
    packet(1_002.5, { source: "198.51.100.66" }),
    packet(1_003.25),
    packet(1_004),
  ]);
  assert.deepEqual(timeline, {
    port: 50_000,
    bound: 1_000,
    asked: 1_001,
    allowed: 1_001,
    rule: "site.policy:2",
    opened: 1_002,
    openMs: 0.4,
    firstPacket: 1_003.25,
    closed: 1_009,
    why: "its socket was closed",
    user: "nobody",
    program: "/usr/sbin/vsftpd",
    packets: 3,
    bytes: 180,
  });
});

Deno.test("timeline: what did not happen has no time", () => {
  const timeline = timelineOf(KEY, [event("pinhole.requested", 1_001)], []);
  assert.equal(timeline.asked, 1_001);
  for (const name of ["bound", "allowed", "opened", "openMs", "firstPacket", "closed"] as const) {
    assert.equal(timeline[name], undefined, name);
  }
});

Deno.test("quantile: nearest rank, of any order", () => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i);
  assert.equal(quantile(values, 0.5), 50);
  assert.equal(quantile(values, 0.99), 99);
  assert.equal(quantile(values, 1), 100);
  assert.equal(quantile([7], 0.99), 7);
  assert.equal(quantile([], 0.5), undefined);
});
