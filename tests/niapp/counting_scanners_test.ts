/** The scanners that count and tell: portscan and beacon. */
import assert from "node:assert/strict";
import { TCP } from "../../lib/net/packet.ts";
import { Beacon } from "../../niapp/beacon/scanner.ts";
import { PortScan } from "../../niapp/portscan/scanner.ts";
import { FakeNi } from "./fake_ni.ts";
import { frame } from "./frames.ts";

const HOST = "192.0.2.10";

function syn(ni: FakeNi, destination: string, destinationPort: number, sourcePort = 40000): void {
  const spec = { source: HOST, destination, sourcePort, destinationPort, flags: TCP.SYN };
  ni.give(frame(spec), "from-host");
}

function answer(ni: FakeNi, source: string, sourcePort: number, flags: number): void {
  const spec = { source, destination: HOST, sourcePort, destinationPort: 40000, flags };
  ni.give(frame(spec), "to-host");
}

Deno.test("portscan: many ports of one host in vain are a vertical scan", () => {
  const ni = new FakeNi(new PortScan(), { held: false });
  for (let port = 1; port <= 20; port++) {
    syn(ni, "198.51.100.1", port);
    answer(ni, "198.51.100.1", port, TCP.RST | TCP.ACK);
  }
  assert.deepEqual(ni.signatures, []);
  syn(ni, "198.51.100.1", 21);
  ni.advance(4);
  assert.deepEqual(ni.signatures, ["vertical port scan"]);
  assert.deepEqual(ni.alerts[0]?.detail, {
    source: HOST,
    by_host: true,
    destination: "198.51.100.1",
    ports_last_minute: 21,
  });
});

Deno.test("portscan: one port of many hosts in vain is a horizontal scan, told of once a minute", () => {
  const ni = new FakeNi(new PortScan(), { held: false });
  for (let host = 1; host <= 100; host++) syn(ni, `198.51.100.${host}`, 445);
  ni.advance(4);
  assert.deepEqual(ni.signatures, ["horizontal port scan"]);
});

Deno.test("portscan: connections that are answered are none, slow scans below the limit neither", () => {
  const ni = new FakeNi(new PortScan(), { held: false });
  for (let host = 1; host <= 100; host++) {
    syn(ni, `198.51.100.${host}`, 443);
    answer(ni, `198.51.100.${host}`, 443, TCP.SYN | TCP.ACK);
  }
  for (let host = 1; host <= 100; host++) {
    syn(ni, `198.51.100.${host}`, 22);
    ni.advance(3);
  }
  ni.advance(60);
  assert.deepEqual(ni.signatures, []);
});

Deno.test("beacon: regular connections to one server are told of once, irregular ones not", () => {
  const ni = new FakeNi(new Beacon(), { held: false, options: { allow: ["203.0.113.0/24"] } });
  for (let i = 0; i < 30; i++) {
    syn(ni, "198.51.100.1", 443, 40000 + i);
    syn(ni, "203.0.113.5", 123, 40000 + i);
    ni.advance(60 + (i % 3));
  }
  assert.equal(ni.alerts.length, 1);
  const { interval_seconds, jitter_percent, ...detail } = ni.alerts[0]?.detail as {
    interval_seconds: number;
    jitter_percent: number;
  };
  assert.deepEqual(detail, { destination: "198.51.100.1", port: 443, intervals: 10 });
  assert.ok(interval_seconds > 60 && interval_seconds < 62);
  assert.ok(jitter_percent < 3);
  const person = new FakeNi(new Beacon(), { held: false });
  for (let i = 0; i < 100; i++) {
    syn(person, "198.51.100.1", 443, 40000 + i);
    person.advance(10 + (i * i * 37) % 300);
  }
  assert.deepEqual(person.signatures, []);
});
