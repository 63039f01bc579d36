/**
 * DNS through the Code-Red scanner against a real server (dnsmasq) that asks another one a millisecond away for every
 * name, asked by dnsperf; and the scanner's table of addresses: memory and time by its size. All in one run, in turns.
 * `--write` writes docs/evaluation/dns.md.
 *
 * @module
 */
import { NiLab } from "../../tests/ni/inline_lab.ts";
import { AddressTable } from "../../niapp/codered/address_table.ts";
import { addDirectLink, bridge, DIRECT } from "./ni/paths.ts";
import { machine } from "../matrix_table.ts";
import { median, quantile, report, round } from "./report.ts";

const ROUNDS = Number(Deno.env.get("DNS_ROUNDS") ?? 7);
/** How long the rounds may take. */
const SECONDS = Number(Deno.env.get("DNS_SECONDS") ?? 200);
const QUERIES = 500;
/** Names asked for in a second: one after the other, and dnsperf does not wait for its own timer. */
const RATE = 250;
const AWAY_US = 1000;
const PAPER_RATIO = 1.99;
const TABLE_SIZES = [209, 750, 500_000] as const;
const here = decodeURIComponent(new URL(".", import.meta.url).pathname);

type Sample = { readonly median: number; readonly p99: number };
const samples = new Map<string, Sample[]>();
/** Rounds that count. */
let rounds = 0;

/** A dnsmasq for the lab alone: no files of the system, no cache. */
const SERVER = [
  "--keep-in-foreground",
  "--no-resolv",
  "--no-hosts",
  "--no-daemon",
  "--cache-size=0",
];

const directory = await Deno.makeTempDir();
await Deno.chmod(directory, 0o755);
try {
  await must("gcc", ["-O2", "-o", `${directory}/delay`, `${here}peers/delay.c`]);
  await Deno.writeTextFile(
    `${directory}/names`,
    Array.from({ length: QUERIES }, (_, i) => `n${i}.example. A\n`).join(""),
  );
  await using lab = await NiLab.create();
  await addDirectLink(lab);
  const { net } = lab;
  net.spawn("dnsmasq", [
    ...SERVER,
    "--conf-file=/dev/null",
    "--port=5302",
    "--address=/example/198.18.0.7",
    "--pid-file",
  ]);
  net.spawn(`${directory}/delay`, ["5301", "5302", String(AWAY_US)]);
  net.spawn("dnsmasq", [
    ...SERVER,
    "--conf-file=/dev/null",
    "--server=127.0.0.1#5301",
    "--pid-file",
  ]);
  for (const port of [5302, 5301, 53]) await net.waitForListener("udp", port);
  const ways: [name: string, address: string, up: () => Promise<() => Promise<void>>][] = [
    ["no NI", DIRECT[1], () => Promise.resolve(async () => {})],
    ["Linux bridge", lab.netAddress, () => bridge(lab)],
    ["NI, no scanner", lab.netAddress, () => started(lab)],
    ["NI, Code-Red scanner", lab.netAddress, () => started(lab, "--scanner", "codered")],
  ];
  const began = performance.now();
  for (let i = 0; i < ROUNDS; i++) {
    // A round that would not end in time is not begun: what is there counts.
    const gone = performance.now() - began;
    if (gone + gone / Math.max(1, i) > SECONDS * 1000) break;
    rounds = i;
    for (const [name, address, up] of ways) {
      const down = await up();
      try {
        await lab.ping(3, "-i", "0.1", address);
        const sample = await ask(lab, address);
        if (i > 0) samples.set(name, [...samples.get(name) ?? [], sample]); // the first warms up
      } finally {
        await down();
      }
    }
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}

async function started(lab: NiLab, ...args: string[]): Promise<() => Promise<void>> {
  const ni = await lab.start(...args);
  return async () => {
    await ni.stop();
  };
}

/** Asks for every name. Times in microseconds. */
async function ask(lab: NiLab, address: string): Promise<Sample> {
  const text = await lab.host.must("dnsperf", [
    ...["-s", address, "-d", `${directory}/names`, "-c", "1", "-Q", String(RATE), "-n", "1", "-v"],
  ]);
  const times = [...text.matchAll(/^> NOERROR \S+ A (\d+\.\d+)/gm)].map((m) => Number(m[1]) * 1e6);
  if (times.length < QUERIES * 0.99) {
    throw new Error(`dnsperf: ${times.length} answers:\n${text.slice(-2000)}`);
  }
  return { median: median(times), p99: quantile(times, 0.99) };
}

async function must(command: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(command, { args }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

const of = (name: string, what: keyof Sample) =>
  median((samples.get(name) ?? []).map((s) => s[what]));

const scanned = of("NI, Code-Red scanner", "median");
const without = of("no NI", "median");
report("dns", "a name through the Code-Red scanner, median", scanned, "us", {
  baseline: without,
  target: `at most 1.15 of no NI (paper: ${PAPER_RATIO})`,
  met: scanned <= 1.15 * without,
});
report("dns", "a name through the Code-Red scanner, p99", of("NI, Code-Red scanner", "p99"), "us", {
  baseline: of("no NI", "p99"),
  target: "for information",
  met: true,
});
report(
  "dns",
  "added by the Code-Red scanner, median",
  scanned - of("NI, no scanner", "median"),
  "us",
  {
    target: "for information",
    met: true,
  },
);

interface TableRow {
  readonly entries: number;
  readonly bytes: number;
  readonly add: number;
  readonly hit: number;
  readonly miss: number;
}

/** Times in ns, of the best of several runs: everything else only adds to it. */
function measureTable(entries: number): TableRow {
  const rounds = Math.max(3, Math.round(300_000 / entries));
  const best = { add: Infinity, hit: Infinity, miss: Infinity };
  let bytes = 0;
  for (let r = 0; r < rounds; r++) {
    const table = new AddressTable(1, 500_000);
    let start = performance.now();
    for (let i = 0; i < entries; i++) table.add(1000, 0, Math.imul(i, 2654435761) >>> 0);
    best.add = Math.min(best.add, performance.now() - start);
    start = performance.now();
    let found = 0;
    for (let i = 0; i < entries; i++) if (table.has(Math.imul(i, 2654435761) >>> 0)) found++;
    best.hit = Math.min(best.hit, performance.now() - start);
    start = performance.now();
    for (let i = entries; i < 2 * entries; i++) {
      if (table.has(Math.imul(i, 2654435761) >>> 0)) found++;
    }
    best.miss = Math.min(best.miss, performance.now() - start);
    if (found !== entries) throw new Error(`The table found ${found} of ${entries}`);
    bytes = table.bytes;
  }
  const each = (ms: number) => ms * 1e6 / entries;
  return { entries, bytes, add: each(best.add), hit: each(best.hit), miss: each(best.miss) };
}

const rows = TABLE_SIZES.map(measureTable);
for (const row of rows) {
  report("dns", `table of ${row.entries}: memory of an entry`, row.bytes / row.entries, "bytes", {
    target: "at most 32 (paper: 16, without its hash buckets)",
    met: row.bytes / row.entries <= 32,
  });
  report("dns", `table of ${row.entries}: a look-up`, row.hit, "ns", {
    target: "for information",
    met: true,
  });
}

if (Deno.args.includes("--write")) {
  const line = (cells: (string | number)[]) => `| ${cells.join(" | ")} |`;
  const latency = [...samples.keys()].map((name) =>
    line([
      name,
      of(name, "median").toFixed(0),
      (of(name, "median") / without).toFixed(3),
      of(name, "p99").toFixed(0),
    ])
  );
  const table = rows.map((r) =>
    line([
      r.entries,
      r.bytes,
      round(r.bytes / r.entries),
      round(r.add),
      round(r.hit),
      round(r.miss),
    ])
  );
  Deno.writeTextFileSync(
    `${here}../../docs/evaluation/dns.md`,
    `# DNS through the Code-Red scanner

Written by \`scripts/bench dns --write\` on ${machine()}.

dnsperf asks a dnsmasq for ${QUERIES} names, ${RATE} a second; the dnsmasq has no cache and asks another one,
which is ${
      AWAY_US / 1000
    } ms away (a relay that holds each datagram so long). ${rounds} rounds in turn after one to warm up; medians of the rounds'
medians and 99th percentiles. The paper's table 3 has ${PAPER_RATIO} of no NI.

| path | median, us | of no NI | p99, us |
| --- | --- | --- | --- |
${latency.join("\n")}

The scanner reads DNS and holds nothing of it: answers go on at once, and copies of them come to it.

## The table of addresses

IPv4, filled to its number of entries; times are of the fastest of several runs. 209 and 750 are the paper's (one and
several users' day), whose entries have 16 bytes each, without the hash table around them.

| entries | bytes | bytes an entry | add, ns | look-up, found, ns | look-up, not found, ns |
| --- | --- | --- | --- | --- | --- |
${table.join("\n")}
`,
  );
}
