/**
 * What the interposition agent costs: a bind that it holds, with an enforcer that only remembers; calls
 * that need no pinhole; and throughput. Each beside the same without the agent, in turns.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { loadOnce, PORT } from "../../tests/lab/bind_load.ts";
import { DiaperHost } from "../../tests/lab/diaper.ts";
import type { Host } from "../../tests/lab/host.ts";
import { Lab } from "../../tests/lab/lab.ts";
import { median, quantile, report } from "./report.ts";

const BINDS = 3000;
const ROUNDS = 7;
const WARM_UP_ROUNDS = 5;
const THROUGHPUT_ROUNDS = 12;

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
  openPorts: [`tcp/${PORT}`],
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

async function heldBind(): Promise<void> {
  const native: number[] = [];
  const held: number[] = [];
  const own: number[] = [];
  const yes = await startYesBroker();
  // Code is compiled as it is used; a daemon that has served for a while is what is measured.
  for (let i = 0; i < WARM_UP_ROUNDS; i++) {
    await loadOnce(lab, outside, inside, diaper, "latency", BINDS);
  }
  for (let i = 0; i < ROUNDS; i++) {
    own.push(...(await loadOnce(lab, outside, inside, agentOf(yes), "latency", BINDS)).bind_ns);
    native.push(...(await loadOnce(lab, outside, inside, undefined, "latency", BINDS)).bind_ns);
    held.push(...(await loadOnce(lab, outside, inside, diaper, "latency", BINDS)).bind_ns);
  }
  const us = (ns: number) => ns / 1000;
  report(
    "agent",
    "held bind, broker that only answers, added, median",
    us(
      median(own) - median(native),
    ),
    "us",
    { target: "for comparison", met: true },
  );
  const added = us(median(held) - median(native));
  report("agent", "held bind, debug enforcer, added to native, median", added, "us", {
    target: "at most 25 us",
    met: added <= 25,
  });
  const tail = us(quantile(held, 0.99) - quantile(native, 0.99));
  report("agent", "held bind, debug enforcer, added to native, p99", tail, "us", {
    target: "for comparison",
    met: true,
  });
}

async function cheapCalls(): Promise<void> {
  const program = lab.path("agent_cost");
  const source = fileURLToPath(new URL("../../tests/programs/agent_cost.c", import.meta.url));
  await inside.must("cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source]);
  const without = new Map<string, number[]>();
  const with_ = new Map<string, number[]>();
  for (let i = 0; i < ROUNDS; i++) {
    await costs(program, false, without);
    await costs(program, true, with_);
  }
  for (const [name, samples] of with_) {
    const added = median(samples) - median(without.get(name) ?? []);
    report("agent", `${name}, added, median`, added, "ns", {
      target: "at most 150 ns",
      met: added <= 150,
    });
  }
}

async function costs(program: string, watched: boolean, to: Map<string, number[]>): Promise<void> {
  const args = [inside.address(4), String(PORT)];
  const server = watched ? diaper.run("bench", program, args) : inside.spawn(program, args);
  await server.waitForLine(/^ready$/);
  await outside.tryConnect(inside.address(4), PORT);
  const line = (await server.waitForLine(/^\{.*\}$/, 60_000))[0];
  await server.status;
  for (const [name, ns] of Object.entries(JSON.parse(line) as Record<string, number>)) {
    const samples = to.get(name) ?? [];
    samples.push(ns);
    to.set(name, samples);
  }
}

async function throughput(): Promise<void> {
  const without: number[] = [];
  const with_: number[] = [];
  for (let i = 0; i < THROUGHPUT_ROUNDS; i++) {
    // Who goes first changes, so that what comes and goes on the machine meets both.
    for (const watched of i % 2 === 0 ? [false, true] : [true, false]) {
      (watched ? with_ : without).push(await iperf3(inside, watched));
    }
  }
  const ratio = median(with_) / median(without);
  report("agent", "iperf3 over loopback", median(with_) / 1e9, "Gbit/s", {
    baseline: median(without) / 1e9,
    target: "at least 0.98 of without",
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
