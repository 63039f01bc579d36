/**
 * What belongs together across NIs.
 */
import assert from "node:assert/strict";
import { Correlation } from "../../lib/admin/correlation.ts";
import { ConsoleState, type Outbreak } from "../../lib/admin/state.ts";
import { alertFields, type StoredAlert } from "../../lib/admin/store.ts";
import { alertEvent } from "./support.ts";

const OPTIONS = { hosts: 3, within: 60_000 };

function alert(at: number, src: string, dest: string, signature = "scan"): StoredAlert {
  const event = alertEvent(signature, { src_ip: src, dest_ip: dest });
  return {
    id: at,
    ni: `ni-${src}`,
    seq: 1,
    received: at,
    ...alertFields(event, at),
    event,
    capture: 0,
  };
}

function run(
  alerts: readonly StoredAlert[],
): { outbreaks: Outbreak[]; told: [string, number, boolean][] } {
  const state = new ConsoleState(":memory:");
  const told: [string, number, boolean][] = [];
  const correlation = new Correlation(OPTIONS, state, (o, isNew) => {
    told.push([o.kind, o.hosts.length, isNew]);
  });
  correlation.alerts(alerts);
  correlation.close();
  const outbreaks = state.outbreaks(100);
  state.close();
  return { outbreaks, told };
}

const now = Date.now();

Deno.test("console correlation: the same finding on N hosts within T is one outbreak", () => {
  const { outbreaks, told } = run([
    alert(now, "10.0.0.1", "198.51.100.1"),
    alert(now + 1, "10.0.0.1", "198.51.100.2"),
    alert(now + 2, "10.0.0.2", "198.51.100.3"),
    alert(now + 3, "10.0.0.3", "198.51.100.4"),
    alert(now + 4, "10.0.0.4", "198.51.100.5"),
    alert(now + 5, "10.0.0.1", "198.51.100.6"),
  ]);
  assert.equal(outbreaks.length, 1);
  const [o] = outbreaks;
  assert.deepEqual([o?.kind, o?.signature, o?.alerts, o?.hosts.length], [
    "same-finding",
    "scan",
    6,
    4,
  ]);
  assert.deepEqual(told, [["same-finding", 3, true], ["same-finding", 4, false]]);
});

Deno.test("console correlation: fewer hosts, other findings or more time are no outbreak", () => {
  const far = OPTIONS.within + 1;
  assert.deepEqual(
    run([
      alert(now, "10.0.0.1", "198.51.100.1"),
      alert(now + 1, "10.0.0.2", "198.51.100.2"),
      alert(now + 2, "10.0.0.3", "198.51.100.3", "another"),
    ]).outbreaks,
    [],
  );
  assert.deepEqual(
    run([
      alert(now, "10.0.0.1", "198.51.100.1"),
      alert(now + far, "10.0.0.2", "198.51.100.2"),
      alert(now + 2 * far, "10.0.0.3", "198.51.100.3"),
    ]).outbreaks,
    [],
  );
});

Deno.test("console correlation: a scan that goes from host to host is one chain", () => {
  const { outbreaks } = run([
    alert(now, "10.0.0.1", "10.0.0.2"),
    alert(now + 10, "10.0.0.2", "10.0.0.3", "smb scan"),
    alert(now + 20, "10.0.0.3", "10.0.0.4", "ssh scan"),
  ]);
  assert.equal(outbreaks.length, 1);
  assert.deepEqual([outbreaks[0]?.kind, outbreaks[0]?.hosts], ["chain", [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
  ]]);
});

Deno.test("console correlation: an outbreak goes on after a restart of the console, as the same one", () => {
  const state = new ConsoleState(":memory:");
  const first = new Correlation(OPTIONS, state, () => {});
  const at = Date.now();
  first.alerts([1, 2, 3].map((n) => alert(at, `10.0.0.${n}`, "198.51.100.1")));
  first.close();
  let news = 0;
  const second = new Correlation(OPTIONS, state, (_o, isNew) => {
    if (isNew) news++;
  });
  second.alerts([alert(at + 10, "10.0.0.9", "198.51.100.1")]);
  second.close();
  assert.deepEqual([state.outbreaks(10).length, state.outbreaks(10)[0]?.hosts.length, news], [
    1,
    4,
    0,
  ]);
  state.close();
});

Deno.test("console correlation: a flood of signatures and hosts stays within bounds", () => {
  const alerts = Array.from(
    { length: 30_000 },
    (_, n) =>
      alert(
        now + n,
        `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`,
        `198.51.${(n >> 8) & 255}.${n & 255}`,
        `s${n % 5000}`,
      ),
  );
  const { outbreaks } = run(alerts);
  assert.ok(outbreaks.length <= 2100, String(outbreaks.length));
});
