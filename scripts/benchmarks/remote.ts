/**
 * A request from a broker to a remote controller and back over SSH, with the debug enforcer, policy, ledger
 * and audit trail; and how many a second one connection carries.
 *
 * @module
 */
import { DiaperHost } from "../../tests/lab/diaper.ts";
import { Lab } from "../../tests/lab/lab.ts";
import { loadOnce, PORT } from "../../tests/lab/bind_load.ts";
import { RemoteSite, SSH_PORT } from "../../tests/lab/remote.ts";
import { median, quantile, report } from "./report.ts";

const BINDS = 2000;
const ROUNDS = 5;
const STORM = 2000;

const lab = await Lab.create({
  outside: [{ name: "out", addresses: ["198.51.100.7"] }],
  inside: [
    { name: "in", addresses: ["192.0.2.1"] },
    { name: "alone", addresses: ["192.0.2.2"] },
  ],
});
try {
  const site = await RemoteSite.start(lab, {
    server: "embedded",
    enforcer: "debug",
    policy: [
      "allow host1 root tcp 198.51.100.7 * 192.0.2.1 1024-65535",
      "allow host2 root tcp 198.51.100.7 * 192.0.2.2 1024-65535",
    ],
    delegates: ["host1", "host2"],
  }, []);
  const broker = await site.broker(lab.host("in"), "host1");
  // The same on one host, in the same run: what the way over the network costs.
  const own = await DiaperHost.up(lab, lab.host("alone"), {
    policy: ["allow bench root tcp 198.51.100.7 * 192.0.2.2 1024-65535"],
    openPorts: [`tcp/${PORT}`],
  });
  const over = async (mode: "latency" | "storm", count: number) => {
    const result = await loadOnce(lab, lab.host("out"), lab.host("in"), broker, mode, count);
    await quiet(broker);
    await quiet(site.controller);
    return result;
  };
  const alone = async (mode: "latency" | "storm", count: number) => {
    const result = await loadOnce(lab, lab.host("out"), lab.host("alone"), own, mode, count);
    await quiet(own);
    return result;
  };
  // Code is compiled as it is used; daemons that have served for a while are what is measured.
  await over("latency", BINDS);
  await over("storm", STORM);
  await alone("latency", BINDS);
  const remote: number[] = [];
  const local: number[] = [];
  const storms: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    remote.push(...(await over("latency", BINDS)).bind_ns.map((ns) => ns / 1e6));
    local.push(...(await alone("latency", BINDS)).bind_ns.map((ns) => ns / 1e6));
    storms.push(STORM / ((await over("storm", STORM)).wall_ns / 1e9));
  }
  report("remote", "bind() by a remote controller, median", median(remote), "ms", {
    baseline: median(local),
    target: "at most 1.5 ms",
    met: median(remote) <= 1.5,
  });
  report("remote", "bind() by a remote controller, p99", quantile(remote, 0.99), "ms", {
    baseline: quantile(local, 0.99),
    target: "at most 6 ms",
    met: quantile(remote, 0.99) <= 6,
  });
  report("remote", "2,000 processes at once, pinholes a second", median(storms), "1/s", {
    target: "for comparison",
    met: true,
  });
  // Without agents and programs: what broker and controller say to each other.
  const runs: { latency_ms: number[]; per_second: number }[] = [];
  for (let i = 0; i < 3; i++) runs.push(await requests(site));
  const latency = runs.flatMap((r) => r.latency_ms);
  report("remote", "request to verdict over SSH, median", median(latency), "ms", {
    target: "at most 1.5 ms",
    met: median(latency) <= 1.5,
  });
  report("remote", "request to verdict over SSH, p99", quantile(latency, 0.99), "ms", {
    target: "at most 6 ms",
    met: quantile(latency, 0.99) <= 6,
  });
  const rate = median(runs.map((r) => r.per_second));
  report("remote", "opened and closed over one connection", rate, "1/s", {
    target: "at least 5,000",
    met: rate >= 5000,
  });
  // One delegate asks for as much as it can, and another for one after the other.
  const undisturbed = median((await beside(site, 0)).latency_ms);
  const floods = [await beside(site, 40_000), await beside(site, 40_000)];
  const flooded = median(floods.flatMap((f) => f.latency_ms));
  const asked = Math.min(...floods.map((f) => f.latency_ms.length));
  report("remote", "request of one while another floods, median", flooded, "ms", {
    baseline: undisturbed,
    target: `at most 6 ms, at least 20 answered in the middle of each flood (${asked})`,
    met: flooded <= 6 && asked >= 20,
  });
} finally {
  await lab.close();
}

async function beside(
  site: RemoteSite,
  flood: number,
): Promise<{ latency_ms: number[]; left: number }> {
  const program = new URL("../../tests/controller/ssh_flood_program.ts", import.meta.url).pathname;
  const keys = ["host1", "host2"].map((delegate) => {
    const path = lab.path(`bench-${delegate}`);
    Deno.writeTextFileSync(path, site.key(delegate), { mode: 0o600 });
    return path;
  });
  const out = await lab.host("in").must(Deno.execPath(), [
    ...["run", "-A", program, site.controller.host.address(4), String(SSH_PORT), ...keys],
    ...["198.51.100.7", "192.0.2.1", "192.0.2.2", String(flood), "200"],
  ], { timeout: 120_000 });
  return JSON.parse(out) as { latency_ms: number[]; left: number };
}

/** Waits until the pinholes of programs that were killed are closed: that is not what comes next. */
async function quiet(daemon: DiaperHost): Promise<void> {
  while ((await daemon.pinholes()).length > 0) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function requests(site: RemoteSite): Promise<{ latency_ms: number[]; per_second: number }> {
  const program = new URL("remote_requests.ts", import.meta.url).pathname;
  const key = lab.path("bench-key");
  await Deno.writeTextFile(key, site.key("host1"), { mode: 0o600 });
  const address = site.controller.host.address(4);
  const out = await lab.host("in").must(Deno.execPath(), [
    ...["run", "-A", program, address, String(SSH_PORT), key],
    ...["198.51.100.7", "192.0.2.1", "20000"],
  ]);
  return JSON.parse(out) as { latency_ms: number[]; per_second: number };
}
