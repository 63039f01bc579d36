/**
 * A month's mail through the e-mail scanner (CMU-CS-02-144, table 3): fetched over POP3 and sent over SMTP, without an
 * NI (a Linux bridge in its place), with a scanner that only passes, with the table of digests, and with ClamAV; beside
 * them clamsmtp, a proxy. All in one run, in turns; medians of the rounds' averages. `--write` writes them to
 * docs/evaluation/mail.md.
 *
 * @module
 */
import type { Host } from "../../tests/lab/host.ts";
import { POP3_CLIENTS } from "../../tests/lab/mail_clients.ts";
import { MailServers } from "../../tests/lab/mail_servers.ts";
import { ClamdServer } from "../../tests/niapp/email/clamd_server.ts";
import { NiLab } from "../../tests/ni/inline_lab.ts";
import { CORPUS, corpus } from "./mail_corpus.ts";
import { median, report } from "./report.ts";

const ROUNDS = 3;
/** Nothing of the corpus has these digests: the tables are looked through in vain. */
const DIGESTS = Array.from({ length: 2000 }, (_, i) => i.toString(16).padStart(32, "0"));
const SMTP_PROXY_PORT = 10025;

type Protocol = "POP3" | "SMTP";

interface Path {
  readonly name: string;
  readonly protocols: readonly Protocol[];
  /** Puts it in place; the result takes it away. */
  readonly up: () => Promise<() => Promise<void>>;
  readonly smtpPort: number;
  /** Messages that are sent; all without it. */
  readonly messages?: number;
}

const directory = Deno.makeTempDirSync({ prefix: "diaper-bench-mail-" });
Deno.chmodSync(directory, 0o755);
await using lab = await NiLab.create();
await using clamd = await ClamdServer.start(DIGESTS.map((d, i) => `${d}:${i + 1}:Test.${i}`));
const servers = await MailServers.start(lab.net, { address: lab.netAddress, queueOnly: true });
const messages = corpus();
for (const [number, message] of messages.entries()) {
  servers.deliver(`${1_000_000_000 + number}.${number}.mx`, message);
  Deno.writeTextFileSync(`${directory}/${number}.eml`, message);
}

function ni(name: string, options: string): Path {
  return {
    name,
    protocols: ["SMTP", "POP3"],
    smtpPort: 25,
    async up() {
      const process = await lab.startWith(
        `scanners:\n  email:\n    services: { clamd: ${clamd.socket} }\n    options: ${options}\n`,
      );
      return async () => {
        await process.stop();
      };
    },
  };
}

async function bridge(): Promise<() => Promise<void>> {
  const { box } = lab;
  await box.must("ip", ["link", "add", "name", "bench", "type", "bridge"]);
  for (const port of ["porth", "portn"]) {
    await box.must("ip", ["link", "set", port, "master", "bench"]);
  }
  await box.must("ip", ["link", "set", "bench", "up"]);
  return async () => {
    await box.must("ip", ["link", "del", "bench"]);
  };
}

const PATHS: readonly Path[] = [
  { name: "no NI", protocols: ["SMTP", "POP3"], smtpPort: 25, up: bridge },
  ni("null scanner", "{ checks: [] }"),
  ni("digests", `{ checks: [digests], digests: ${JSON.stringify(DIGESTS)} }`),
  ni("ClamAV", "{ checks: [clamd] }"),
  {
    name: "clamsmtp",
    protocols: ["SMTP"],
    smtpPort: SMTP_PROXY_PORT,
    // It is so much slower that a part of the month has to do.
    messages: 150,
    async up() {
      const down = await bridge();
      const config = `${directory}/clamsmtpd.conf`;
      Deno.writeTextFileSync(
        config,
        `OutAddress: ${lab.netAddress}:25\nListen: ${lab.netAddress}:${SMTP_PROXY_PORT}\n` +
          `ClamAddress: ${clamd.socket}\nTempDirectory: ${directory}\nMaxConnections: 20\n` +
          `Bounce: off\nQuarantine: off\n`,
      );
      const proxy = lab.net.spawn("/usr/sbin/clamsmtpd", ["-d", "1", "-f", config]);
      await lab.net.waitForListener("tcp", SMTP_PROXY_PORT);
      return async () => {
        await proxy.stop();
        await down();
      };
    },
  },
];

/** Milliseconds a message. */
async function fetchAll(host: Host, round: string): Promise<number> {
  const own = `${directory}/${round}`;
  Deno.mkdirSync(own);
  const start = performance.now();
  const fetched = await (POP3_CLIENTS["mpop"] as (typeof POP3_CLIENTS)[string])({
    host,
    server: lab.netAddress,
    directory: own,
  });
  const time = performance.now() - start;
  if (fetched.length !== CORPUS.messages) throw new Error(`${fetched.length} messages came`);
  Deno.removeSync(own, { recursive: true });
  return time / CORPUS.messages;
}

const SEND = `
import smtplib, sys, time
server, port, directory, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
data = [open(f"{directory}/{n}.eml", "rb").read() for n in range(count)]
c = smtplib.SMTP(server, port, "client", timeout=60)
start = time.perf_counter()
for message in data:
    c.sendmail("a@example.org", ["bob@example.net"], message)
print(time.perf_counter() - start)
c.quit()
`;

async function sendAll(
  host: Host,
  { smtpPort, messages = CORPUS.messages }: Path,
): Promise<number> {
  const text = await host.must("python3", [
    ...["-c", SEND, lab.netAddress, String(smtpPort), directory, String(messages)],
  ], { timeout: 240_000 });
  servers.emptyQueue();
  return Number(text) * 1000 / messages;
}

/** clamd's own time a message: what is scanned, given to it over its socket by nobody in particular. */
async function clamdAlone(): Promise<number> {
  const started = performance.now();
  for (const message of messages) {
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
  }
  return (performance.now() - started) / messages.length;
}

const samples = new Map<string, number[]>();
const add = (key: string, value: number) => samples.set(key, [...samples.get(key) ?? [], value]);
for (let round = 0; round < ROUNDS; round++) {
  for (const path of PATHS) {
    const down = await path.up();
    try {
      await lab.ping(3, "-i", "0.2", lab.netAddress); // addresses are learned
      for (const protocol of path.protocols) {
        const time = protocol === "POP3"
          ? await fetchAll(lab.host, `${round}-${PATHS.indexOf(path)}`)
          : await sendAll(lab.host, path);
        add(`${protocol} ${path.name}`, time);
      }
    } finally {
      await down();
    }
  }
  add("clamd", await clamdAlone());
}
await servers.stop();
Deno.removeSync(directory, { recursive: true });

const of = (key: string) => median(samples.get(key) ?? []);
for (const protocol of ["POP3", "SMTP"] as const) {
  const baseline = of(`${protocol} no NI`);
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
report("mail", "SMTP, ClamAV on the NI against clamsmtp", of("SMTP ClamAV"), "ms", {
  baseline: of("SMTP clamsmtp"),
  target: "less than 1",
  met: of("SMTP ClamAV") < of("SMTP clamsmtp"),
});

if (Deno.args.includes("--write")) {
  Deno.writeTextFileSync(
    decodeURIComponent(new URL("../../docs/evaluation/mail.md", import.meta.url).pathname),
    page(),
  );
}

function page(): string {
  const row = (name: string, paper: string) => {
    const cells = (["POP3", "SMTP"] as const).map((protocol) => {
      const time = of(`${protocol} ${name}`);
      const ratio = time / of(`${protocol} no NI`);
      return Number.isNaN(time) ? "-" : `${time.toFixed(2)} ms (${ratio.toFixed(2)})`;
    });
    return `| ${name} | ${cells.join(" | ")} | ${paper} |`;
  };
  return `# Mail through the e-mail scanner

Table 3 of CMU-CS-02-144, today: average time a message for ${CORPUS.messages} messages of ${CORPUS.average} bytes on
average, the longest of ${
    CORPUS.longest / 1024
  } KiB, fetched by mpop from Dovecot, and sent by Python's smtplib to Exim. In
brackets: against no NI, in whose place a Linux bridge stands. Clients, servers, NI kernel, scanner and clamd
share ${navigator.hardwareConcurrency} processors, and the links have no delay: a message costs little there, so that what the NI
costs shows more than it would on a real network.

Medians of ${ROUNDS} rounds, in turns. Made by \`scripts/bench mail --write\`.

| | POP3 | SMTP | paper (POP3) |
| - | - | - | - |
${row("no NI", "22.4 ms (1)")}
${row("null scanner", "67.0 ms (2.99)")}
${row("digests", "107.1 ms (4.78)")}
${row("ClamAV", "109.9 ms (4.91), Sophos")}
${row("clamsmtp", "-")}

- clamd alone, given each message over its socket: ${of("clamd").toFixed(2)} ms.
- The null scanner reads everything and holds nothing. The others hold each message until it is whole and
  checked.
- clamsmtp is a proxy of Debian's with the same clamd behind it.
`;
}
