/**
 * How long brokers are without a controller when the leader of two is killed, or cut off in the middle of 1,000
 * requests: from the moment it happens until the broker is served by the other, and until the first pinhole
 * after that is open. With the default patience. Needs root and etcd.
 *
 * @module
 */
import { startLoad } from "../../tests/lab/bind_load.ts";
import { type Cluster, cut, ETCD, ROUTER, withCluster } from "../../tests/lab/cluster.ts";
import { SSH_PORT } from "../../tests/lab/remote.ts";
import { report } from "./report.ts";

const COUNT = 1000;
const ROUNDS = 2;

interface Break {
  readonly name: string;
  readonly enforcer?: "router";
  readonly do: (c: Cluster) => Promise<void>;
  /** Seconds within which brokers must have moved, and why. */
  readonly most: number;
  readonly because?: string;
}

const fromRouter = (c: Cluster) => cut(c.etcd, `ip daddr ${ETCD[0]} tcp dport ${ROUTER.port}`);
const fromBrokers = (c: Cluster) => cut(c.lab.perimeter, `tcp dport ${SSH_PORT}`);

/** Seconds that the router may take; only then it is known that it does not answer. */
const TIMEOUT = 1;

const BREAKS: readonly Break[] = [
  {
    name: "killed",
    do: async (c) => void await c.sites[0].controller.stop("SIGKILL"),
    most: 2,
  },
  { name: "cut off from etcd", do: (c) => cut(c.etcd, `ip daddr ${ETCD[0]}`), most: 2 },
  { name: "cut off from its brokers", do: fromBrokers, most: 2 },
  {
    name: "cut off from brokers and enforcer",
    enforcer: "router",
    do: async (c) => {
      await fromRouter(c);
      await fromBrokers(c);
    },
    most: 2,
  },
  {
    name: "cut off from its enforcer",
    enforcer: "router",
    do: fromRouter,
    most: 2 + 2 * TIMEOUT,
    because: `, with ${TIMEOUT} s that the enforcer may take for an answer`,
  },
];

for (const one of BREAKS) {
  const moved: number[] = [];
  const opened: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    await withCluster(
      { enforcer: one.enforcer, patience: "1s", timeout: TIMEOUT },
      async (c) => {
        const seconds = await measure(c, one);
        moved.push(seconds.moved);
        opened.push(seconds.opened);
      },
    );
  }
  const worst = Math.max(...moved);
  report("failover", `leader ${one.name}: brokers have moved, slowest of ${ROUNDS}`, worst, "s", {
    target: `at most ${one.most} s${one.because ?? ""}`,
    met: worst <= one.most,
  });
  report("failover", `leader ${one.name}: the next pinhole is open`, Math.max(...opened), "s", {
    target: "for comparison",
    met: true,
  });
}

async function measure(c: Cluster, one: Break): Promise<{ moved: number; opened: number }> {
  const { lab, broker, sites: [first, second] } = c;
  const load = await startLoad(lab, lab.host("out"), lab.host("in"), broker, "hold", COUNT);
  while (first.controller.events().filter((e) => e.event_type === "pinhole.opened").length < 100) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  // What systemd does: on a busy machine the second one may lose the lead as well.
  let over = false;
  const supervision = (async () => {
    for (; !over; await new Promise((resolve) => setTimeout(resolve, 100))) {
      if (!second.controller.daemon.running) await second.controller.restart();
    }
  })();
  const since = Date.now();
  await one.do(c);
  const at = (event: { timestamp: string }) => Date.parse(event.timestamp);
  const connected = await broker.waitForEvent(
    (e) => e.event_type === "controller.connected" && at(e) > since,
    30_000,
  );
  const opened = await broker.waitForEvent(
    (e) => e.event_type === "pinhole.opened" && at(e) >= at(connected),
    30_000,
  );
  const end = Date.now() + 60_000;
  for (let open = 0; open < COUNT;) {
    if (Date.now() > end) throw new Error(`${open} of ${COUNT} pinholes are open after a minute`);
    open = (await broker.pinholes()).filter((p) => p["state"] === "open").length;
  }
  over = true;
  await supervision;
  await load.stop("SIGKILL");
  return { moved: (at(connected) - since) / 1000, opened: (at(opened) - since) / 1000 };
}
