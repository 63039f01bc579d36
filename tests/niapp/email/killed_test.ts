/** The scanner is killed in the middle of a message. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { labPossible } from "../../lab/lab.ts";
import { SMTP_CLIENTS } from "../../lab/mail_clients.ts";
import { MailServers } from "../../lab/mail_servers.ts";
import { NiLab } from "../../ni/inline_lab.ts";
import { bytes, latin1, mail } from "./dialogues.ts";

const PROGRAMS = ["/usr/sbin/exim4", "/usr/sbin/dovecot", "/usr/bin/swaks"];
const absent = PROGRAMS.filter((path) => !existsSync(path));
const why = !labPossible
  ? " (skipped: labs need root)"
  : absent.length > 0
  ? ` (skipped: ${absent.join(", ")} not here)`
  : "";

const MESSAGE = mail(bytes("an innocent attachment"));

/** Sends a message in two halves, the second one when it is told to; says what came of it. */
const HALVES = `
import smtplib, sys
data = open(sys.argv[2], "rb").read()
c = smtplib.SMTP(sys.argv[1], 25, "client", timeout=60)
c.ehlo(); c.mail("alice@example.org"); c.rcpt("bob@example.net"); c.docmd("DATA")
c.sock.sendall(data[:400]); print("half", flush=True)
sys.stdin.readline()
try:
    c.sock.sendall(data[400:] + b".\\r\\n")
    print("answer", c.getreply()[0], flush=True)
except (OSError, smtplib.SMTPServerDisconnected):
    print("ended", flush=True)
`;

Deno.test({
  name: `e-mail: the scanner killed in mid-message: nothing unchecked arrives, the next does${why}`,
  ignore: why !== "",
  async fn() {
    await using lab = await NiLab.create();
    const servers = await MailServers.start(lab.net, { address: lab.netAddress });
    const directory = Deno.makeTempDirSync({ prefix: "diaper-killed-" });
    try {
      const file = `${directory}/message.eml`;
      Deno.writeTextFileSync(file, MESSAGE);
      const ni = await lab.start("--scanner", "email");
      const client = lab.host.spawn("python3", ["-c", HALVES, lab.netAddress, file]);
      await client.waitForLine(/half/);
      ni.kill("SIGUSR2");
      const pid = await ni.find((line) => {
        const found = /"email":\{"pid":(\d+)/.exec(line);
        return found === null ? undefined : Number(found[1]);
      }, "the scanner's process");
      Deno.kill(pid, "SIGKILL");
      await ni.waitForLine(/scanner email.*(ended|killed|signal)/);
      await client.write("\n");
      await client.waitForLine(/ended/);
      await client.status;
      assert.equal(servers.messages().length, 0);
      // The scanner comes back by itself; until then its connections are ended. What it lets through is whole.
      const send = SMTP_CLIENTS["swaks"] as (typeof SMTP_CLIENTS)[string];
      for (let tries = 0;; tries++) {
        try {
          await send({ host: lab.host, server: lab.netAddress, directory }, file);
          break;
        } catch (error) {
          if (tries === 20) throw error;
        }
      }
      const [message] = await servers.arrived(1);
      assert.ok(latin1(message as Uint8Array).includes(MESSAGE.replaceAll("\r\n", "\n")));
      assert.equal((await ni.stop()).code, 0);
    } finally {
      await servers.stop();
      Deno.removeSync(directory, { recursive: true });
    }
  },
});
