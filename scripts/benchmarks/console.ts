/**
 * A console with many NIs: alerts a second with none lost, what the page answers meanwhile, a bundle to all, memory.
 *
 *   --write                                 write docs/evaluation/console.md
 *   DIAPER_BENCH_NIS, DIAPER_BENCH_SECONDS  fewer NIs or less time, for a look
 *
 * @module
 */
import { newKeyPair } from "../../lib/sys/ssh.ts";
import { writeSection } from "./page_section.ts";
import { median, quantile, report as print, round } from "./report.ts";

const NIS = Number(Deno.env.get("DIAPER_BENCH_NIS") ?? 1000);
const SECONDS = Number(Deno.env.get("DIAPER_BENCH_SECONDS") ?? 60);
const RATE = 5000;
const BUNDLE = 1024 * 1024;
/** Processes that the NIs are in. */
const PROCESSES = 2;
/** Requests of pages a second. */
const PAGES = 20;

const root = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const diaper = `${root}dist/diaper`;
const directory = Deno.makeTempDirSync({ prefix: "diaper-bench-" });
const children: Deno.ChildProcess[] = [];
const encoder = new TextEncoder();

const rows: string[] = [];

/** Prints a figure, and keeps it for the page. */
function report(
  bench: string,
  metric: string,
  value: number,
  unit: string,
  options: { baseline?: number; target: string; met: boolean },
): void {
  print(bench, metric, value, unit, options);
  const against = options.baseline === undefined
    ? ""
    : ` (${round(options.baseline)} without load)`;
  rows.push(
    `| ${metric} | ${round(value)} ${unit}${against} | ${options.target} | ${
      options.met ? "yes" : "no"
    } |`,
  );
}

/** A child whose lines can be asked for. */
class Lines {
  readonly child: Deno.ChildProcess;
  readonly #reader: ReadableStreamDefaultReader<string>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #rest = "";

  constructor(args: string[]) {
    // Real NIs have processors of their own, and do not take the console's from it.
    this.child = new Deno.Command("nice", {
      args: ["-n", "10", Deno.execPath(), "run", "--quiet", "--no-check", "--allow-all", ...args],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    children.push(this.child);
    this.#reader = this.child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#writer = this.child.stdin.getWriter();
  }

  async say(line: string): Promise<void> {
    await this.#writer.write(encoder.encode(line + "\n"));
  }

  async next(): Promise<Record<string, number>> {
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const value = JSON.parse(this.#rest.slice(0, end)) as Record<string, number>;
        this.#rest = this.#rest.slice(end + 1);
        if (!("ended" in value || "error" in value)) return value;
        throw new Error(`a simulated NI failed: ${JSON.stringify(value)}`);
      }
      const { value, done } = await this.#reader.read();
      if (done) throw new Error("simulated NIs ended");
      this.#rest += value;
    }
  }
}

async function run(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(diaper, { args }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (!success) throw new Error(`diaper ${args.join(" ")}: ${text(stderr)}`);
  return text(stdout);
}

/** Megabytes of a process: `VmHWM` is the most that it had. */
function memory(pid: number, field: "VmHWM" | "VmRSS"): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? NaN) / 1024;
}

/** Seconds that whoever the machine runs on kept its processors for others. */
function stolenSeconds(): number {
  return Number(Deno.readTextFileSync("/proc/stat").split(/\s+/)[8]) / 100;
}

/** Seconds of processor time of a process, all threads. */
function processorSeconds(pid: number): number {
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).replace(/^.*\) /, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function main(): Promise<void> {
  const key = newKeyPair("console");
  const keys = Array.from({ length: NIS }, () => newKeyPair("ni"));
  const port = freePort();
  Deno.writeTextFileSync(`${directory}/console_key`, key.privateKey, { mode: 0o600 });
  Deno.writeTextFileSync(`${directory}/keys.json`, JSON.stringify(keys.map((k) => k.privateKey)));
  Deno.writeTextFileSync(
    `${directory}/peers`,
    keys.map((k, i) => `ni-${i} ssh-ed25519 ${k.publicKey}\n`).join(""),
  );
  const config = `${directory}/console.yaml`;
  Deno.writeTextFileSync(
    config,
    [
      `listen: ["127.0.0.1:${port}"]`,
      `key: ${directory}/console_key`,
      `peers: ${directory}/peers`,
      `run_dir: ${directory}`,
      `state_dir: ${directory}/state`,
      "control_group: root",
      "connections_per_address: 100000",
      `web: { listen: "127.0.0.1:${freePort()}" }`,
      `eve: { file: ${directory}/eve.json }`,
      "",
    ].join("\n"),
  );
  const console = new Deno.Command(diaper, {
    args: ["console", "--config", config],
    stderr: "piped",
  }).spawn();
  children.push(console);
  void console.stderr.pipeTo(
    Deno.openSync(`${directory}/messages`, { write: true, create: true }).writable,
  );
  for (;;) {
    const status = await run("console", "status", "--config", config).catch(() => undefined);
    if (status !== undefined) break;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const share = NIS / PROCESSES;
  const nis = Array.from({ length: PROCESSES }, (_, i) =>
    new Lines([
      `${root}scripts/benchmarks/console_nis.ts`,
      ...[String(port), key.publicKey, `${directory}/keys.json`],
      ...[String(Math.floor(i * share)), String(Math.floor((i + 1) * share))],
    ]));
  const connecting = performance.now();
  for (const n of nis) await n.next();
  report("console", `${NIS} NIs connect`, (performance.now() - connecting) / 1000, "s", {
    target: "no target",
    met: true,
  });

  const page = await Visitor.login(config);
  const idle = await page.visit(3);
  const before = processorSeconds(console.pid);
  const stolen = stolenSeconds();
  for (const n of nis) await n.say(`load ${RATE / PROCESSES} ${SECONDS}`);
  const busy = await page.visit(SECONDS);
  const results = await Promise.all(nis.map((n) => n.next()));
  const used = processorSeconds(console.pid) - before;
  globalThis.console.error(`  ${round(stolenSeconds() - stolen)} s were stolen from this machine`);
  const sum = (field: string) => results.reduce((total, r) => total + (r[field] ?? 0), 0);
  const took = Math.max(...results.map((r) => r["seconds"] ?? NaN));
  report("console", "alerts a second, until all are acknowledged", sum("acked") / took, "1/s", {
    target: `at least 0.95 of ${RATE} for ${SECONDS} s`,
    met: sum("acked") / took >= 0.95 * RATE,
  });
  report("console", "processor time of an alert, pages included", used / sum("acked") * 1e6, "us", {
    target: "under 200, one processor",
    met: used / sum("acked") * 1e6 < 200,
  });
  const kept = await stored(config);
  report("console", "alerts lost", sum("sent") - kept, "", {
    target: "0",
    met: sum("sent") === kept,
  });
  const p99 = quantile(busy, 0.99);
  report("console", "page answers under load, median", median(busy), "ms", {
    baseline: median(idle),
    target: "no target",
    met: true,
  });
  report("console", "page answers under load, p99", p99, "ms", {
    baseline: quantile(idle, 0.99),
    target: "at most 100 ms",
    met: p99 <= 100,
  });

  const code = crypto.getRandomValues(new Uint8Array(16)).toHex();
  let text = `// ${code}\n`;
  while (text.length < BUNDLE) {
    text += `// ${crypto.getRandomValues(new Uint8Array(64)).toBase64()}\n`;
  }
  Deno.writeTextFileSync(`${directory}/mine.js`, text);
  Deno.writeTextFileSync(
    `${directory}/bundle.yaml`,
    "version: '1'\nscanners:\n  mine: { code: mine.js, read: [tcp] }\n",
  );
  const began = performance.now();
  await run("scanners", "push", `${directory}/bundle.yaml`, "--config", config);
  const pushed = (performance.now() - began) / 1000;
  report("console", `push of a bundle of 1 MB to ${NIS} NIs`, pushed, "s", {
    target: "at most 60 s",
    met: pushed <= 60,
  });
  const status = JSON.parse(await run("console", "status", "--json", "--config", config)) as {
    pid: number;
  };
  const most = memory(status.pid, "VmHWM");
  report("console", "memory, the most of the whole run", most, "MB", {
    target: "at most 500 MB",
    met: most <= 500,
  });
  for (const n of nis) await n.say("end");
}

/** Somebody who looks at the page all the time. */
class Visitor {
  readonly #url: string;
  readonly #cookie: string;

  private constructor(url: string, cookie: string) {
    this.#url = url;
    this.#cookie = cookie;
  }

  static async login(config: string): Promise<Visitor> {
    const { url } = JSON.parse(await run("console", "login", "--json", "--config", config)) as {
      url: string;
    };
    const { origin, hash } = new URL(url);
    const answer = await fetch(`${origin}/api/login`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Origin: origin },
      body: JSON.stringify({ link: hash.slice(1) }),
    });
    await answer.body?.cancel();
    return new Visitor(origin, answer.headers.get("set-cookie")?.split(";")[0] ?? "");
  }

  /** Asks for what the page asks for, one after the other at even times. @returns milliseconds each. */
  async visit(seconds: number): Promise<number[]> {
    const paths = [
      "/",
      "/api/alerts?limit=100",
      "/api/rates?minutes=60",
      "/api/peers",
      "/api/outbreaks",
      "/api/alerts?severity=1&limit=100",
      "/api/alerts?ni=ni-7&limit=100",
      "/api/orders",
      "/api/audit",
    ];
    const times: number[] = [];
    const slowest: { ms: number; path: string; at: number }[] = [];
    const under: Promise<void>[] = [];
    const start = performance.now();
    for (let n = 0; performance.now() - start < seconds * 1000; n++) {
      const at = performance.now();
      const path = paths[n % paths.length] as string;
      under.push(
        fetch(this.#url + path, { headers: { Cookie: this.#cookie } }).then(async (answer) => {
          await answer.bytes();
          if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
          const ms = performance.now() - at;
          times.push(ms);
          slowest.push({ ms, path, at: at - start });
        }),
      );
      await new Promise((resolve) =>
        setTimeout(resolve, Math.max(0, start + (n + 1) * 1000 / PAGES - performance.now()))
      );
    }
    await Promise.all(under);
    // For whoever looks for the reason.
    for (const { ms, path, at } of slowest.sort((a, b) => b.ms - a.ms).slice(0, 12)) {
      globalThis.console.error(
        `  ${ms.toFixed(0)} ms  ${path}  ${(at / 1000).toFixed(1)} s after the start`,
      );
    }
    return times;
  }
}

/** Alerts that are really there, by what the console says and by the file that it writes. */
async function stored(config: string): Promise<number> {
  const { alerts } = JSON.parse(await run("console", "status", "--json", "--config", config)) as {
    alerts: number;
  };
  const lines = Deno.readFileSync(`${directory}/eve.json`).reduce(
    (n, octet) => octet === 10 ? n + 1 : n,
    0,
  );
  return Math.min(alerts, lines + rotated());
}

function rotated(): number {
  return [...Deno.readDirSync(directory)].filter((e) => /^eve\.json\.\d+$/.test(e.name))
    .reduce(
      (sum, e) =>
        sum +
        Deno.readFileSync(`${directory}/${e.name}`).reduce(
          (n, octet) => octet === 10 ? n + 1 : n,
          0,
        ),
      0,
    );
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}

try {
  await main();
  if (Deno.args.includes("--write")) {
    writeSection(
      "docs/evaluation/console.md",
      "Many NIs",
      [
        `By \`scripts/bench console --write\`: ${NIS} simulated NIs in ${PROCESSES} processes on the same machine as`,
        `the console (${navigator.hardwareConcurrency} processors; the NIs come after the console, \`nice -n 10\`), ${RATE} alerts`,
        `a second for ${SECONDS} s, each in a message of its own, while somebody asks for ${PAGES} pages a second.`,
        "",
        "| what | measured | target | met |",
        "| --- | --- | --- | --- |",
        ...rows,
      ],
    );
  }
} finally {
  for (const child of children) await kill(child);
  Deno.removeSync(directory, { recursive: true });
}

async function kill(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // it has ended
  }
  await child.status;
}
