import assert from "node:assert/strict";
import { readStatus } from "../../lib/cli/daemon_data.ts";
import { metricsText, serveMetrics } from "../../lib/cli/metrics.ts";
import { syslogMessage } from "../../lib/controller/syslog.ts";

const STATUS = readStatus({
  role: "controller",
  pid: 7,
  started_at: "2026-01-02T03:04:05.000Z",
  enforcer: { name: 'odd"name\\', failed: null },
  policy: { file: "/etc/diaper/site.policy", rules: 3, loaded_at: "2026-01-02T03:04:05.000Z" },
  pinholes: { open: 5, capacity: 10, waiting: 2 },
  brokers: [{ broker: "a/b", via: "ssh", peer: "192.0.2.1", in_flight: 0 }],
  channels: 0,
  notices: true,
  audit_failed: null,
  counts: { opened: 9, closed: 4 },
  dropped: { packets: 11, bytes: 660 },
  sweep: null,
});

Deno.test("metricsText() is Prometheus' text format, names in quotes escaped", () => {
  const text = metricsText(STATUS);
  assert.match(text, /^diaper_pinholes\{state="open"\} 5$/m);
  assert.match(text, /^diaper_pinholes\{state="waiting"\} 2$/m);
  assert.match(text, /^diaper_events_total\{event="opened"\} 9$/m);
  assert.match(text, /^diaper_info\{role="controller",enforcer="odd\\"name\\\\"\} 1$/m);
  for (const line of text.trimEnd().split("\n")) {
    assert.match(
      line,
      /^# (HELP|TYPE) diaper_\w+ .+$|^diaper_\w+(\{(\w+="(\\.|[^"\\])*",?)+\})? [0-9.e+-]+$/,
    );
  }
});

Deno.test("serveMetrics() tells a failure by /healthz, and nothing else to anybody", async () => {
  let status = STATUS;
  await using server = serveMetrics({ host: "127.0.0.1", port: 0 }, () => Promise.resolve(status));
  const { port } = server.addr as Deno.NetAddr;
  const get = async (path: string, method = "GET") => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
    return { status: response.status, text: await response.text() };
  };
  assert.deepEqual(await get("/healthz"), { status: 200, text: "ok\n" });
  assert.equal((await get("/metrics")).status, 200);
  assert.equal((await get("/")).status, 404);
  assert.equal((await get("/metrics", "POST")).status, 405);
  status = { ...STATUS, enforcer: { name: "nftables", failed: "no answer" } };
  const ill = await get("/healthz");
  assert.equal(ill.status, 503);
  assert.match(ill.text, /no answer/);
});

Deno.test("syslogMessage() has the form of RFC 5424", () => {
  const event = { event_type: "pinhole.refused", timestamp: "2026-01-02T03:04:05.678Z", uid: 1 };
  const text = syslogMessage(event, JSON.stringify(event), "host one", 42);
  assert.equal(
    text,
    `<84>1 2026-01-02T03:04:05.678Z hostone diaper 42 pinhole.refused - ${JSON.stringify(event)}`,
  );
  assert.match(
    syslogMessage({ ...event, event_type: "pinhole.opened" }, "{}", "", 1),
    /^<86>1 .* - diaper 1 /,
  );
});
