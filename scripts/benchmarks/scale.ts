/**
 * Many open pinholes: one more takes no longer, and the sweep reads the counters of all.
 *
 * Each daemon is started on a ledger that holds the pinholes already, which shows a restart as well.
 *
 * @module
 */
import { Ledger } from "../../lib/controller/ledger.ts";
import { makePinhole } from "../../tests/controller/make.ts";
import { ip } from "../../tests/controller/make.ts";
import { DiaperHost } from "../../tests/lab/diaper.ts";
import { Lab } from "../../tests/lab/lab.ts";
import { loadOnce } from "../../tests/lab/bind_load.ts";
import { median, report } from "./report.ts";

const MILLION = 1_000_000;
const SWEPT = 100_000;
const BINDS = 3000;

const lab = await Lab.create({
  outside: [{ name: "out", addresses: ["198.51.100.7"] }],
  inside: [
    { name: "none", addresses: ["192.0.2.1"] },
    { name: "some", addresses: ["192.0.2.2"] },
    { name: "many", addresses: ["192.0.2.3"] },
  ],
});
try {
  const empty = await start("none", 0);
  const some = await start("some", SWEPT);
  const many = await start("many", MILLION);
  const outside = lab.host("out");
  const times = { none: [] as number[], many: [] as number[] };
  for (let round = 0; round < 5; round++) {
    for (const [name, d] of [["none", empty], ["many", many]] as const) {
      const { bind_ns } = await loadOnce(lab, outside, d.host, d, "latency", BINDS);
      if (round > 0) times[name].push(...bind_ns);
    }
  }
  const base = median(times.none) / 1e6;
  const value = median(times.many) / 1e6;
  report("scale", "bind() with 1,000,000 pinholes open, median", value, "ms", {
    baseline: base,
    target: "at most 1.5x of none open",
    met: value <= 1.5 * base,
  });
  const sweeps: number[] = [];
  for (let i = 0; i < 5; i++) {
    const { stdout } = await some.verb("pinhole sweep", "--json");
    sweeps.push((JSON.parse(stdout) as { workMs: number }).workMs / 1000);
  }
  report("scale", "sweep of 100,000 pinholes, counters read", median(sweeps), "s", {
    target: "at most 2 s",
    met: median(sweeps) <= 2,
  });
  for (const d of [empty, some, many]) await d.stop("SIGKILL");
} finally {
  await lab.close();
}

async function start(name: string, pinholes: number): Promise<DiaperHost> {
  const host = lab.host(name);
  const address = host.address(4);
  const diaper = await DiaperHost.up(lab, host, {
    policy: [`allow bench root tcp 198.51.100.7 * ${address} 1024-65535`],
    openPorts: ["tcp/2121"],
  });
  if (pinholes === 0) return diaper;
  await diaper.stop();
  fill(`${lab.path(`diaper-${name}`)}/state/ledger.db`, address, pinholes);
  const before = performance.now();
  await diaper.restart();
  report(
    "scale",
    `restart with ${pinholes} pinholes in the ledger`,
    (performance.now() - before) / 1000,
    "s",
    { target: "for information", met: true },
  );
  return diaper;
}

/** Writes pinholes opened by hand into a ledger: from many hosts to many ports of one. */
function fill(path: string, destination: string, count: number): void {
  const ledger = new Ledger(path);
  for (let i = 0; i < count; i += 10_000) {
    ledger.transaction(() => {
      for (let k = i; k < Math.min(count, i + 10_000); k++) {
        const source = `198.18.${(k >> 8) & 0xff}.${k & 0xff}`;
        const tuple = {
          protocol: "tcp" as const,
          source: ip(source),
          sourcePort: 0,
          destination: ip(destination),
          destinationPort: 10_000 + (k >> 16),
        };
        const state = "open" as const;
        ledger.insert(makePinhole(ledger.nextId(), 1, { tuple, state, cookie: 0n }));
      }
    });
  }
  ledger.close();
}
