import assert from "node:assert/strict";
import fc from "fast-check";
import { AddressTable } from "../../niapp/codered/address_table.ts";

Deno.test("AddressTable holds what a Map holds, for both families", () => {
  for (const words of [1, 4] as const) {
    fc.assert(fc.property(
      fc.array(fc.tuple(fc.nat(300), fc.nat(300), fc.nat(1000)), { maxLength: 2000 }),
      (entries) => {
        const table = new AddressTable(words, 100_000);
        const map = new Set<string>();
        for (const [a, b, until] of entries) {
          table.add(until, 0, a, ...(words === 4 ? [b, 7, 0xffffffff] as const : []));
          map.add(words === 4 ? `${a} ${b}` : String(a));
        }
        assert.equal(table.size, map.size);
        for (let a = 0; a <= 300; a += 7) {
          assert.equal(
            table.has(a, ...(words === 4 ? [9, 7, 0xffffffff] as const : [])),
            map.has(words === 4 ? `${a} 9` : String(a)),
          );
        }
      },
    ));
  }
});

Deno.test("AddressTable forgets only when it is full: expired entries first, then the next to expire", () => {
  const table = new AddressTable(1, 1000);
  for (let i = 0; i < 1000; i++) table.add(i < 300 ? 50 : 1000 + i, 10, i);
  assert.equal(table.size, 1000);
  assert.ok(table.has(5), "expired, but there is room");
  table.add(5000, 100, 5000);
  assert.equal(table.has(5), false);
  assert.ok(table.has(300) && table.has(999) && table.has(5000));
  assert.equal(table.size, 701);
  for (let i = 0; i < 300; i++) table.add(5000, 100, 6000 + i);
  assert.ok(table.has(999) && table.has(6299));
  assert.equal(table.has(300), false, "was the next to expire");
  assert.ok(table.size <= 1000);
});

Deno.test("AddressTable makes room also when everything expires at once", () => {
  const table = new AddressTable(4, 256);
  for (let i = 0; i < 5000; i++) table.add(900, 0, i, i, i, i);
  assert.ok(table.size > 200 && table.size <= 256);
  assert.ok(table.has(4999, 4999, 4999, 4999));
});

Deno.test("AddressTable takes at most 32 bytes an entry for 500,000 IPv4 addresses", () => {
  const table = new AddressTable(1, 500_000);
  for (let i = 0; i < 500_000; i++) table.add(1000, 0, Math.imul(i, 2654435761) >>> 0);
  assert.equal(table.size, 500_000);
  assert.ok(table.bytes / table.size <= 32, `${table.bytes / table.size} bytes an entry`);
});
