/** The scanner is killed in the middle of a message: what its `on_failure` says then holds for the whole of it. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { labPossible } from "../../lab/lab.ts";
import { POP3_CLIENTS, SMTP_CLIENTS } from "../../lab/mail_clients.ts";
import { MailServers } from "../../lab/mail_servers.ts";
import type { LabProcess } from "../../lab/process.ts";
import { NiLab } from "../../ni/inline_lab.ts";
import { bytes, latin1, mail } from "./dialogues.ts";

const PROGRAMS = ["/usr/sbin/exim4", "/usr/sbin/dovecot", "/usr/bin/swaks", "/usr/bin/mpop"];
const absent = PROGRAMS.filter((path) => !existsSync(path));
const why = !labPossible
  ? " (skipped: labs need root)"
  : absent.length > 0
  ? ` (skipped: ${absent.join(", ")} not here)`
  : "";

const MESSAGE = mail(bytes("an innocent attachment"));
/** Longer than what a server sends before it waits for an acknowledgement. */
const LONG = mail(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7919) >> 3));

/** Sends a message in two halves, the second one when it is told to; says what came of it. */
const HALVES = `
import re, smtplib, sys
data = re.sub(rb"(?m)^\\.", b"..", open(sys.argv[2], "rb").read())
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

interface Site {
  readonly lab: NiLab;
  readonly servers: MailServers;
  readonly ni: LabProcess;
  readonly directory: string;
  readonly file: string;
}

async function site(onFailure: "open" | "closed", run: (site: Site) => Promise<void>) {
  await using lab = await NiLab.create();
  const servers = await MailServers.start(lab.net, { address: lab.netAddress });
  const directory = Deno.makeTempDirSync({ prefix: "diaper-killed-" });
  try {
    const file = `${directory}/message.eml`;
    Deno.writeTextFileSync(file, MESSAGE);
    const ni = await lab.startWith(`scanners: { email: { on_failure: ${onFailure} } }\n`);
    await run({ lab, servers, ni, directory, file });
    assert.equal((await ni.stop()).code, 0);
  } finally {
    await servers.stop();
    Deno.removeSync(directory, { recursive: true });
  }
}

/** What the NI says of the e-mail scanner and of the bytes that wait. */
async function state(lab: NiLab): Promise<{ pid: number; waiting: number }> {
  const { scanners, streams } = await lab.status() as {
    scanners: { email: { pid: number } };
    streams: { heldBytes: number };
  };
  return { pid: scanners.email.pid, waiting: streams.heldBytes };
}

async function kill({ ni }: Site, pid: number): Promise<void> {
  Deno.kill(pid, "SIGKILL");
  await ni.waitForLine(/scanner email.*(ended|killed|signal)/);
}

/** What was kept of a message, as it was sent. */
function kept(message: Uint8Array | undefined): string {
  return latin1(message as Uint8Array);
}

for (const onFailure of ["open", "closed"] as const) {
  Deno.test({
    name: `e-mail: on_failure ${onFailure}, the scanner killed while a message is sent: ${
      onFailure === "open" ? "it arrives as it is" : "nothing unchecked arrives, the next does"
    }${why}`,
    ignore: why !== "",
    fn: () =>
      site(onFailure, async (site) => {
        const { lab, servers, directory, file } = site;
        const client = lab.host.spawn("python3", ["-c", HALVES, lab.netAddress, file]);
        await client.waitForLine(/half/);
        await kill(site, (await state(lab)).pid);
        await client.write("\n");
        if (onFailure === "open") {
          await client.waitForLine(/answer 250/);
          const [message] = await servers.arrived(1);
          assert.ok(kept(message).endsWith(MESSAGE.replaceAll("\r\n", "\n")));
        } else {
          await client.waitForLine(/ended/);
          assert.equal(servers.messages().length, 0);
          // The scanner comes back by itself; until then its connections are ended.
          await sent(site, file, directory);
          const [message] = await servers.arrived(1);
          assert.ok(kept(message).includes(MESSAGE.replaceAll("\r\n", "\n")));
        }
        await client.status;
      }),
  });

  Deno.test({
    name: `e-mail: on_failure ${onFailure}, the scanner killed while a message is fetched: ${
      onFailure === "open" ? "all come as they are" : "nothing of it comes, later all do"
    }${why}`,
    ignore: why !== "",
    fn: () =>
      site(onFailure, async (site) => {
        const { lab, servers, directory } = site;
        const messages = [MESSAGE, LONG, MESSAGE];
        for (const [i, text] of messages.entries()) servers.deliver(`${1000 + i}.${i}.mx`, text);
        const { pid } = await state(lab);
        const fetching = fetch(lab, `${directory}/first`);
        // What came of the connection waits for a scanner that does not read.
        Deno.kill(pid, "SIGSTOP");
        while ((await state(lab)).waiting === 0) await lab.ping(1, lab.netAddress);
        await kill(site, pid);
        const first = await fetching;
        if (onFailure === "open") assert.deepEqual(first, messages.map(unixLines).sort());
        else {
          assert.ok(first.length < messages.length);
          for (const message of first) assert.ok(messages.map(unixLines).includes(message));
        }
        for (let tries = 0;; tries++) {
          const again = await fetch(lab, `${directory}/again${tries}`);
          if (again.length < messages.length && tries < 20) continue;
          assert.deepEqual(again, messages.map(unixLines).sort());
          break;
        }
      }),
  });
}

async function sent({ lab }: Site, file: string, directory: string): Promise<void> {
  const send = SMTP_CLIENTS["swaks"] as (typeof SMTP_CLIENTS)[string];
  for (let tries = 0;; tries++) {
    try {
      return await send({ host: lab.host, server: lab.netAddress, directory }, file);
    } catch (error) {
      if (tries === 20) throw error;
    }
  }
}

/** What could be fetched, in order of its text. */
async function fetch(lab: NiLab, directory: string): Promise<string[]> {
  Deno.mkdirSync(directory);
  const mpop = POP3_CLIENTS["mpop"] as (typeof POP3_CLIENTS)[string];
  const options = { host: lab.host, server: lab.netAddress, directory };
  try {
    return (await mpop(options)).map(latin1).sort();
  } catch {
    // The connection was ended: whole messages that came before count all the same.
    return MAILDIR.flatMap((folder) =>
      [...Deno.readDirSync(`${directory}/mail/${folder}`)].map(({ name }) =>
        latin1(Deno.readFileSync(`${directory}/mail/${folder}/${name}`))
      )
    ).sort();
  }
}

const MAILDIR = ["new", "cur"];

function unixLines(text: string): string {
  return text.replaceAll("\r\n", "\n");
}
