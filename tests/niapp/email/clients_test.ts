/** Real clients and servers, with the e-mail scanner on an NI between them. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import PostalMime from "postal-mime";
import { labPossible } from "../../lab/lab.ts";
import { IMAP_CLIENTS, POP3_CLIENTS, SMTP_CLIENTS } from "../../lab/mail_clients.ts";
import { MailServers } from "../../lab/mail_servers.ts";
import { NiLab } from "../../ni/inline_lab.ts";
import { CLAMD, ClamdServer } from "./clamd_server.ts";
import { bytes, latin1, mail, MALICIOUS, MALICIOUS_MD5 } from "./dialogues.ts";

const PROGRAMS = [
  ...["/usr/sbin/exim4", "/usr/sbin/dovecot", "/usr/bin/swaks", "/usr/bin/fetchmail", CLAMD],
  ...["/usr/bin/mpop", "/usr/bin/mbsync", "/usr/bin/curl"],
];
const absent = PROGRAMS.filter((path) => !existsSync(path));
const why = !labPossible
  ? " (skipped: labs need root)"
  : absent.length > 0
  ? ` (skipped: ${absent.join(", ")} not here)`
  : "";

const CLEAN = mail(bytes("an innocent attachment"));
const INFECTED = mail(MALICIOUS);

const digest = (data: string | ArrayBuffer | Uint8Array) =>
  createHash("sha256").update(
    typeof data === "string" ? data : new Uint8Array(data),
  ).digest("hex");

/** The attachments of a message as postal-mime sees them, each with a digest of what is in it. */
async function attachments(message: string | Uint8Array): Promise<string[]> {
  const { attachments } = await new PostalMime().parse(message);
  return attachments.filter(({ mimeType }) => mimeType !== "text/plain").map((a) =>
    `${a.mimeType} ${digest(a.content)}`
  );
}

/** The message's parts as they stand in it, with their headers, each with a digest; the one that `but` matches is left out. */
function parts(message: string, but?: RegExp): string[] {
  // Servers keep lines with other ends than those on the way, and blank ones behind the end.
  const [, ...parts] = message.replaceAll("\r\n", "\n").trimEnd().split(/^--=_b1/m);
  return parts.filter((part) => but?.test(part) !== true).map(digest);
}

/** What a recipient has got: the virus is not in it, the rest is. */
async function assertCleaned(messages: readonly Uint8Array[], who: string): Promise<void> {
  assert.equal(messages.length, 2, `${who}: messages`);
  const [clean, infected] = [...messages].sort((a, b) =>
    Number(/An infected attachment/.test(latin1(a))) -
    Number(/An infected attachment/.test(latin1(b)))
  ) as [Uint8Array, Uint8Array];
  assert.deepEqual(parts(latin1(clean)), parts(CLEAN), `${who}: the clean message`);
  assert.deepEqual(await attachments(clean), await attachments(CLEAN), `${who}: the clean message`);
  const text = latin1(infected);
  assert.match(text, /An infected attachment was removed/, who);
  assert.ok(!text.includes(MALICIOUS.toBase64().slice(0, 20)), who);
  const others = parts(INFECTED, /application\/octet-stream/);
  assert.equal(others.length, 3, "the text, the picture, and the end");
  assert.deepEqual(parts(text, /An infected attachment/), others, `${who}: the other parts`);
  const expected = (await attachments(INFECTED)).filter((a) => !a.startsWith("application/"));
  assert.deepEqual(await attachments(infected), expected, `${who}: what is in them`);
  assert.match(text, /--=_b1--\s*$/, who);
}

Deno.test({
  name: `e-mail: every client gets the cleaned message, across an inline NI${why}`,
  ignore: why !== "",
  async fn(test) {
    await using lab = await NiLab.create();
    await using clamd = await ClamdServer.start([
      `${MALICIOUS_MD5}:${MALICIOUS.length}:Test.Eicar`,
    ]);
    const servers = await MailServers.start(lab.net, { address: lab.netAddress });
    const directory = Deno.makeTempDirSync({ prefix: "diaper-clients-" });
    Deno.chmodSync(directory, 0o755);
    try {
      const ni = await lab.startWith(
        `scanners:
  email:
    services: { clamd: ${clamd.socket} }
    options: { checks: [digests, clamd], digests: ['${"0".repeat(32)}'] }
`,
      );
      const client = (name: string) => {
        const own = `${directory}/${name.replaceAll(/\W/g, "_")}`;
        Deno.mkdirSync(own);
        return { host: lab.host, server: lab.netAddress, directory: own };
      };
      servers.deliver("1", CLEAN);
      servers.deliver("2", INFECTED);
      for (const [name, fetch] of Object.entries(POP3_CLIENTS)) {
        await test.step(`POP3: ${name}`, async () => {
          await assertCleaned(await fetch(client(`pop3 ${name}`)), name);
        });
      }
      for (const [name, fetch] of Object.entries(IMAP_CLIENTS)) {
        await test.step(`IMAP: ${name}`, async () => {
          await assertCleaned(await fetch(client(`imap ${name}`)), name);
        });
      }
      Deno.writeTextFileSync(`${directory}/clean.eml`, CLEAN);
      Deno.writeTextFileSync(`${directory}/infected.eml`, INFECTED);
      for (const [name, send] of Object.entries(SMTP_CLIENTS)) {
        await test.step(`SMTP: ${name}`, async () => {
          servers.empty();
          await send(client(`smtp ${name} clean`), `${directory}/clean.eml`);
          await send(client(`smtp ${name}`), `${directory}/infected.eml`);
          await assertCleaned(await servers.arrived(2), name);
        });
      }
      const infected = ni.output("stdout").filter((line) => line.includes('"infected attachment"'));
      const clients = [POP3_CLIENTS, IMAP_CLIENTS, SMTP_CLIENTS].flatMap((all) => Object.keys(all));
      assert.equal(infected.length, clients.length, infected.join("\n"));
      assert.equal((await ni.stop()).code, 0, ni.output("stderr").join("\n"));
    } finally {
      await servers.stop();
      Deno.removeSync(directory, { recursive: true });
    }
  },
});
