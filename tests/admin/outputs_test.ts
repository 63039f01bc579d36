/**
 * Where a console tells others of alerts: files, syslog, webhooks and mail, with real receivers on loopback.
 */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createSocket } from "node:dgram";
import { EveFile } from "../../lib/admin/outputs/eve_file.ts";
import { MailOutput, mailText } from "../../lib/admin/outputs/mail.ts";
import { SyslogOutput } from "../../lib/admin/outputs/syslog.ts";
import { WebhookOutput } from "../../lib/admin/outputs/webhook.ts";
import { SqliteStore } from "../../lib/admin/sqlite_store.ts";
import { alertFields, type StoredAlert } from "../../lib/admin/store.ts";
import { alertEvent } from "./support.ts";

function alert(id: number, signature: string, severity = 1): StoredAlert {
  const event = alertEvent(signature, {
    timestamp: "2026-05-01T10:00:00.000Z",
    alert: { signature, category: "x", severity, action: "blocked" },
  });
  return {
    id,
    ni: "ni1",
    seq: id,
    received: Date.parse("2026-05-01T10:00:01Z"),
    ...alertFields(event, 0),
    event,
    capture: 0,
  };
}

const HOSTILE = 'x"] \n<0>1 - - - - forged\r\nBcc: eve@example.com\u0000';

Deno.test("console outputs: the EVE file goes on where it ended, without a line twice or half", async () => {
  const directory = Deno.makeTempDirSync();
  const store = new SqliteStore(":memory:");
  const options = { file: `${directory}/eve.json`, rotate: 1 << 30, keep: 2 };
  const incoming = (seq: number) => ({
    ...{ ni: "ni1", spool: "s", seq, event: alertEvent(`a${seq}`), capture: new Uint8Array() },
  });
  let eve = await EveFile.open(options, store);
  eve.alerts(await store.append([incoming(1), incoming(2)]));
  await eve.close();
  // As kill -9 leaves it: half a line, and alerts that are kept and not in the file.
  Deno.writeTextFileSync(options.file, '{"timestamp":"20', { append: true });
  await store.append([incoming(3), incoming(4)]);
  eve = await EveFile.open(options, store);
  eve.alerts(await store.append([incoming(5)]));
  await eve.close();
  const lines = Deno.readTextFileSync(options.file).trimEnd().split("\n")
    .map((l) => JSON.parse(l) as { alert: { signature: string }; host: string });
  assert.deepEqual(lines.map((l) => l.alert.signature), ["a1", "a2", "a3", "a4", "a5"]);
  assert.equal(lines[0]?.host, "ni1");
  await store.close();
  Deno.removeSync(directory, { recursive: true });
});

Deno.test("console outputs: the EVE file is turned over when it is large", async () => {
  const directory = Deno.makeTempDirSync();
  const store = new SqliteStore(":memory:");
  const eve = await EveFile.open({ file: `${directory}/eve.json`, rotate: 1000, keep: 2 }, store);
  for (let i = 1; i <= 20; i++) eve.alerts([alert(i, "x")]);
  await eve.close();
  await store.close();
  assert.deepEqual([...Deno.readDirSync(directory)].map((e) => e.name).sort(), [
    "eve.json",
    "eve.json.1",
    "eve.json.2",
  ]);
  Deno.removeSync(directory, { recursive: true });
});

Deno.test("console outputs: syslog messages are RFC 5424, one each, and so many a minute", async () => {
  const receiver = createSocket("udp4");
  await new Promise<void>((resolve) => receiver.bind(0, "127.0.0.1", resolve));
  const { port } = receiver.address();
  const texts: string[] = [];
  const both = Promise.withResolvers<void>();
  receiver.on("message", (data: Uint8Array) => {
    texts.push(new TextDecoder("utf-8", { ignoreBOM: true }).decode(data));
    if (texts.length === 2) both.resolve();
  });
  const output = new SyslogOutput({ host: "127.0.0.1", port }, 2, 2);
  output.alerts([
    alert(1, HOSTILE),
    alert(2, "not so grave", 3),
    alert(3, "b", 2),
    alert(4, "over"),
  ]);
  await both.promise;
  assert.match(
    texts[0] ?? "",
    /^<162>1 2026-05-01T10:00:00\.000Z \S+ diaper-console \d+ codered \[alert@32473 id="1" ni="ni1" .*\] \ufeff/,
  );
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(texts[0] ?? "", /[\x00-\x1f]/);
  assert.match(texts[0] ?? "", /signature="x\\"\\\]/);
  assert.match(texts[1] ?? "", /^<164>1 /);
  const { sent, dropped } = output.status();
  assert.deepEqual([sent, dropped], [2, 1]);
  await output.close();
  receiver.close();
});

Deno.test("console outputs: a webhook is signed, and tried again until it is taken", async () => {
  const bodies: { text: string; signature: string | null }[] = [];
  const taken = Promise.withResolvers<void>();
  let tries = 0;
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      const text = await request.text();
      if (++tries === 1) return new Response("later", { status: 503 });
      bodies.push({ text, signature: request.headers.get("x-diaper-signature") });
      taken.resolve();
      return new Response(null, { status: 204 });
    },
  );
  const output = new WebhookOutput({
    url: `http://127.0.0.1:${server.addr.port}/hook`,
    secret: "sesame",
    severity: 2,
    perMinute: 10,
  });
  output.alerts([alert(7, "worm"), alert(8, "notice", 3)]);
  await taken.promise;
  const body = bodies[0];
  const { alerts } = JSON.parse(body?.text ?? "") as { alerts: { alert: { signature: string } }[] };
  assert.deepEqual(alerts.map((a) => a.alert.signature), ["worm"]);
  const mac = createHmac("sha256", "sesame").update(body?.text ?? "").digest("hex");
  assert.equal(body?.signature, `sha256=${mac}`);
  await output.close();
  await server.shutdown();
});

Deno.test("console outputs: alerts go by mail, several in one, and nobody forges its header", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const mail = smtpServer(listener);
  const options = {
    server: { host: "127.0.0.1", port },
    from: "diaper@example.com",
    to: ["ops@example.com", "night@example.com"],
    severity: 1,
    perHour: 5,
    name: "site",
  };
  const output = new MailOutput(options);
  output.alerts([alert(1, HOSTILE), alert(2, "worm"), alert(3, "not so grave", 2)]);
  const { commands, text } = await mail;
  assert.deepEqual(commands.slice(1, 4), [
    "MAIL FROM:<diaper@example.com>",
    "RCPT TO:<ops@example.com>",
    "RCPT TO:<night@example.com>",
  ]);
  const [head = "", body = ""] = text.split("\r\n\r\n");
  assert.doesNotMatch(head, /^Bcc/mi);
  const subject = [...head.matchAll(/=\?utf-8\?B\?([^?]*)\?=/g)]
    .map((m) => new TextDecoder().decode(Uint8Array.fromBase64(m[1] ?? ""))).join("");
  assert.match(subject, /^\[site\] 2 alerts, first: x"/);
  const lines = new TextDecoder().decode(Uint8Array.fromBase64(body.replace(/\s/g, ""))).trimEnd()
    .split("\n");
  assert.equal(lines.length, 2);
  await output.close();
  listener.close();
  assert.match(mailText(options, [alert(1, "one")], 70), /Subject:/);
});

/** Takes one mail, as a server would. */
async function smtpServer(
  listener: Deno.Listener,
): Promise<{ commands: string[]; text: string }> {
  const connection = await listener.accept();
  const say = (line: string) => connection.write(new TextEncoder().encode(line + "\r\n"));
  const commands: string[] = [];
  let rest = "";
  const buffer = new Uint8Array(65_536);
  await say("220 test ESMTP");
  for (;;) {
    const n = await connection.read(buffer);
    assert.ok(n !== null, "the client goes before it has said QUIT");
    rest += new TextDecoder().decode(buffer.subarray(0, n));
    if (commands.at(-1) === "DATA") {
      const end = rest.indexOf("\r\n.\r\n");
      if (end === -1) continue;
      const text = rest.slice(0, end);
      await say("250 taken");
      connection.close();
      return { commands, text };
    }
    for (let at; (at = rest.indexOf("\r\n")) !== -1;) {
      const command = rest.slice(0, at);
      rest = rest.slice(at + 2);
      commands.push(command);
      if (command.startsWith("EHLO")) await say("250-test\r\n250 8BITMIME");
      else if (command === "DATA") await say("354 go on");
      else await say("250 ok");
    }
  }
}
