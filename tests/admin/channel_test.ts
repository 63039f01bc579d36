/**
 * The channel between NIs and their console: who may come, what is taken, and that every alert arrives once.
 */
import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import { Console } from "../../lib/admin/console.ts";
import { parseRegistry } from "../../lib/admin/registry.ts";
import { SqliteStore } from "../../lib/admin/sqlite_store.ts";
import { ConsoleState } from "../../lib/admin/state.ts";
import { openSubsystem } from "../../lib/sys/ssh_client.ts";
import { newKeyPair } from "../../lib/sys/ssh.ts";
import { CONSOLE_SUBSYSTEM } from "../../lib/admin/messages.ts";
import { encodeMessage, WireChannel } from "../../lib/admin/wire.ts";
import { alertEvent, TestConsole } from "./support.ts";

Deno.test("console: an alert of an NI is kept and shown", async () => {
  await using test = await TestConsole.start({ ni1: "" });
  const ni = await test.ni("ni1");
  await ni.start();
  ni.alert(alertEvent("worm"), new Uint8Array([1, 2, 3]));
  const [alert] = await test.waitForAlerts(1);
  assert.equal(alert?.signature, "worm");
  assert.equal(alert?.ni, "ni1");
  assert.deepEqual(await test.daemon.console.store.capture(alert.id), new Uint8Array([1, 2, 3]));
  await test.until(() => ni.spooled.state.waiting === 0 ? true : undefined, "empty spool");
});

Deno.test("console: it goes to an NI that waits for it", async () => {
  await using test = await TestConsole.start({ ni1: "" });
  const ni = await test.ni("ni1", { connect: [], listen: [{ host: "127.0.0.1", port: 0 }] });
  const [port] = await ni.start();
  test.relist((lines) => lines[0] += ` connect=127.0.0.1:${port}`);
  ni.alert(alertEvent("worm"));
  assert.equal((await test.waitForAlerts(1))[0]?.ni, "ni1");
});

Deno.test("console: alerts wait on the NI's disk while the console is away, and come in order", async () => {
  await using test = await TestConsole.start({ ni1: "" });
  const ni = await test.ni("ni1");
  await ni.start();
  for (let i = 0; i < 100; i++) ni.alert(alertEvent(`a${i}`));
  await test.waitForAlerts(100);
  await test.shut();
  for (let i = 100; i < 3000; i++) ni.alert(alertEvent(`a${i}`));
  await test.open();
  const alerts = await test.waitForAlerts(3000);
  assert.deepEqual(alerts.map((a) => a.signature), Array.from({ length: 3000 }, (_, i) => `a${i}`));
  assert.deepEqual(await test.daemon.console.store.totals(), [
    { ni: "ni1", alerts: 3000, lost: 0 },
  ]);
});

for (const policy of ["drop-oldest", "drop-newest"] as const) {
  Deno.test(`console: a full spool loses by its policy (${policy}), and the loss is counted`, async () => {
    await using test = await TestConsole.start({ ni1: "" });
    const ni = await test.ni("ni1", {}, { alerts: 1000, bytes: 1e8, policy });
    for (let i = 0; i < 1500; i++) ni.alert(alertEvent(`a${i}`));
    await Promise.resolve(); // what was told is written in the next turn
    const { waiting, lost } = ni.spooled.state;
    assert.equal(waiting + lost, 1500);
    await ni.start();
    await test.waitForAlerts(waiting);
    await test.until(() => ni.spooled.state.waiting === 0 ? true : undefined, "empty spool");
    // The number of the next tells what is missing before it.
    ni.alert(alertEvent("last"));
    const alerts = await test.waitForAlerts(waiting + 1);
    assert.equal(alerts[0]?.signature, policy === "drop-newest" ? "a0" : `a${lost}`);
    assert.equal(alerts.at(-1)?.signature, "last");
    const [totals] = await test.daemon.console.store.totals();
    assert.deepEqual([totals?.alerts, totals?.lost], [waiting + 1, lost]);
  });
}

Deno.test("console: a stranger's key is refused and audited, a known key speaks for its NI alone", async () => {
  await using test = await TestConsole.start({ ni1: "", ni2: "" });
  const why = await new Promise<string>((ended) => {
    openSubsystem({
      host: "127.0.0.1",
      port: test.port,
      user: "diaper",
      privateKey: newKeyPair("stranger").privateKey,
      pins: new Set([test.key.publicKey]),
      subsystem: CONSOLE_SUBSYSTEM,
      timeout: 5000,
    }, { open: () => ended("open"), ended });
  });
  assert.match(why, /authentication/);
  await test.until(
    () =>
      test.daemon.console.state.auditLines(undefined, 10).find((l) => l.what === "peer.refused"),
    "line in the audit trail",
  );
  const thief = await test.ni("ni1", { host: "ni2" });
  await thief.start();
  thief.alert(alertEvent("forged", { ni: "ni2", host: "ni2", diaper: { ni: "ni2" } }));
  const [alert] = await test.waitForAlerts(1);
  assert.equal(alert?.ni, "ni1");
  assert.equal(alert.event["ni"], "ni1");
});

Deno.test("console: an NI whose console has another key than the pinned one does not speak to it", async () => {
  await using test = await TestConsole.start({ ni1: "" });
  const ni = await test.ni("ni1", { consoleKeys: new Set([newKeyPair("other").publicKey]) });
  await ni.start();
  ni.alert(alertEvent("secret"));
  await test.until(
    () => test.messages.find((m) => /not the one that was pinned/.test(m)),
    "warning",
  );
  assert.equal(ni.spooled.state.waiting, 1);
});

Deno.test("console: a controller tells of its pinholes, and is told of alerts and orders", async () => {
  await using test = await TestConsole.start({
    ni1: "hosts=192.0.2.0/24",
    gate: "role=controller",
  });
  const told: string[] = [];
  const pinhole = {
    ...{
      id: 7,
      proto: "tcp",
      source: "198.51.100.7",
      source_port: null,
      destination: "192.0.2.10",
    },
    ...{ destination_port: 50_000, state: "open", delegate: "ftpd", user: "alice", program: null },
    ...{ opened_at: null, expires_at: null, rule: "site.policy:3" },
  };
  const gate = await test.ni("gate", {
    role: "controller",
    handlers: {
      connected: () => gate.pinholes([pinhole, { ...pinhole, id: 8 }], [], true),
      alert: ({ ni, event }) => {
        told.push(`${ni} ${(event["alert"] as { signature: string }).signature}`);
      },
      order: ({ verb, host }) => {
        told.push(`${verb} ${host}`);
        return { ok: true, why: "done" };
      },
    },
  });
  await gate.start();
  await test.until(() => test.daemon.console.pinholes().length === 2 || undefined, "pinholes");
  gate.pinholes([], [8], false);
  await test.until(() => test.daemon.console.pinholes().length === 1 || undefined, "one pinhole");
  assert.deepEqual(test.daemon.console.pinholes(), [{ ...pinhole, controller: "gate" }]);
  const ni = await test.ni("ni1");
  await ni.start();
  ni.alert(alertEvent("worm"));
  await test.until(() => told[0], "alert at the controller");
  const order = {
    id: crypto.randomUUID(),
    verb: "block",
    host: "192.0.2.10",
    lifetime: 60,
    reason: "a test",
    owner: "alice",
    issued_at: new Date().toISOString(),
  } as const;
  assert.deepEqual(test.daemon.console.order(order, undefined), ["ni1", "gate"]);
  await test.until(
    () => test.daemon.console.state.orders(true, 10).every((o) => o.state !== "sent") || undefined,
    "answers",
  );
  assert.deepEqual(told, ["ni1 worm", "block 192.0.2.10"]);
  const states = test.daemon.console.state.orders(true, 10).map((o) => [o.peer, o.state, o.why]);
  assert.deepEqual(states.sort(), [
    ["gate", "done", "done"],
    ["ni1", "refused", "this peer contains no hosts"],
  ]);
});

Deno.test("console: an order waits for an NI that is away, and is carried out once", async () => {
  await using test = await TestConsole.start({ ni1: "hosts=192.0.2.0/24" });
  const order = (verb: "slow" | "allow", lifetime: number) => ({
    id: crypto.randomUUID(),
    verb,
    host: "192.0.2.10",
    lifetime,
    reason: "a test",
    owner: "alice",
    issued_at: new Date().toISOString(),
  });
  test.daemon.console.order(order("slow", 3600), undefined);
  let times = 0;
  const ni = await test.ni("ni1", {
    handlers: {
      order: () => {
        times++;
        return { ok: true, why: "" };
      },
    },
  });
  await ni.start();
  const states = () => test.daemon.console.state.orders(true, 10).map((o) => o.state);
  await test.until(() => states()[0] === "done" || undefined, "answer");
  // As if the answer had been lost on its way.
  test.daemon.console.state.db.exec("UPDATE orders SET state = 'sent'");
  await test.shut();
  await test.open();
  await test.until(() => states()[0] === "done" || undefined, "answer again");
  assert.equal(times, 1);
  test.daemon.console.order(order("allow", 60), undefined);
  assert.deepEqual(states(), [], "the newest order about a host is the one that holds");
});

/** A peer that says what a test wants. */
async function hostile(test: TestConsole, name: string) {
  const received: Record<string, unknown>[] = [];
  const ended = Promise.withResolvers<string>();
  const channel = await new Promise<WireChannel & { raw(data: Uint8Array): void }>((resolve) => {
    openSubsystem({
      host: "127.0.0.1",
      port: test.port,
      user: "diaper",
      privateKey: test.keyOf(name).privateKey,
      pins: new Set([test.key.publicKey]),
      subsystem: CONSOLE_SUBSYSTEM,
      timeout: 5000,
    }, {
      open: (raw, end) => {
        const wire = new WireChannel(raw, ({ value }) => {
          received.push(value as Record<string, unknown>);
          return undefined;
        }, (why) => {
          end();
          ended.resolve(why);
        });
        resolve(Object.assign(wire, { raw: (data: Uint8Array) => void raw.write(data) }));
      },
      ended: ended.resolve,
    });
  });
  return { channel, received, ended: ended.promise };
}

const HELLO = {
  op: "hello",
  version: 1,
  role: "ni",
  host: "x",
  software: "x",
  started_at: "2026-01-01T00:00:00Z",
  spool: "00".repeat(16),
  first: 1,
  next: 1,
  bundle: null,
};

Deno.test("console: what an NI must not say ends its connection and no other", async () => {
  await using test = await TestConsole.start({ good: "", bad: "" });
  const good = await test.ni("good");
  await good.start();
  const hello = encodeMessage(HELLO);
  const after = (value: unknown, bytes?: Uint8Array) => [hello, encodeMessage(value, bytes)];
  const alert = (seq: number, capture = 0) => ({ seq, event: alertEvent("x"), capture });
  const cases: Uint8Array[][] = [
    [crypto.getRandomValues(new Uint8Array(1000))],
    [new Uint8Array([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])],
    [new Uint8Array([0, 0, 0, 4, 0, 0, 0, 0, 1, 2, 3, 4])],
    [encodeMessage({ op: "alerts", alerts: [alert(1)] })],
    [encodeMessage({ ...HELLO, role: "controller" })],
    [encodeMessage({ ...HELLO, more: 1 })],
    [encodeMessage({ ...HELLO, spool: "../../etc/passwd" })],
    after(HELLO),
    after({ op: "alerts", alerts: [alert(2), alert(1)] }),
    after({ op: "alerts", alerts: [alert(1, 10)] }),
    after({ op: "alerts", alerts: [alert(1)] }, new Uint8Array(5)),
    after({ op: "pinholes", reset: true, pinholes: [], closed: [] }),
    after({ op: "state", state: { much: "x".repeat(100_000) } }),
  ];
  for (const [i, messages] of cases.entries()) {
    const { channel, received, ended } = await hostile(test, "bad");
    channel.raw(messages[0] as Uint8Array);
    if (messages.length > 1) {
      await test.until(() => received.find((m) => m["op"] === "welcome"), "welcome");
      channel.raw(messages[1] as Uint8Array);
    }
    assert.match(await ended, /closed/, `case ${i}`);
  }
  good.alert(alertEvent("still here"));
  const alerts = await test.waitForAlerts(1);
  assert.deepEqual(alerts.map((a) => [a.ni, a.signature]), [["good", "still here"]]);
});

Deno.test("console: a peer that went away without a word is taken for gone", async () => {
  const [ours, theirs] = duplexPair();
  const store = new SqliteStore(":memory:");
  const state = new ConsoleState(":memory:");
  const said: string[] = [];
  const key = newKeyPair("ni").publicKey;
  const console = new Console({
    store,
    state,
    peers: parseRegistry(`ni1 ssh-ed25519 ${key}`, "peers"),
    alertsPerSecond: 100,
    neverBlock: () => undefined,
    log: (_level, text) => said.push(text),
    silence: 100,
  });
  const gone = Promise.withResolvers<void>();
  console.serve(ours, "ni1", "somewhere", () => {
    ours.destroy();
    gone.resolve();
  });
  const received: Record<string, unknown>[] = [];
  const wire = new WireChannel(theirs, ({ value }) => {
    received.push(value as Record<string, unknown>);
    return undefined;
  }, () => {});
  wire.send(HELLO);
  await gone.promise;
  assert.equal(received[0]?.["op"], "welcome");
  assert.match(said.join("\n"), /ni1 has said nothing for 0.1 s/);
  await console.close();
  await store.close();
  state.close();
});

Deno.test("console: replayed alerts are kept once", async () => {
  await using test = await TestConsole.start({ bad: "" });
  for (let time = 0; time < 3; time++) {
    const { channel, received } = await hostile(test, "bad");
    channel.send(HELLO);
    const welcome = await test.until(() => received.find((m) => m["op"] === "welcome"), "welcome");
    assert.equal(welcome["acked"], time === 0 ? 0 : 2);
    const alerts = [1, 2].map((seq) => ({ seq, event: alertEvent(`a${seq}`), capture: 0 }));
    channel.send({ op: "alerts", alerts });
    channel.send({ op: "alerts", alerts });
    await test.until(() => received.find((m) => m["op"] === "ack"), "ack");
  }
  const alerts = await test.waitForAlerts(2);
  assert.deepEqual(alerts.map((a) => a.signature), ["a1", "a2"]);
});

Deno.test("console: a flood of one NI is slowed and holds up no other", async () => {
  await using test = await TestConsole.start({ loud: "", quiet: "" }, { alerts_per_second: 20 });
  const [loud, quiet] = [await test.ni("loud"), await test.ni("quiet")];
  await Promise.all([loud.start(), quiet.start()]);
  for (let i = 0; i < 5000; i++) loud.alert(alertEvent("flood"));
  await test.waitForAlerts(400);
  quiet.alert(alertEvent("heard"));
  await test.until(
    async () => (await test.daemon.console.store.list({ ni: "quiet", limit: 1 }))[0],
    "alert of the quiet one",
  );
  assert.ok(loud.spooled.state.waiting > 2000, "the flood waits on its own disk");
});
