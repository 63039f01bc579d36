/**
 * Two controllers of one perimeter with a real etcd: killed, cut off and held up in the middle of many
 * requests.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { startLoad } from "../lab/bind_load.ts";
import type { DiaperHost } from "../lab/diaper.ts";
import type { Host } from "../lab/host.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { RemoteSite } from "../lab/remote.ts";

const SOURCE = "198.51.100.7";
const INSIDE = "192.0.2.1";
const ETCD = ["192.0.2.9", "192.0.2.10"] as const;
const COUNT = 1000;
const ignore = !labPossible || !existsSync("/usr/bin/etcd");

interface Cluster {
  readonly lab: Lab;
  /** The first leads at the beginning; each knows etcd by an address of its own. */
  readonly sites: readonly [RemoteSite, RemoteSite];
  readonly broker: DiaperHost;
  readonly etcd: Host;
}

async function withCluster(work: (c: Cluster) => Promise<void>): Promise<void> {
  await using lab = await Lab.create({
    outside: [{ name: "out", addresses: [SOURCE] }],
    inside: [{ name: "in", addresses: [INSIDE] }, { name: "etcd", addresses: [ETCD[0]] }],
  });
  const etcd = lab.host("etcd");
  await etcd.must("ip", ["addr", "add", `${ETCD[1]}/32`, "dev", "eth0"]);
  await lab.perimeter.must("ip", ["route", "add", ETCD[1], "dev", "etcd"]);
  etcd.spawn("etcd", [
    ...["--data-dir", lab.path("etcd"), "--listen-peer-urls", "http://127.0.0.1:2380"],
    ...["--listen-client-urls", ETCD.map((a) => `http://${a}:2379`).join(",")],
    ...["--advertise-client-urls", `http://${ETCD[0]}:2379`, "--log-level", "error"],
  ]);
  await etcd.waitForListener("tcp", 2379);
  const start = (i: 0 | 1, like?: RemoteSite) =>
    RemoteSite.start(lab, {
      server: "embedded",
      policy: [`allow host1 root tcp ${SOURCE} * ${INSIDE} 1024-65535`],
      delegates: ["host1"],
      name: `controller${i}`,
      port: 7422 + i,
      ...(like === undefined ? {} : { like, ready: /standing by/ }),
      settings: ["metrics: off", "cluster:", `  etcd: ["http://${ETCD[i]}:2379"]`],
    }, ["out"]);
  const first = await start(0);
  const second = await start(1, first);
  const broker = await first.broker(lab.host("in"), "host1", [], [second]);
  await work({ lab, sites: [first, second], broker, etcd });
}

const count = (d: DiaperHost, type: string) =>
  d.events().filter((e) => e.event_type === type).length;

/** Has 1,000 programs ask at once, does something in the middle, and looks what became of all. */
async function inTheMiddle(c: Cluster, break_: () => Promise<void>): Promise<void> {
  const { lab, sites: [first, second], broker, etcd } = c;
  const load = await startLoad(lab, lab.host("out"), lab.host("in"), broker, "hold", COUNT);
  await until("some are open", () => count(first.controller, "pinhole.opened") >= 100);
  await break_();
  await second.controller.daemon.waitForLine(/leads, with \d+ pinholes taken over/, 20_000);
  await until("all are open", async () => {
    const pinholes = await broker.pinholes();
    return pinholes.filter((p) => p["state"] === "open").length === COUNT;
  });
  const pinholes = await second.controller.pinholes();
  const tuples = new Set(pinholes.map((p) => String(p["destination_port"])));
  assert.equal(pinholes.length, COUNT, "nothing is open twice");
  assert.equal(tuples.size, COUNT);
  assert.equal((await second.controller.kernelPinholes()).length, COUNT);
  assert.equal(
    count(broker, "pinhole.failed") + count(broker, "pinhole.refused"),
    0,
    "none is lost",
  );
  await load.stop("SIGKILL");
  await until("all are closed", async () => (await second.controller.pinholes()).length === 0);
  assert.deepEqual(await second.controller.kernelPinholes(), []);
  await until("the shared ledger is empty", async () => {
    const keys = await etcd.must("env", [
      ...["ETCDCTL_API=3", "etcdctl", "--endpoints", `http://${ETCD[1]}:2379`],
      ...["get", "--prefix", "--keys-only", "/diaper/pinhole/"],
    ]);
    return keys.trim() === "";
  });
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 40_000;
  while (!await holds()) {
    if (Date.now() > end) throw new Error(`in 40 s it did not come to: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

Deno.test({
  name: "cluster: the leader is killed in the middle of 1,000 requests (needs root, etcd)",
  ignore,
  fn: () =>
    withCluster(async (c) => {
      await inTheMiddle(c, async () => {
        await c.sites[0].controller.stop("SIGKILL");
      });
    }),
});

Deno.test({
  name:
    "cluster: the leader is cut off from etcd in the middle of 1,000 requests, and goes by itself " +
    "(needs root, etcd)",
  ignore,
  fn: () =>
    withCluster(async (c) => {
      await inTheMiddle(c, async () => {
        await c.etcd.must("nft", ["add table ip cut"]);
        await c.etcd.must("nft", [
          "add chain ip cut in { type filter hook input priority 0; }",
        ]);
        await c.etcd.must("nft", [`add rule ip cut in ip daddr ${ETCD[0]} drop`]);
        const { code } = await c.sites[0].controller.daemon.status;
        assert.equal(code, 1);
        assert.match(c.sites[0].controller.daemon.output().join("\n"), /etcd|lead/);
      });
    }),
});

Deno.test({
  name: "cluster: a leader that is held up, and goes on when another leads, writes nothing more " +
    "(needs root, etcd)",
  ignore,
  fn: () =>
    withCluster(async (c) => {
      const [first, second] = c.sites;
      await inTheMiddle(c, async () => {
        first.controller.daemon.kill("SIGSTOP");
        await second.controller.daemon.waitForLine(/leads, with/, 20_000);
        first.controller.daemon.kill("SIGCONT");
        await first.controller.daemon.status;
      });
      const last = first.controller.events().findLast((e) => e.event_type === "pinhole.opened");
      const took = second.controller.events().find((e) => e.event_type === "controller.leads");
      assert.ok(String(last?.timestamp) < String(took?.timestamp), "it opened nothing after that");
    }),
});
