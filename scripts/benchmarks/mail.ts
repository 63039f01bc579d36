/**
 * A month's mail through the e-mail scanner (CMU-CS-02-144, table 3): fetched over POP3 and sent over SMTP, without an
 * NI (a Linux bridge in its place), with a scanner that only passes, with the table of digests, and with ClamAV; beside
 * them clamsmtp, a proxy. All ways are there at the same time, each on a link of its own, and take turns every hundred
 * messages. `--write` writes docs/evaluation/mail.md and its figures.
 *
 * @module
 */
import { POP3_CLIENTS } from "../../tests/lab/mail_clients.ts";
import { MAIL_PASSWORD, MAIL_USER, MailServers } from "../../tests/lab/mail_servers.ts";
import type { LabProcess } from "../../tests/lab/process.ts";
import { ClamdServer } from "../../tests/niapp/email/clamd_server.ts";
import { NiLab } from "../../tests/ni/inline_lab.ts";
import { CORPUS, corpus } from "./mail_corpus.ts";
import { writePage } from "./mail_page.ts";
import { type MailPath, MailPaths } from "./mail_paths.ts";
import { median, report } from "./report.ts";

/** Every message is sent and fetched so many times over each way; medians count. */
const ROUNDS = 3;
/** Milliseconds after which no further round is begun. */
const ENOUGH = 170_000;
/** Messages that are sent over one way before the next has its turn. */
const TURN = 100;
/** Nothing of the corpus has these digests: the tables are looked through in vain. */
const DIGESTS = Array.from({ length: 2000 }, (_, i) => i.toString(16).padStart(32, "0"));
const SMTP_PROXY_PORT = 10025;
const NONE = "no NI";
const PROXY = "clamsmtp";

const began = performance.now();
const directory = Deno.makeTempDirSync({ prefix: "diaper-bench-mail-" });
Deno.chmodSync(directory, 0o755);
await using lab = await NiLab.create();
await using clamd = await ClamdServer.start(DIGESTS.map((d, i) => `${d}:${i + 1}:Test.${i}`));
const paths = new MailPaths(lab);
const bridge = await paths.bridge(NONE);
await paths.ni("null scanner", "  email:\n    options: { checks: [] }\n");
await paths.ni(
  "digests",
  `  email:\n    options: { checks: [digests], digests: ${JSON.stringify(DIGESTS)} }\n`,
);
await paths.ni(
  "ClamAV",
  `  email:\n    services: { clamd: ${clamd.socket} }\n    options: { checks: [clamd] }\n`,
);
const servers = await MailServers.start(lab.net, { address: "0.0.0.0", queueOnly: true });
const messages = corpus();
for (const [number, message] of messages.entries()) {
  servers.deliver(`${1_000_000_000 + number}.${number}.mx`, message);
  Deno.writeTextFileSync(`${directory}/${number}.eml`, message);
}
paths.proxy(PROXY, bridge, SMTP_PROXY_PORT);
const proxy = await startProxy();

async function startProxy(): Promise<LabProcess> {
  const config = `${directory}/clamsmtpd.conf`;
  Deno.writeTextFileSync(
    config,
    `OutAddress: ${bridge.address}:25\nListen: ${bridge.address}:${SMTP_PROXY_PORT}\n` +
      `ClamAddress: ${clamd.socket}\nTempDirectory: ${directory}\nMaxConnections: 20\n` +
      `Bounce: off\nQuarantine: off\n`,
  );
  const process = lab.net.spawn("/usr/sbin/clamsmtpd", ["-d", "1", "-f", config]);
  await lab.net.waitForListener("tcp", SMTP_PROXY_PORT);
  return process;
}

/** Fetches everything. Milliseconds. */
async function fetchAll({ address }: MailPath): Promise<number> {
  const own = `${directory}/fetched`;
  Deno.mkdirSync(own);
  const fetch = POP3_CLIENTS["mpop"] as (typeof POP3_CLIENTS)[string];
  const start = performance.now();
  const fetched = await fetch({ host: lab.host, server: address, directory: own });
  const time = performance.now() - start;
  if (fetched.length !== CORPUS.messages) throw new Error(`${fetched.length} messages came`);
  Deno.removeSync(own, { recursive: true });
  return time;
}

/** Fetches everything and keeps nothing. */
const READ = `
import poplib, sys
c = poplib.POP3(sys.argv[1], timeout=60)
c.user(sys.argv[2]); c.pass_(sys.argv[3])
for n in range(c.stat()[0]): c.retr(n + 1)
c.quit()
`;

/** Sends messages over one connection when it is told the first one's number and how many. */
const SEND = `
import smtplib, sys, time
server, port, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
c = smtplib.SMTP(server, port, "client", timeout=60)
print("connected", flush=True)
for turn, line in enumerate(sys.stdin):
    first, count = map(int, line.split())
    data = [open(f"{directory}/{n}.eml", "rb").read() for n in range(first, first + count)]
    start = time.perf_counter()
    for message in data:
        c.sendmail("a@example.org", ["bob@example.net"], message)
    print("turn", turn, time.perf_counter() - start, flush=True)
c.quit()
`;

class Sender {
  readonly #process: LabProcess;
  #turn = 0;

  constructor({ address, smtpPort }: MailPath) {
    const args = ["-c", SEND, address, String(smtpPort), directory];
    this.#process = lab.host.spawn("python3", args);
  }

  /** Sends messages. Milliseconds. */
  async send(first: number, count: number): Promise<number> {
    await this.#process.write(`${first} ${count}\n`);
    const line = new RegExp(`^turn ${this.#turn++} ([\\d.]+)`);
    const [, seconds] = await this.#process.waitForLine(line, 120_000);
    return Number(seconds) * 1000;
  }

  async stop(): Promise<void> {
    await this.#process.closeInput();
    await this.#process.status;
  }
}

/** clamd's own time for a message: it is given to it over its socket by nobody in particular. Milliseconds. */
async function clamdAlone(message: string): Promise<number> {
  const started = performance.now();
  using connection = await Deno.connect({ transport: "unix", path: clamd.socket });
  const data = new TextEncoder().encode(message);
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, data.length);
  const parts = [new TextEncoder().encode("zINSTREAM\0"), size, data, new Uint8Array(4)];
  for (const part of parts) {
    for (let at = 0; at < part.length;) at += await connection.write(part.subarray(at));
  }
  const answer = new Uint8Array(100);
  const count = await connection.read(answer) ?? 0;
  if (!new TextDecoder().decode(answer.subarray(0, count)).includes("OK")) {
    throw new Error("clamd did not answer OK");
  }
  return performance.now() - started;
}

/** Milliseconds of each round, by protocol, way and first message of the turn. */
const samples = new Map<string, Map<number, number[]>>();

function add(key: string, first: number, value: number): void {
  const turns = samples.get(key) ?? new Map<number, number[]>();
  samples.set(key, turns.set(first, [...turns.get(first) ?? [], value]));
}

/** Milliseconds a message, from the medians of all turns, or of those of the first messages. */
function of(key: string, messages: number = CORPUS.messages): number {
  const turns = [...samples.get(key) ?? []].filter(([first]) => first < messages);
  return turns.reduce((sum, [, values]) => sum + median(values), 0) / messages;
}

/** Each way is the first one as often as any other. */
function inTurn(turn: number, ways: readonly MailPath[]): readonly MailPath[] {
  const at = turn % ways.length;
  return [...ways.slice(at), ...ways.slice(0, at)];
}

const fetching = paths.all.filter(({ pop3 }) => pop3);
const senders = new Map(paths.all.map((path) => [path, new Sender(path)]));
// Programs that run for months are warm: what each does for the first time is not measured.
for (const path of fetching) await senders.get(path)?.send(0, TURN);
for (const { address } of fetching) {
  await lab.host.must("python3", ["-c", READ, address, MAIL_USER, MAIL_PASSWORD]);
}
let rounds = 0;
for (; rounds < ROUNDS && performance.now() - began < ENOUGH; rounds++) {
  for (const path of inTurn(rounds, fetching)) add(`POP3 ${path.name}`, 0, await fetchAll(path));
  for (let first = 0; first < CORPUS.messages; first += TURN) {
    // The proxy is so much slower that the first messages have to do.
    const ways = first === 0 ? paths.all : fetching;
    for (const path of inTurn(first / TURN, ways)) {
      add(`SMTP ${path.name}`, first, await (senders.get(path) as Sender).send(first, TURN));
      servers.emptyQueue();
    }
    let own = 0;
    for (const message of messages.slice(first, first + TURN)) own += await clamdAlone(message);
    add("clamd", first, own);
  }
}
for (const sender of senders.values()) await sender.stop();
await paths.stop();
await proxy.stop();
await servers.stop();
Deno.removeSync(directory, { recursive: true });

for (const protocol of ["POP3", "SMTP"] as const) {
  const baseline = of(`${protocol} ${NONE}`);
  report("mail", `${protocol}, a message without an NI`, baseline, "ms", {
    target: "-",
    met: true,
  });
  for (const [name, most] of [["null scanner", 1.15], ["digests", 1.3]] as const) {
    const value = of(`${protocol} ${name}`);
    report("mail", `${protocol}, ${name}`, value, "ms", {
      baseline,
      target: `at most ${most}`,
      met: value <= baseline * most,
    });
  }
  const value = of(`${protocol} ClamAV`);
  const own = of("clamd");
  report("mail", `${protocol}, ClamAV, of which clamd's own ${own.toFixed(3)} ms`, value, "ms", {
    baseline,
    target: "clamd's own time and at most 1.3",
    met: value <= baseline * 1.3 + own,
  });
}
const here = of("SMTP ClamAV", TURN);
const there = of(`SMTP ${PROXY}`, TURN);
report("mail", `SMTP, ClamAV on the NI against clamsmtp, ${TURN} messages`, here, "ms", {
  baseline: there,
  target: "less than 1",
  met: here < there,
});
if (Deno.args.includes("--write")) {
  const names = fetching.map(({ name }) => name);
  writePage({ of, rounds, names, turn: TURN, clamd: here, proxy: there });
}
