/**
 * `diaper console`: the administrative system, and what is asked of it.
 *
 * @module
 */
import { type Command, Option } from "commander";
import type { ConsoleConfig } from "../admin/config.ts";
import { ConsoleDaemon } from "../admin/console_daemon.ts";
import { PostgresStore } from "../admin/postgres_store.ts";
import { isPeerName, parseRegistry, RegistryError } from "../admin/registry.ts";
import { SqliteThread } from "../admin/sqlite_thread.ts";
import { ROLES } from "../admin/state.ts";
import type { AlertStore } from "../admin/store.ts";
import type { PageFile } from "../admin/web/server.ts";
import { listenInside, ownDirectory } from "../controller/run_directory.ts";
import { groupId } from "../sys/accounts.ts";
import { pageAsset } from "../sys/assets.ts";
import { makeCertificate } from "../sys/certificate.ts";
import { raiseDescriptorLimit } from "../sys/limits.ts";
import { newKeyPair, publicKeyOf } from "../sys/ssh.ts";
import { isKey, KEY_TYPE } from "../sys/ssh_key.ts";
import { notifySystemd } from "../sys/systemd.ts";
import { consoleOption, consolePlace, readConsoleConfig, readPeers } from "./console_config.ts";
import { askDaemon, askForOne } from "./control_client.ts";
import { daemonLog } from "./daemon_log.ts";
import { CliError, EXIT } from "./exit.ts";
import { readSecret, writeSecret } from "./key_files.ts";
import { printJson, printLine, printMessage, table } from "./output.ts";

interface Common {
  readonly config?: string;
  readonly json?: boolean;
}

/** Adds the verb. */
export function register(parent: Command): void {
  const verb = parent.command("console")
    .description("Administer NIs and controllers: alerts, orders, bundles, and a web page.")
    .addOption(consoleOption())
    .option("-n, --check", "check the configuration and its files, change nothing")
    .addHelpText(
      "after",
      `
Stays in the foreground; messages go to stderr. SIGTERM and SIGINT stop it in good order, SIGHUP reads
the file of peers anew. Peers keep their alerts while it is away.`,
    )
    .action(serve);
  verb.command("login")
    .description("Print a link that logs in to the web page, once.")
    .addOption(consoleOption())
    .addOption(new Option("--role <role>", "what may be done").choices([...ROLES]).default("look"))
    .option("--user <name>", "for somebody else")
    .option("--json", "print one JSON object")
    .action(login);
  verb.command("logout <user>").description("End all sessions and links of a person.")
    .addOption(consoleOption()).action(logout);
  verb.command("keygen").description("Make the console's key and print its public half.")
    .addOption(consoleOption()).option("--force", "replace the one that is there").action(keygen);
  verb.command("authorize <name> <key>")
    .description("Print the line that lets an NI or a controller come, for the file of peers.")
    .option("--role <role>", "ni or controller", "ni")
    .option("--group <groups>", "groups it is in, with commas")
    .option("--hosts <prefixes>", "hosts that are behind it, with commas")
    .option("--from <prefixes>", "where it may come from, with commas")
    .option("--connect <endpoint>", "where the console goes to it")
    .option("--orders <verbs>", "what a controller may have done to --hosts at their NIs")
    .option("--longest <time>", "how long such an order lasts at most (default: 1d)")
    .action(authorize);
  const list = (name: string, description: string) =>
    verb.command(name).description(description).addOption(consoleOption())
      .option("--json", "print JSON lines");
  list("status", "Show how the console stands.").action(status);
  list("peers", "List NIs and controllers with their state.").action(peers);
  list("orders", "List who is contained, by whom, why and until when.")
    .option("--all", "also what is over").action(orders);
  list("pinholes", "List the open pinholes of all controllers.").action(pinholes);
  list("outbreaks", "List findings that belong together.").action(outbreaks);
  list("audit", "List who did what.").option("--last <n>", "so many", "100").action(audit);
  verb.command("reload").description("Read the file of peers anew.").addOption(consoleOption())
    .action(async (options: Common) => {
      await askForOne(placeOf(options), { op: "reload" });
    });
  verb.command("configure <file> <peer...>")
    .description("Send a configuration to NIs.").addOption(consoleOption()).action(configure);
}

async function serve(options: Common & { readonly check?: boolean }): Promise<void> {
  const { config, file } = readConsoleConfig(options.config);
  const peers = readPeers(config.peers);
  const key = readSecret(config.key, "diaper console keygen");
  publicKeyOf(key); // says what is wrong with it before anybody needs it
  const secrets = new Map(
    config.webhooks.flatMap(({ url, secret }) =>
      secret === null ? [] : [[url, readSecret(secret, "write it, mode 0600").trim()]]
    ),
  );
  if (options.check === true) {
    printMessage(`diaper: ${file}, ${config.peers} and the key are in order`);
    return;
  }
  ownDirectory(config.run_dir, 0o755);
  ownDirectory(config.state_dir, 0o700);
  raiseDescriptorLimit();
  const log = daemonLog();
  const say = (level: "info" | "warning" | "error", text: string) => log[level]("{text}", { text });
  const daemon = new ConsoleDaemon({
    config,
    name: config.name ?? Deno.hostname(),
    key,
    peers,
    store: await openStore(config),
    control: listenInside(
      config.run_dir,
      "console.sock",
      "stream",
      0o660,
      groupId(config.control_group),
    ),
    files: config.web.listen === "off" ? new Map() : pageFiles(),
    tls: config.web.listen === "off" ? undefined : readTls(config, say),
    secrets,
    reload: () => readPeers(config.peers),
    log: say,
  });
  const stopped = Promise.withResolvers<void>();
  const stop = () => stopped.resolve();
  const reload = () => {
    try {
      daemon.reload();
    } catch (error) {
      say(
        "error",
        `not loaded, the old one stays: ${error instanceof Error ? error.message : error}`,
      );
    }
  };
  const signals = [["SIGTERM", stop], ["SIGINT", stop], ["SIGHUP", reload]] as const;
  for (const [signal, handler] of signals) Deno.addSignalListener(signal, handler);
  try {
    await daemon.start();
    notifySystemd("READY=1\nSTATUS=serving");
    await stopped.promise;
    notifySystemd("STOPPING=1");
  } finally {
    await daemon.close();
    for (const [signal, handler] of signals) Deno.removeSignalListener(signal, handler);
  }
}

async function openStore(config: ConsoleConfig): Promise<AlertStore> {
  if (config.store === "sqlite") {
    return await SqliteThread.open(`${config.state_dir}/alerts.sqlite`);
  }
  const url = readSecret(config.store, "write the database's URL there, mode 0600").trim();
  return await PostgresStore.open(url);
}

function pageFiles(): Map<string, PageFile> {
  return new Map([
    ["/index.html", { type: "text/html; charset=utf-8", body: pageAsset("console.html") }],
    ["/console.css", { type: "text/css; charset=utf-8", body: pageAsset("console.css") }],
    ["/console.js", { type: "text/javascript; charset=utf-8", body: pageAsset("console.js") }],
  ]);
}

function readTls(
  config: ConsoleConfig,
  say: (level: "info", text: string) => void,
): { certificate: string; key: string } | undefined {
  const { tls, listen } = config.web;
  if (tls === "off" || listen === "off") return undefined;
  if (tls !== "made") {
    return {
      certificate: Deno.readTextFileSync(tls.certificate),
      key: readSecret(tls.key, "name the certificate's key"),
    };
  }
  const [certificatePath, keyPath] = [
    `${config.state_dir}/web_certificate.pem`,
    `${config.state_dir}/web_key.pem`,
  ];
  try {
    return {
      certificate: Deno.readTextFileSync(certificatePath),
      key: Deno.readTextFileSync(keyPath),
    };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const names = [
    ...new Set([
      ...config.web.hosts.map((h) => h.replace(/:\d+$/, "").replace(/^\[|\]$/g, "")),
      listen.host,
      Deno.hostname(),
      "localhost",
    ]),
  ];
  const made = makeCertificate(names);
  writeSecret(keyPath, made.key, true);
  Deno.writeTextFileSync(certificatePath, made.certificate);
  say("info", `made a certificate for the page, SHA-256 ${made.fingerprint}`);
  return made;
}

function placeOf(options: Common) {
  return consolePlace(readConsoleConfig(options.config).config);
}

async function login(
  options: Common & { readonly role: string; readonly user?: string },
): Promise<void> {
  const answer = await askForOne(placeOf(options), {
    op: "login",
    role: options.role,
    ...(options.user === undefined ? {} : { user: options.user }),
  }) as { url: string; user: string; role: string; expires: string };
  if (options.json === true) return printJson(answer);
  printLine(answer.url);
  printMessage(`logs ${answer.user} in (${answer.role}), once, until ${answer.expires}`);
}

async function logout(user: string, options: Common): Promise<void> {
  const answer = await askForOne(placeOf(options), { op: "revoke", user }) as { sessions: number };
  printMessage(`${answer.sessions} sessions of ${user} are ended`);
}

function keygen(options: Common & { readonly force?: boolean }): void {
  const { config } = readConsoleConfig(options.config);
  const comment = `${Deno.hostname()} (console)`;
  const { privateKey, publicKey } = newKeyPair(comment);
  writeSecret(config.key, privateKey, options.force === true);
  printLine(`${KEY_TYPE} ${publicKey} ${comment}`);
}

function authorize(
  name: string,
  key: string,
  options: {
    readonly role: string;
    readonly group?: string;
    readonly hosts?: string;
    readonly from?: string;
    readonly connect?: string;
    readonly orders?: string;
    readonly longest?: string;
  },
): void {
  const text = key.includes(" ") ? key : Deno.readTextFileSync(key);
  const [type, base64 = ""] = text.trim().split(/\s+/);
  if (type !== KEY_TYPE || !isKey(base64)) {
    throw new CliError(EXIT.USAGE, `this is not an ${KEY_TYPE} public key`);
  }
  if (!isPeerName(name)) throw new CliError(EXIT.USAGE, `"${name}" cannot be a name`);
  const known = ["role", "group", "hosts", "from", "connect", "orders", "longest"] as const;
  const settings = known.flatMap((setting) => {
    const value = options[setting];
    return value === undefined || (setting === "role" && value === "ni")
      ? []
      : [`${setting}=${value}`];
  });
  const line = [name, KEY_TYPE, base64, ...settings].join(" ");
  // What would not be read must not be written.
  try {
    parseRegistry(line, "this line");
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    throw new CliError(EXIT.USAGE, error.message);
  }
  printLine(line);
}

async function all<T>(options: Common, request: { readonly op: string }): Promise<T[]> {
  const items: T[] = [];
  for await (const item of await askDaemon(placeOf(options), request)) items.push(item as T);
  return items;
}

async function status(options: Common): Promise<void> {
  const s = await askForOne(placeOf(options), { op: "status" }) as {
    name: string;
    pid: number;
    started_at: string;
    url: string | null;
    peers: number;
    connected: number;
    alerts: number;
    lost: number;
    outputs: { name: string; sent: number; dropped: number; failed?: string }[];
  };
  if (options.json === true) return printJson(s);
  printLine(`console  ${s.name}, process ${s.pid}, since ${s.started_at}`);
  printLine(`page     ${s.url ?? "off"}`);
  printLine(`peers    ${s.connected} of ${s.peers} are there`);
  printLine(`alerts   ${s.alerts}, ${s.lost} lost on the way`);
  for (const o of s.outputs) {
    printLine(
      `output   ${o.name}: ${o.sent} sent, ${o.dropped} dropped` +
        (o.failed === undefined ? "" : `; ${o.failed}`),
    );
  }
}

interface PeerRow {
  readonly name: string;
  readonly role: string;
  readonly groups: readonly string[];
  readonly connected: boolean;
  readonly address?: string;
  readonly bundle: { readonly version: string } | null;
}

async function peers(options: Common): Promise<void> {
  const rows = await all<PeerRow>(options, { op: "peers" });
  if (options.json === true) return rows.forEach(printJson);
  printLine(
    table<PeerRow>([
      { title: "NAME", cell: (p) => p.name },
      { title: "ROLE", cell: (p) => p.role },
      { title: "STATE", cell: (p) => p.connected ? "there" : "away" },
      { title: "ADDRESS", cell: (p) => p.address ?? "-" },
      { title: "GROUPS", cell: (p) => p.groups.join(",") || "-" },
      { title: "BUNDLE", cell: (p) => p.bundle?.version ?? "-" },
    ], rows).trimEnd(),
  );
}

interface OrderRow {
  readonly order: {
    readonly host: string;
    readonly verb: string;
    readonly owner: string;
    readonly reason: string;
  };
  readonly peer: string;
  readonly until: number;
  readonly state: string;
  readonly why: string;
}

async function orders(options: Common & { readonly all?: boolean }): Promise<void> {
  const rows = await all<OrderRow>(options, { op: "orders", all: options.all === true } as never);
  if (options.json === true) return rows.forEach(printJson);
  printLine(
    table<OrderRow>([
      { title: "HOST", cell: (o) => o.order.host },
      { title: "ORDER", cell: (o) => o.order.verb },
      { title: "AT", cell: (o) => o.peer },
      { title: "STATE", cell: (o) => o.why === "" ? o.state : `${o.state}: ${o.why}` },
      { title: "UNTIL", cell: (o) => new Date(o.until).toISOString() },
      { title: "BY", cell: (o) => o.order.owner },
      { title: "WHY", cell: (o) => o.order.reason },
    ], rows).trimEnd(),
  );
}

interface PinholeItem {
  readonly controller: string;
  readonly error?: string;
  readonly proto?: string;
  readonly source?: string;
  readonly destination?: string;
  readonly destination_port?: number;
  readonly user?: string;
  readonly expires_at?: string | null;
  readonly rule?: string;
}

async function pinholes(options: Common): Promise<void> {
  const rows = await all<PinholeItem>(options, { op: "pinholes" });
  if (options.json === true) return rows.forEach(printJson);
  printLine(
    table<PinholeItem>([
      { title: "CONTROLLER", cell: (p) => p.controller },
      { title: "FROM", cell: (p) => p.error ?? `${p.proto} ${p.source}` },
      {
        title: "TO",
        cell: (p) => p.error === undefined ? `${p.destination}:${p.destination_port}` : "",
      },
      { title: "WHO", cell: (p) => p.user ?? "" },
      { title: "WHY", cell: (p) => p.rule ?? "" },
      { title: "UNTIL", cell: (p) => p.expires_at ?? "-" },
    ], rows).trimEnd(),
  );
}

interface OutbreakRow {
  readonly kind: string;
  readonly signature: string;
  readonly first: number;
  readonly last: number;
  readonly alerts: number;
  readonly hosts: readonly string[];
}

async function outbreaks(options: Common): Promise<void> {
  const rows = await all<OutbreakRow>(options, { op: "outbreaks", last: 1000 } as never);
  if (options.json === true) return rows.forEach(printJson);
  printLine(
    table<OutbreakRow>([
      { title: "FIRST", cell: (o) => new Date(o.first).toISOString() },
      { title: "LAST", cell: (o) => new Date(o.last).toISOString() },
      { title: "KIND", cell: (o) => o.kind },
      { title: "ALERTS", cell: (o) => String(o.alerts), align: "right" },
      { title: "FINDING", cell: (o) => o.signature },
      { title: "HOSTS", cell: (o) => `${o.hosts.length}: ${o.hosts.slice(0, 5).join(" ")}` },
    ], rows).trimEnd(),
  );
}

interface AuditRow {
  readonly at: number;
  readonly who: string;
  readonly what: string;
  readonly detail: unknown;
}

async function audit(options: Common & { readonly last: string }): Promise<void> {
  const last = Number(options.last);
  const rows = await all<AuditRow>(options, { op: "audit", last } as never);
  if (options.json === true) return rows.forEach(printJson);
  printLine(
    table<AuditRow>([
      { title: "TIME", cell: (a) => new Date(a.at).toISOString() },
      { title: "WHO", cell: (a) => a.who },
      { title: "WHAT", cell: (a) => a.what },
      { title: "DETAIL", cell: (a) => JSON.stringify(a.detail) },
    ], rows.reverse()).trimEnd(),
  );
}

async function configure(file: string, peers: string[], options: Common): Promise<void> {
  const text = Deno.readTextFileSync(file);
  const place = placeOf(options);
  let absent = 0;
  for await (const item of await askDaemon(place, { op: "configure", text, peers })) {
    const { peer, sent } = item as { peer: string; sent: boolean };
    if (!sent) absent++;
    printMessage(
      `${peer}: ${sent ? "sent; diaper console audit shows its answer" : "is not there"}`,
    );
  }
  if (absent > 0) Deno.exitCode = EXIT.FAILED;
}
