import assert from "node:assert/strict";
import { encodeTicket, parseAgentMessage } from "../../lib/broker/wire.ts";

function message(type: number, length: number, words: Record<number, number> = {}) {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x31525044, true);
  view.setUint16(4, type, true);
  view.setUint16(6, length, true);
  view.setUint32(8, 9, true);
  for (const [at, value] of Object.entries(words)) view.setUint32(Number(at), value, true);
  return bytes;
}

Deno.test("wire: WRAP has a version, a fault and the program's descriptor", () => {
  assert.deepEqual(parseAgentMessage(message(5, 32, { 16: 1, 20: 4, 24: 7 })), {
    ...{ type: "wrap", sequence: 9, fault: 4, program: 7 },
  });
  assert.match(String(parseAgentMessage(message(5, 32, { 16: 2 }))), /version 2 is not 1/);
  assert.match(String(parseAgentMessage(message(5, 24, { 16: 1 }))), /wrap/);
});

Deno.test("wire: JOIN carries a ticket as TICKET does", () => {
  const ticket = Uint8Array.from({ length: 32 }, (_, i) => i);
  const given = encodeTicket(9, ticket);
  assert.deepEqual([given.length, new DataView(given.buffer).getUint16(4, true)], [48, 0x8002]);
  const join = message(6, 48);
  join.set(given.subarray(16), 16);
  const parsed = parseAgentMessage(join);
  assert.ok(typeof parsed !== "string" && parsed.type === "join");
  assert.deepEqual([parsed.sequence, [...parsed.ticket]], [9, [...ticket]]);
  assert.match(String(parseAgentMessage(message(6, 47))), /join/);
});
