/**
 * Two controllers of one perimeter with a real etcd: killed, cut off and held up in the middle of many
 * requests.
 */
import assert from "node:assert/strict";
import { startLoad } from "../lab/bind_load.ts";
import {
  type Cluster,
  clusterPossible,
  type ClusterSpec,
  cut,
  ETCD,
  ROUTER,
  withCluster,
} from "../lab/cluster.ts";
import type { DiaperHost } from "../lab/diaper.ts";
import { SSH_PORT } from "../lab/remote.ts";

const COUNT = 1000;
const ignore = !clusterPossible;
/** The machine of a test may have much else to do. */
const CALM: ClusterSpec = { patience: "4s" };

const count = (d: DiaperHost, type: string) =>
  d.events().filter((e) => e.event_type === type).length;

/** Has 1,000 programs ask at once, does something in the middle, and looks what became of all. */
async function inTheMiddle(...how: Parameters<typeof carriedOn>): Promise<void> {
  try {
    await carriedOn(...how);
  } catch (error) {
    const [first, second] = how[0].sites.map((s) => s.controller.daemon.output().join("\n"));
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`${why}\n---- first\n${first}\n---- second\n${second}`, { cause: error });
  }
}

async function carriedOn(
  c: Cluster,
  break_: () => Promise<void>,
  held: () => Promise<number> = async () => (await c.sites[1].controller.kernelPinholes()).length,
): Promise<void> {
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
  assert.equal(await held(), COUNT);
  assert.equal(
    count(broker, "pinhole.failed") + count(broker, "pinhole.refused"),
    0,
    "none is lost",
  );
  await load.stop("SIGKILL");
  await until("all are closed", async () => (await second.controller.pinholes()).length === 0);
  assert.equal(await held(), 0, "no pinhole is left behind");
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
    withCluster(CALM, async (c) => {
      await tellsWhoLeads(c);
      await inTheMiddle(c, async () => {
        await c.sites[0].controller.stop("SIGKILL");
      });
    }),
});

/** The one that stands by can be asked how it is, and who leads. */
async function tellsWhoLeads({ sites: [first, second] }: Cluster): Promise<void> {
  const ask = async (d: DiaperHost) => JSON.parse((await d.verb("status", "--json")).stdout);
  const [leader, other] = [await ask(first.controller), await ask(second.controller)];
  assert.equal(leader.standby, undefined);
  assert.ok(String(other.standby.leader).endsWith(`:${leader.pid}`), JSON.stringify(other));
  assert.deepEqual(other.health, []);
  const words = await second.controller.verb("status");
  assert.equal(words.code, 0);
  assert.match(words.stdout, /^stands by since /m);
  const open = await second.controller.verb("pinhole list");
  assert.equal(open.code, 1);
  assert.match(open.stderr, /holds no pinholes: standing by: .* leads\n {2}next: ask it there/);
}

/** The first controller goes by itself, and says why. */
async function goes(c: Cluster, why: RegExp): Promise<void> {
  const { daemon } = c.sites[0].controller;
  assert.equal((await daemon.status).code, 1);
  assert.match(daemon.output().join("\n"), why);
}

Deno.test({
  name:
    "cluster: the leader is cut off from etcd in the middle of 1,000 requests, and goes by itself " +
    "(needs root, etcd)",
  ignore,
  fn: () =>
    withCluster(CALM, async (c) => {
      await inTheMiddle(c, async () => {
        await cut(c.etcd, `ip daddr ${ETCD[0]}`);
        await goes(c, /etcd|lead/);
      });
    }),
});

Deno.test({
  name: "cluster: a leader that is held up, and goes on when another leads, writes nothing more " +
    "(needs root, etcd)",
  ignore,
  fn: () =>
    withCluster(CALM, async (c) => {
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

Deno.test({
  name:
    "cluster: the leader is cut off from its brokers in the middle of 1,000 requests, and goes by " +
    "itself (needs root, etcd)",
  ignore,
  fn: () =>
    withCluster(CALM, async (c) => {
      await inTheMiddle(c, async () => {
        await cut(c.lab.perimeter, `tcp dport ${SSH_PORT}`);
        await goes(c, /none of 1 brokers is heard of any more/);
      });
    }),
});

for (const brokersToo of [false, true]) {
  Deno.test({
    name:
      `cluster: the leader is cut off from its enforcer${brokersToo ? " and its brokers" : ""} ` +
      "in the middle of 1,000 requests, and goes by itself (needs root, etcd)",
    ignore,
    fn: () =>
      withCluster({ ...CALM, enforcer: "router" }, async (c) => {
        const [first, second] = c.sites;
        await inTheMiddle(c, async () => {
          await cut(c.etcd, `ip daddr ${ETCD[0]} tcp dport ${ROUTER.port}`);
          if (brokersToo) await cut(c.lab.perimeter, `tcp dport ${SSH_PORT}`);
          await goes(c, brokersToo ? /brokers is heard|enforcer/ : /enforcer cannot be reached/);
          const failed = first.controller.events().filter((e) => e.event_type === "pinhole.failed");
          assert.deepEqual(failed, [], "nobody was told that it cannot be");
        }, async () => {
          const shown = await second.controller.verb(`enforcer show ${ROUTER.enforcer}`, "--json");
          assert.equal(shown.code, 0, shown.stderr);
          return shown.stdout.split("\n").length - 1;
        });
      }),
  });
}
