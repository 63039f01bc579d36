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
import { median, quantile, report } from "./report.ts";

const MILLION = 1_000_000;
const SWEPT = 100_000;
/** Seconds that each 100,000 pinholes in the ledger may add to a restart. systemd waits 90 s for all. */
const RESTART_SECONDS = 2;
const BINDS = 3000;
const SWEEPS = 5;

/** Seconds that a restart takes with an empty ledger. */
let emptyRestart = NaN;

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
  const slow = quantile(times.many, 0.99) / 1e6;
  const slowBase = quantile(times.none, 0.99) / 1e6;
  report("scale", "bind() with 1,000,000 pinholes open, p99", slow, "ms", {
    baseline: slowBase,
    target: "at most 1.5x of none open",
    met: slow <= 1.5 * slowBase,
  });
  const sweeps: number[] = [];
  const before = processes(some.daemon.pid);
  for (let i = 0; i < SWEEPS; i++) {
    const { stdout } = await some.verb("pinhole sweep", "--json");
    const { workMs, pinholes } = JSON.parse(stdout) as { workMs: number; pinholes: number };
    if (pinholes < SWEPT) throw new Error(`The sweep looked at ${pinholes} pinholes only`);
    sweeps.push(workMs / 1000);
  }
  const started = processes(some.daemon.pid) - before;
  report("scale", "sweep of 100,000 pinholes, counters read", median(sweeps), "s", {
    target: "at most 2 s",
    met: median(sweeps) <= 2,
  });
  report("scale", "sweep of 100,000 pinholes, slowest", Math.max(...sweeps), "s", {
    target: "at most 2 s",
    met: Math.max(...sweeps) <= 2,
  });
  report("scale", `signs of processes started in ${SWEEPS} sweeps`, started, "", {
    target: "0: counters come over netlink, without nft",
    met: started === 0,
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
  await diaper.stop();
  if (pinholes > 0) fill(`${lab.path(`diaper-${name}`)}/state/ledger.db`, address, pinholes);
  const before = performance.now();
  await diaper.restart();
  const seconds = (performance.now() - before) / 1000;
  if (pinholes === 0) emptyRestart = seconds;
  else {
    const most = RESTART_SECONDS * pinholes / SWEPT;
    report("scale", `restart with ${pinholes} pinholes in the ledger`, seconds, "s", {
      baseline: emptyRestart,
      target: `at most ${most} s more than with none`,
      met: seconds - emptyRestart <= most,
    });
  }
  return diaper;
}

/**
 * Grows with each process that the daemon starts: its children now, and the page faults of those that have
 * ended (proc_pid_stat(5), cminflt), since no process runs without any.
 */
function processes(pid: number): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  let children = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    const list = Deno.readTextFileSync(`/proc/${pid}/task/${name}/children`);
    children += list.split(" ").filter((word) => word !== "").length;
  }
  return Number(fields[8]) + children;
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
