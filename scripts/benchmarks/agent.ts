/**
 * What the interposition agent costs: a bind that it holds, with an enforcer that only remembers; calls
 * that need no pinhole; and throughput. Each beside the same without the agent, in short turns of programs
 * that all run at the same time, so that whatever else the machine does meets them alike.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { LoadRounds, PORT, rounds, type Watcher } from "../../tests/lab/bind_load.ts";
import { DiaperHost } from "../../tests/lab/diaper.ts";
import type { Host } from "../../tests/lab/host.ts";
import { Lab } from "../../tests/lab/lab.ts";
import { median, medianInterval, quantile, report } from "./report.ts";

const BINDS = 300;
const ROUNDS = 60;
const WARM_UP_ROUNDS = 50;
const COST_ROUNDS = 25;
const THROUGHPUT_ROUNDS = 16;

await using lab = await Lab.create({
  outside: [{ name: "out", addresses: ["198.51.100.7"] }],
  inside: [{ name: "in", addresses: ["192.0.2.1"] }],
});
const agentLibrary = fileURLToPath(
  new URL("../../dist/agent/libdiaper-agent.so", import.meta.url),
);
const [outside, inside] = [lab.host("out"), lab.host("in")];
const diaper = await DiaperHost.up(lab, inside, {
  command: fileURLToPath(new URL("debug_diaper", import.meta.url)),
  policy: ["allow bench root * 198.51.100.7 * 192.0.2.1 1024-65535"],
  openPorts: [PORT, PORT + 1, PORT + 2].map((port) => `tcp/${port}`),
});
/** Runs programs under the agent, beside another broker. */
const agentOf = (socket: string) => ({
  run: (_delegate: string, command: string, args: readonly string[]) =>
    inside.spawn(command, args, {
      env: { LD_PRELOAD: agentLibrary, DIAPER_SOCKET: socket },
    }),
});
await heldBind();
await cheapCalls();
await throughput();
await diaper.stop();

/** A broker in C that says yes to everything: what is left is the agent's own share. */
async function startYesBroker(): Promise<string> {
  const program = lab.path("yes_broker");
  const source = fileURLToPath(new URL("../../tests/agent/programs/broker.c", import.meta.url));
  await inside.must("cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source]);
  const path = lab.path("yes.sock");
  await inside.spawn(program, [path, "quiet"]).waitForLine(/ready/);
  return path;
}

/** Medians of the rounds of each kind, in their order, and the 99th percentiles. */
interface Rounds {
  readonly medians: number[];
  readonly tails: number[];
}

async function heldBind(): Promise<void> {
  const yes = agentOf(await startYesBroker());
  const start = async (watcher: Watcher | undefined, port: number) => ({
    load: await LoadRounds.start(lab, outside, inside, watcher, BINDS, port),
    medians: [] as number[],
    tails: [] as number[],
  });
  const native = await start(undefined, PORT + 2);
  const own = await start(yes, PORT + 1);
  const held = await start(diaper, PORT);
  const kinds = [native, own, held];
  // Code is compiled as it is used; a daemon that has served for a while is what is measured.
  for (let i = 0; i < WARM_UP_ROUNDS; i++) await held.load.round();
  for (let i = 0; i < ROUNDS; i++) {
    for (const kind of i % 2 === 0 ? kinds : kinds.toReversed()) {
      const { bind_ns } = await kind.load.round();
      kind.medians.push(median(bind_ns) / 1000);
      kind.tails.push(quantile(bind_ns, 0.99) / 1000);
    }
  }
  for (const { load } of kinds) await load.stop();
  const compare = (what: string, of: Rounds, part: keyof Rounds, most?: number) => {
    const added = of[part].map((value, i) => value - (native[part][i] as number));
    const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => quantile(added, q)) as [
      number,
      number,
      number,
    ];
    const target = most === undefined ? "for comparison" : `at most ${most} us`;
    report("agent", `held bind, ${what}`, middle, "us", {
      target: `${target}; quartiles of rounds ${low.toFixed(1)} to ${high.toFixed(1)}`,
      met: most === undefined || middle <= most,
    });
  };
  compare("broker that only answers, added, median", own, "medians");
  compare("debug enforcer, added to native, median", held, "medians", 25);
  compare("debug enforcer, added to native, p99", held, "tails");
}

async function cheapCalls(): Promise<void> {
  const program = lab.path("agent_cost");
  const source = fileURLToPath(new URL("../../tests/programs/agent_cost.c", import.meta.url));
  await inside.must("cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source]);
  const plain = await startCosts(program, undefined, PORT);
  const watched = await startCosts(program, diaper, PORT + 1);
  const added = new Map<string, number[]>();
  for (let i = 0; i < COST_ROUNDS; i++) {
    const first = i % 2 === 0 ? await plain() : undefined;
    const with_ = await watched();
    const without = first ?? await plain();
    for (const [name, ns] of Object.entries(with_)) {
      const differences = added.get(name) ?? [];
      differences.push(ns - (without[name] ?? NaN));
      added.set(name, differences);
    }
  }
  for (const [name, differences] of added) {
    const [low, high] = [quantile(differences, 0.25), quantile(differences, 0.75)];
    report("agent", `${name}, added, median`, median(differences), "ns", {
      target: `at most 150 ns; quartiles of rounds ${low.toFixed(0)} to ${high.toFixed(0)}`,
      met: median(differences) <= 150,
    });
  }
}

/** Nanoseconds of each call, in a round. */
type Costs = Record<string, number>;

async function startCosts(
  program: string,
  watcher: typeof diaper | undefined,
  port: number,
): Promise<() => Promise<Costs>> {
  const args = [inside.address(4), String(port)];
  const server = watcher === undefined
    ? inside.spawn(program, args)
    : watcher.run("bench", program, args);
  await server.waitForLine(/^ready$/);
  await outside.tryConnect(inside.address(4), port);
  return rounds<Costs>(server);
}

async function throughput(): Promise<void> {
  const ratios: number[] = [];
  const without: number[] = [];
  for (let i = 0; i < THROUGHPUT_ROUNDS; i++) {
    // Who goes first changes, so that what comes and goes on the machine meets both.
    const first = i % 2 === 0 ? await iperf3(inside, false) : undefined;
    const with_ = await iperf3(inside, true);
    const plain = first ?? await iperf3(inside, false);
    without.push(plain);
    ratios.push(with_ / plain);
  }
  const ratio = median(ratios);
  const [low, high] = medianInterval(ratios);
  const baseline = median(without) / 1e9;
  report("agent", "iperf3 over loopback", baseline * ratio, "Gbit/s", {
    baseline,
    target: `at least 0.98 of without; median of pairs ${low.toFixed(3)} to ${
      high.toFixed(3)
    } (95 %)`,
    met: ratio >= 0.98,
  });
}

/** Bits a second between a server and a client that both run with the agent, or both without. */
async function iperf3(host: Host, watched: boolean): Promise<number> {
  const start = (args: string[]) =>
    watched ? diaper.run("bench", "iperf3", args) : host.spawn("iperf3", args);
  const server = start(["-s", "-1", "-p", "5201"]);
  await host.waitForListener("tcp", 5201);
  const client = start(["-c", "127.0.0.1", "-p", "5201", "-t", "1", "-J"]);
  await client.status;
  await server.status;
  const said = JSON.parse(client.output("stdout").join("\n")) as {
    end: { sum_received: { bits_per_second: number } };
  };
  return said.end.sum_received.bits_per_second;
}
