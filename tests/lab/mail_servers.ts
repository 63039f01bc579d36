/**
 * Real mail servers on a host of a lab: Exim takes mail over SMTP, Dovecot gives it out over POP3 and IMAP, from and to
 * one maildir.
 *
 * @module
 */
import type { Host } from "./host.ts";
import type { LabProcess } from "./process.ts";

/** The account that owns the mail; it came with Exim. */
const OWNER = "Debian-exim";
/** Any password is right. */
export const MAIL_USER = "bob";
/** Any password is right; this one is used. */
export const MAIL_PASSWORD = "secret";

/** Where mail servers listen. */
export interface MailServersOptions {
  readonly address: string;
  /** Of SMTP; 25 without it. */
  readonly smtpPort?: number;
  /** Mail is taken and not delivered: to measure the transfer alone. */
  readonly queueOnly?: boolean;
}

/** The servers. */
export class MailServers {
  readonly #host: Host;
  readonly #directory: string;
  readonly #processes: readonly LabProcess[];

  private constructor(host: Host, directory: string, processes: readonly LabProcess[]) {
    this.#host = host;
    this.#directory = directory;
    this.#processes = processes;
  }

  /** Starts them and waits until they listen. */
  static async start(host: Host, options: MailServersOptions): Promise<MailServers> {
    // Exim's user walks to its spool: a lab's own directory is closed to it.
    const directory = Deno.makeTempDirSync({ prefix: "diaper-mail-" });
    Deno.chmodSync(directory, 0o755);
    for (const name of ["spool", "log", "mail", "run"]) Deno.mkdirSync(`${directory}/${name}`);
    for (const name of ["cur", "new", "tmp"]) Deno.mkdirSync(`${directory}/mail/${name}`);
    const owned = ["spool", "log", "mail"].map((name) => `${directory}/${name}`);
    await host.must("chown", ["-R", `${OWNER}:${OWNER}`, ...owned]);
    Deno.writeTextFileSync(`${directory}/exim.conf`, exim(directory, options));
    Deno.writeTextFileSync(`${directory}/dovecot.conf`, dovecot(directory, options.address));
    const processes = [
      host.spawn("/usr/sbin/exim4", ["-C", `${directory}/exim.conf`, "-bdf", "-v"]),
      host.spawn("/usr/sbin/dovecot", ["-F", "-c", `${directory}/dovecot.conf`]),
    ];
    const servers = new MailServers(host, directory, processes);
    await servers.#listening([options.smtpPort ?? 25, 110, 143], options.address);
    return servers;
  }

  /** Puts a message into the mailbox, as if it had been delivered. */
  deliver(name: string, message: string | Uint8Array): void {
    const path = `${this.#directory}/mail/new/${name}`;
    if (typeof message === "string") Deno.writeTextFileSync(path, message);
    else Deno.writeFileSync(path, message);
    Deno.chmodSync(path, 0o666);
  }

  /** The messages of the mailbox, as they are kept. */
  messages(): Uint8Array[] {
    return ["new", "cur"].flatMap((folder) =>
      [...Deno.readDirSync(`${this.#directory}/mail/${folder}`)].map(({ name }) => name).sort()
        .map((name) => Deno.readFileSync(`${this.#directory}/mail/${folder}/${name}`))
    );
  }

  /** Removes all messages. */
  empty(): void {
    for (const folder of ["new", "cur", "tmp"]) {
      for (const { name } of Deno.readDirSync(`${this.#directory}/mail/${folder}`)) {
        Deno.removeSync(`${this.#directory}/mail/${folder}/${name}`);
      }
    }
  }

  /** Removes what was taken and not delivered. */
  emptyQueue(): void {
    for (const { name } of Deno.readDirSync(`${this.#directory}/spool/input`)) {
      Deno.removeSync(`${this.#directory}/spool/input/${name}`, { recursive: true });
    }
  }

  /** Waits until so many messages are there. */
  async arrived(count: number): Promise<Uint8Array[]> {
    const watcher = Deno.watchFs([`${this.#directory}/mail/new`, `${this.#directory}/mail/cur`]);
    let open = true;
    const close = () => {
      if (open) watcher.close();
      open = false;
    };
    const timer = setTimeout(close, 20_000);
    try {
      if (this.messages().length >= count) return this.messages();
      for await (const _ of watcher) {
        if (this.messages().length >= count) return this.messages();
      }
      throw new Error(`${this.messages().length} of ${count} messages arrived: ${this.log()}`);
    } finally {
      clearTimeout(timer);
      close();
    }
  }

  /** What the servers said, for messages of failing tests. */
  log(): string {
    const files = [...Deno.readDirSync(`${this.#directory}/log`)].map(({ name }) =>
      Deno.readTextFileSync(`${this.#directory}/log/${name}`)
    );
    return [...files, ...this.#processes.flatMap((process) => process.output())].join("\n");
  }

  /** Ends them and removes what they kept. */
  async stop(): Promise<void> {
    for (const process of this.#processes) await process.stop();
    Deno.removeSync(this.#directory, { recursive: true });
  }

  async #listening(ports: readonly number[], address: string): Promise<void> {
    // Neither server tells when it is ready: a connection that is made does.
    await this.#host.must("python3", ["-c", WAIT, address, ...ports.map(String)]).catch((error) => {
      throw new Error(`${error instanceof Error ? error.message : error}\n${this.log()}`);
    });
  }
}

const WAIT = `
import socket, sys, time
limit = time.monotonic() + 20
for port in sys.argv[2:]:
    while True:
        try:
            socket.create_connection((sys.argv[1], int(port)), timeout=5).close()
            break
        except OSError:
            if time.monotonic() > limit: sys.exit("port " + port + " does not listen")
            time.sleep(0.02)
`;

function exim(directory: string, options: MailServersOptions): string {
  return `
primary_hostname = mx.example.net
spool_directory = ${directory}/spool
log_file_path = ${directory}/log/%slog
pid_file_path = ${directory}/spool/exim.pid
daemon_smtp_ports = ${options.smtpPort ?? 25}
local_interfaces = ${options.address}
domainlist local_domains = *
acl_smtp_rcpt = accept
acl_smtp_data = accept
tls_advertise_hosts =
host_lookup =
chunking_advertise_hosts = *
pipelining_advertise_hosts = *
accept_8bitmime = true
smtputf8_advertise_hosts = *
never_users =
deliver_drop_privilege = true
smtp_accept_max = 100
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
queue_only = ${options.queueOnly === true}
begin routers
all:
  driver = accept
  transport = mailbox
begin transports
mailbox:
  driver = appendfile
  directory = ${directory}/mail
  maildir_format
  delivery_date_add = false
  envelope_to_add = false
  return_path_add = false
begin retry
*  *  F,1m,1m
`;
}

function dovecot(directory: string, address: string): string {
  return `
base_dir = ${directory}/run
protocols = imap pop3
listen = ${address}
ssl = no
disable_plaintext_auth = no
log_path = /dev/stderr
mail_location = maildir:${directory}/mail
first_valid_uid = 1
first_valid_gid = 1
mail_uid = ${OWNER}
mail_gid = ${OWNER}
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=${OWNER} gid=${OWNER} home=${directory}/mail allow_all_users=yes
}
service stats {
  client_limit = 200
}
mail_max_userip_connections = 100
pop3_fast_size_lookups = no
`;
}
