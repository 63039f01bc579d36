/**
 * The console's control socket: what it answers, and what it does with hostile clients.
 */
import assert from "node:assert/strict";
import { alertEvent, TestConsole } from "./support.ts";

interface Reply {
  readonly data?: Record<string, unknown>;
  readonly end?: true;
  readonly error?: { readonly code: number; readonly message: string };
}

/** Sends octets, and reads until the console ends the connection. */
async function talk(test: TestConsole, data: Uint8Array | string): Promise<Reply[]> {
  const connection = await Deno.connect({
    transport: "unix",
    path: `${test.directory}/console.sock`,
  });
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
  const text = await new Response(connection.readable).text();
  return text.trimEnd().split("\n").map((line) => JSON.parse(line) as Reply);
}

async function ask(test: TestConsole, request: Record<string, unknown>): Promise<Reply[]> {
  return await talk(test, JSON.stringify(request) + "\n");
}

Deno.test("console control: what is not understood is refused, and the next one is served", async () => {
  await using test = await TestConsole.start({ ni1: "" });
  const bad: (string | Uint8Array)[] = [
    "\n",
    "{\n",
    "[]\n",
    "null\n",
    '{"op":"destroy"}\n',
    '{"op":"status","more":1}\n',
    '{"op":"alerts","last":-1,"follow":false}\n',
    '{"op":"order","verb":"block","host":"10.0.0.1","lifetime":1e99,"reason":"x"}\n',
    '{"op":"order","verb":"block","host":"10.0.0.1","lifetime":60,"reason":""}\n',
    '{"op":"login","role":"emperor"}\n',
    '{"op":"login","role":"look","user":"../../root"}\n',
    new Uint8Array([0xff, 0xfe, 0x0a]),
  ];
  for (const data of bad) {
    const [reply] = await talk(test, data);
    assert.equal(reply?.error?.code, 2, String(data));
  }
  assert.equal(
    (await ask(test, { op: "push", bundle: "AAAA", targets: [], soak: 0 }))[0]?.error?.code,
    5,
  );
  const [status, end] = await ask(test, { op: "status" });
  assert.deepEqual([status?.data?.["peers"], status?.data?.["connected"], end], [1, 0, {
    end: true,
  }]);
});

Deno.test("console control: alerts with filters, and as they come", async () => {
  await using test = await TestConsole.start({ ni1: "", ni2: "" });
  const [ni1, ni2] = [await test.ni("ni1"), await test.ni("ni2")];
  await Promise.all([ni1.start(), ni2.start()]);
  for (let i = 0; i < 5; i++) ni1.alert(alertEvent(`a${i}`));
  ni2.alert(alertEvent("b", { src_ip: "10.9.9.9" }));
  await test.waitForAlerts(6);
  const signatures = async (more: Record<string, unknown>) =>
    (await ask(test, { op: "alerts", last: 100, follow: false, ...more }))
      .flatMap((r) =>
        r.data === undefined ? [] : [(r.data["alert"] as { signature: string }).signature]
      );
  assert.deepEqual(await signatures({ ni: "ni1" }), ["a0", "a1", "a2", "a3", "a4"]);
  assert.deepEqual(await signatures({ host: "10.9.9.9" }), ["b"]);
  assert.deepEqual(await signatures({ text: "A3" }), ["a3"]);
  assert.deepEqual(await signatures({ severity: 1 }), []);
  const connection = await Deno.connect({
    transport: "unix",
    path: `${test.directory}/console.sock`,
  });
  const lines = connection.readable.pipeThrough(new TextDecoderStream()).getReader();
  const writer = connection.writable.getWriter();
  await writer.write(
    new TextEncoder().encode('{"op":"alerts","last":1,"follow":true,"ni":"ni2"}\n'),
  );
  let text = (await lines.read()).value ?? "";
  assert.match(text, /"signature":"b"/);
  ni1.alert(alertEvent("not this one"));
  ni2.alert(alertEvent("this one"));
  while (!/this one/.test(text)) text += (await lines.read()).value ?? "";
  assert.doesNotMatch(text, /not this one/);
  await lines.cancel();
});

Deno.test("console control: an order is answered when the NI has answered, and what is never blocked is not", async () => {
  await using test = await TestConsole.start({ ni1: "hosts=10.0.0.0/24" }, {
    never_block: ["10.0.0.53", "10.0.0.128/25"],
  });
  const ni = await test.ni("ni1", {
    handlers: { order: ({ verb }) => ({ ok: verb !== "filter", why: `${verb} it is` }) },
  });
  await ni.start();
  await test.until(() => ni.connected || undefined, "NI at the console");
  const order = (more: Record<string, unknown>) =>
    ask(test, {
      op: "order",
      verb: "slow",
      host: "10.0.0.1",
      lifetime: 60,
      reason: "a test",
      ...more,
    });
  const [done] = await order({ connections: 1 });
  assert.deepEqual([done?.data?.["state"], done?.data?.["why"]], ["done", "slow it is"]);
  const [refused] = await order({ verb: "filter", destinations: ["10.0.0.53"] });
  assert.deepEqual([refused?.data?.["state"], refused?.data?.["why"]], ["refused", "filter it is"]);
  for (const host of ["10.0.0.53", "10.0.0.200", "192.0.2.1", "nobody"]) {
    assert.equal((await order({ host }))[0]?.error?.code, 5, host);
  }
  assert.equal((await order({ verb: "allow", host: "10.0.0.53" }))[0]?.data?.["state"], "done");
  const whats = test.daemon.console.state.auditLines(undefined, 20).map((l) => l.what);
  assert.equal(whats.filter((w) => w === "order.refused").length, 2);
});

Deno.test("console control: clients that say nothing, or do not read, hold nobody up", async () => {
  await using test = await TestConsole.start({ ni1: "" });
  const ni = await test.ni("ni1");
  await ni.start();
  for (let i = 0; i < 3000; i++) ni.alert(alertEvent("x".repeat(200)));
  await test.waitForAlerts(3000);
  const path = `${test.directory}/console.sock`;
  const silent = await Promise.all(
    Array.from({ length: 300 }, () => Deno.connect({ transport: "unix", path })),
  );
  const deaf = await Deno.connect({ transport: "unix", path });
  await deaf.write(new TextEncoder().encode('{"op":"alerts","last":3000,"follow":true}\n'));
  assert.equal((await ask(test, { op: "status" }))[0]?.data?.["alerts"], 3000);
  for (const connection of [...silent, deaf]) connection.close();
});
