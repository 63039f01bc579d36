/**
 * Real mail clients on a host of a lab: each sends one message, or fetches all of a mailbox.
 *
 * @module
 */
import { removeIfThere } from "../../lib/sys/files.ts";
import type { Host } from "./host.ts";
import { MAIL_PASSWORD, MAIL_USER } from "./mail_servers.ts";

/** Where a client works and whom it asks. */
export interface ClientOptions {
  readonly host: Host;
  /** The server's address. */
  readonly server: string;
  /** A directory that is the client's own. */
  readonly directory: string;
}

/** Fetches all messages and gives them back. */
export type Fetch = (options: ClientOptions) => Promise<Uint8Array[]>;
/** Sends the message in a file. */
export type Send = (options: ClientOptions, file: string) => Promise<void>;

const LOGIN = `${MAIL_USER}:${MAIL_PASSWORD}`;

function filesIn(directory: string): Uint8Array[] {
  return [...Deno.readDirSync(directory)].filter(({ isFile }) => isFile).map(({ name }) => name)
    .sort().map((name) => Deno.readFileSync(`${directory}/${name}`));
}

function maildir(directory: string): Uint8Array[] {
  return [...filesIn(`${directory}/new`), ...filesIn(`${directory}/cur`)];
}

function makeMaildir(directory: string): void {
  for (const name of ["new", "cur", "tmp"]) {
    Deno.mkdirSync(`${directory}/${name}`, { recursive: true });
  }
}

/** Names for clients that ask for the server's and their own: in a lab nobody answers, and they wait for five seconds. */
function hostsFile({ server, directory }: ClientOptions): string {
  const path = `${directory}.hosts`;
  Deno.writeTextFileSync(
    path,
    `127.0.0.1 localhost ${Deno.hostname()}\n${server} mx.example.net\n`,
  );
  return path;
}

async function python(options: ClientOptions, program: string, ...args: string[]): Promise<void> {
  await options.host.must("python3", ["-c", program, options.server, options.directory, ...args]);
}

function curl(scheme: "pop3" | "imap", address: (number: number) => string): Fetch {
  return async ({ host, server, directory }) => {
    for (let number = 1;; number++) {
      const file = `${directory}/${number}`;
      const { code } = await host.run("curl", [
        ...["-s", "-u", LOGIN, "-o", file, `${scheme}://${server}/${address(number)}`],
      ]);
      // The number behind the last one does not exist.
      if (code === 0) continue;
      removeIfThere(file);
      return filesIn(directory);
    }
  };
}

/** Clients that fetch over POP3. */
export const POP3_CLIENTS: Readonly<Record<string, Fetch>> = {
  curl: curl("pop3", (number) => `${number}`),
  async fetchmail({ host, server, directory }) {
    Deno.mkdirSync(`${directory}/mail`);
    Deno.writeTextFileSync(
      `${directory}/rc`,
      `poll ${server} protocol pop3 username ${MAIL_USER} password ${MAIL_PASSWORD} keep fetchall\n` +
        `  sslproto '' mda "cat > $(mktemp ${directory}/mail/XXXXXX)"\n`,
      { mode: 0o600 },
    );
    await host.must("fetchmail", ["-f", `${directory}/rc`, "--nodetach", "--silent"], {
      env: { FETCHMAILHOME: directory },
    });
    return filesIn(`${directory}/mail`);
  },
  async mpop(options) {
    const { host, server, directory } = options;
    makeMaildir(`${directory}/mail`);
    Deno.writeTextFileSync(
      `${directory}/rc`,
      `account default\nhost ${server}\nuser ${MAIL_USER}\npassword ${MAIL_PASSWORD}\nauth user\n` +
        `tls off\nkeep on\nreceived_header off\ndelivery maildir ${directory}/mail\n` +
        `uidls_file ${directory}/uidls\n`,
      { mode: 0o600 },
    );
    await host.must("mpop", ["-C", `${directory}/rc`, "-q"], { hosts: hostsFile(options) });
    return maildir(`${directory}/mail`);
  },
  async poplib(options) {
    await python(options, POPLIB);
    return filesIn(options.directory);
  },
};

/** Clients that fetch over IMAP. */
export const IMAP_CLIENTS: Readonly<Record<string, Fetch>> = {
  curl: curl("imap", (number) => `INBOX;MAILINDEX=${number}`),
  async mbsync({ host, server, directory }) {
    makeMaildir(`${directory}/INBOX`);
    Deno.writeTextFileSync(
      `${directory}/rc`,
      `IMAPStore far\nHost ${server}\nUser ${MAIL_USER}\nPass ${MAIL_PASSWORD}\nSSLType None\n` +
        `AuthMechs LOGIN\n\nMaildirStore near\nPath ${directory}/\nInbox ${directory}/INBOX\n\n` +
        `Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nSync Pull\nSyncState *\n`,
      { mode: 0o600 },
    );
    await host.must("mbsync", ["-c", `${directory}/rc`, "-q", "all"]);
    return maildir(`${directory}/INBOX`);
  },
  async imaplib(options) {
    await python(options, IMAPLIB);
    return filesIn(options.directory);
  },
};

/** Clients that send over SMTP. */
export const SMTP_CLIENTS: Readonly<Record<string, Send>> = {
  async swaks({ host, server }, file) {
    await host.must("swaks", [
      ...["--server", server, "--from", "alice@example.org", "--to", `${MAIL_USER}@example.net`],
      ...["--data", `@${file}`, "--suppress-data", "--hide-all"],
    ]);
  },
  async curl({ host, server }, file) {
    await host.must("curl", [
      ...["-s", "--mail-from", "alice@example.org", "--mail-rcpt", `${MAIL_USER}@example.net`],
      ...["-T", file, `smtp://${server}/client`],
    ]);
  },
  async smtplib(options, file) {
    await python(options, SMTPLIB, file);
  },
  async "exim4, in chunks"({ host, server, directory }, file) {
    // Exim as a client: it sends with BDAT when that is offered.
    for (const name of ["spool", "log"]) Deno.mkdirSync(`${directory}/${name}`);
    Deno.chmodSync(directory, 0o755);
    await host.must("chown", ["-R", "Debian-exim", directory]);
    Deno.writeTextFileSync(`${directory}/conf`, eximClient(directory, server));
    const { stderr } = await host.run(
      "/usr/sbin/exim4",
      [
        "-C",
        `${directory}/conf`,
        "-odf",
        "-v",
        "-f",
        "alice@example.org",
        `${MAIL_USER}@example.net`,
      ],
      { input: Deno.readTextFileSync(file) },
    );
    if (!/=> /.test(stderr)) throw new Error(`exim4 did not deliver: ${stderr}`);
  },
};

function eximClient(directory: string, server: string): string {
  return `
primary_hostname = client.example.org
spool_directory = ${directory}/spool
log_file_path = ${directory}/log/%slog
host_lookup =
never_users =
deliver_drop_privilege = true
begin routers
all:
  driver = manualroute
  route_list = * ${server}
  self = send
  transport = smtp
begin transports
smtp:
  driver = smtp
  hosts_try_chunking = *
  hosts_avoid_tls = *
begin retry
*  *  F,1m,1m
`;
}

const POPLIB = `
import poplib, sys
server, directory = sys.argv[1:]
c = poplib.POP3(server, timeout=30)
c.user("${MAIL_USER}"); c.pass_("${MAIL_PASSWORD}")
for n in range(1, len(c.list()[1]) + 1):
    _, lines, _ = c.retr(n)
    open(f"{directory}/{n:04}", "wb").write(b"".join(line + b"\\r\\n" for line in lines))
c.quit()
`;

const IMAPLIB = `
import imaplib, sys
server, directory = sys.argv[1:]
c = imaplib.IMAP4(server, timeout=30)
c.login("${MAIL_USER}", "${MAIL_PASSWORD}"); c.select("INBOX", readonly=True)
for n in c.search(None, "ALL")[1][0].split():
    _, data = c.fetch(n, "(BODY.PEEK[])")
    open(f"{directory}/{int(n):04}", "wb").write(data[0][1])
c.logout()
`;

const SMTPLIB = `
import smtplib, sys
server, _, path = sys.argv[1:]
c = smtplib.SMTP(server, 25, "client", timeout=30)
c.sendmail("alice@example.org", ["${MAIL_USER}@example.net"], open(path, "rb").read())
c.quit()
`;
