/** A table of digests that is longer than any message to a scanner, with real mail, and exchanged for another one meanwhile. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { labPossible } from "../../lab/lab.ts";
import { SMTP_CLIENTS } from "../../lab/mail_clients.ts";
import { MailServers } from "../../lab/mail_servers.ts";
import { NiLab } from "../../ni/inline_lab.ts";
import { latin1, mail, MALICIOUS } from "./dialogues.ts";

const PROGRAMS = ["/usr/sbin/exim4", "/usr/sbin/dovecot", "/usr/bin/swaks"];
const absent = PROGRAMS.filter((path) => !existsSync(path));
const why = !labPossible
  ? " (skipped: labs need root)"
  : absent.length > 0
  ? ` (skipped: ${absent.join(", ")} not here)`
  : "";

const ENTRIES = 100_000;

/** Digests of nothing in particular, with names as in ClamAV's files, and one of the malicious file at the end. */
function table(malicious: boolean): string {
  const lines = Array.from(
    { length: ENTRIES },
    (_, i) => `${i.toString(16).padStart(64, "0")}:${i}:Test.Nothing.${i}`,
  );
  const digest = createHash("sha256").update(MALICIOUS).digest("hex");
  if (malicious) lines.push(`${digest}:${MALICIOUS.length}:Test.Eicar`);
  return lines.map((line) => `${line}\n`).join("");
}

Deno.test({
  name: `e-mail: a table of a hundred thousand digests, exchanged while mail comes${why}`,
  ignore: why !== "",
  async fn() {
    await using lab = await NiLab.create();
    const servers = await MailServers.start(lab.net, { address: lab.netAddress });
    const directory = Deno.makeTempDirSync({ prefix: "diaper-digests-" });
    try {
      const file = `${directory}/infected.eml`;
      Deno.writeTextFileSync(file, mail(MALICIOUS));
      const digests = `${directory}/digests`;
      Deno.writeTextFileSync(digests, table(false));
      const ni = await lab.startWith(
        `scanners: { email: { options: { digests_file: ${digests} } } }\n`,
      );
      const send = async () => {
        servers.empty();
        const swaks = SMTP_CLIENTS["swaks"] as (typeof SMTP_CLIENTS)[string];
        await swaks({ host: lab.host, server: lab.netAddress, directory }, file);
        const [message] = await servers.arrived(1);
        return latin1(message as Uint8Array);
      };
      assert.doesNotMatch(await send(), /An infected attachment was removed/);
      Deno.writeTextFileSync(digests, table(true));
      ni.kill("SIGHUP");
      // The one before goes on until the new one has read its table.
      while (!/An infected attachment was removed/.test(await send())) {
        assert.ok(ni.running);
      }
      const [alert] = await ni.waitForLine(/.*"infected attachment".*/);
      assert.equal(JSON.parse(alert).detail.found[0].name, "Test.Eicar");
      // One that is none changes nothing.
      Deno.writeTextFileSync(digests, `${table(true)}not a digest\n`);
      ni.kill("SIGHUP");
      await ni.waitForLine(new RegExp(`digests:${ENTRIES + 2}:1: expected an MD5`));
      assert.match(await send(), /An infected attachment was removed/);
      assert.equal((await ni.stop()).code, 0, ni.output("stderr").join("\n"));
    } finally {
      await servers.stop();
      Deno.removeSync(directory, { recursive: true });
    }
  },
});
