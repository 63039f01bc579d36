/**
 * What controllers may have done to hosts at their NIs, and that the channel carries it.
 */
import assert from "node:assert/strict";
import { controllerOrder } from "../../lib/admin/controller_orders.ts";
import type { ConsoleMessage, ContainmentOrder, ContainRequest } from "../../lib/admin/messages.ts";
import { parseRegistry, type Peer, RegistryError } from "../../lib/admin/registry.ts";
import type { OrderRecord } from "../../lib/admin/state.ts";
import { newKeyPair } from "../../lib/sys/ssh.ts";
import { alertEvent, TestConsole } from "./support.ts";

const NOW = Date.parse("2026-11-24T12:00:00Z");
const key = () => `ssh-ed25519 ${newKeyPair("x").publicKey}`;

function request(more: Partial<ContainRequest> = {}): ContainRequest {
  return {
    id: crypto.randomUUID(),
    verb: "slow",
    host: "192.0.2.10",
    lifetime: 600,
    reason: "codered at edge",
    connections: 1,
    dry_run: false,
    ...more,
  };
}

const peers = parseRegistry(
  [
    `edge ${key()} hosts=192.0.2.0/25`,
    `far ${key()} hosts=198.51.100.0/24`,
    `gate ${key()} role=controller hosts=192.0.2.0/24,198.51.100.0/24 orders=slow,block longest=1h`,
    `dumb ${key()} role=controller`,
  ].join("\n"),
  "peers",
);
const peer = (name: string) => peers.find((p) => p.name === name) as Peer;

function held(owner: string, verb: "block" | "slow"): OrderRecord {
  const { dry_run: _, ...fields } = request({ verb });
  const order = { ...fields, owner, issued_at: new Date(NOW).toISOString() };
  return { order, peer: "edge", until: NOW + 600_000, state: "done", why: "" };
}

function judge(more: Partial<ContainRequest>, holding: OrderRecord[] = [], who = "gate") {
  return controllerOrder(peer(who), request(more), {
    peers,
    neverBlock: (host) => host === "192.0.2.53" ? "it is in never_block" : undefined,
    holding: () => holding,
  }, NOW);
}

Deno.test("a controller's order: told to the NIs that the host is behind, in the controller's name", () => {
  const judged = judge({});
  assert.ok("order" in judged);
  assert.deepEqual(judged.peers, ["edge"]);
  const { owner, verb, lifetime, issued_at } = judged.order;
  assert.deepEqual([owner, verb, lifetime], ["controller:gate", "slow", 600]);
  assert.equal(issued_at, "2026-11-24T12:00:00.000Z");
  assert.equal("dry_run" in judged.order, false);
});

Deno.test("a controller's order: what is not allowed it is refused, never_block before all else", () => {
  const why = (...args: Parameters<typeof judge>) => {
    const judged = judge(...args);
    return "why" in judged ? judged.why : "given";
  };
  assert.match(
    why({ host: "192.0.2.53" }, [], "dumb"),
    /never to be contained: it is in never_block/,
  );
  assert.match(why({}, [], "dumb"), /dumb may give no orders/);
  assert.match(why({ verb: "filter", destinations: [] }), /may only slow, block/);
  assert.match(why({ host: "203.0.113.1" }), /none of the hosts/);
  assert.match(why({ lifetime: 3601 }), /for 3600 seconds at most/);
  assert.match(why({ host: "192.0.2.200" }), /no NI is known to stand before/);
  assert.match(why({}, [held("alice", "block")]), /alice has ordered block until/);
  assert.match(why({ verb: "allow" }, [held("alice", "block")]), /alice has ordered block/);
  assert.match(why({}, [held("controller:other", "block")]), /controller:other has ordered/);
  assert.equal(why({ verb: "allow" }, [held("controller:gate", "block")]), "given");
});

Deno.test("registry: what controllers may order is read, and half of it is a mistake", () => {
  const { orders, longest } = peer("gate");
  assert.deepEqual([orders, longest], [["slow", "block"], 3600]);
  assert.deepEqual([peer("dumb").orders, peer("edge").longest], [[], 86_400]);
  const wrong = (settings: string, what: RegExp) =>
    assert.throws(
      () => parseRegistry(`a ${key()} ${settings}`, "peers"),
      (e) => e instanceof RegistryError && what.test(e.message),
    );
  wrong("role=controller orders=slow", /needs hosts=/);
  wrong("orders=slow hosts=192.0.2.0/24", /only a controller/);
  wrong("role=controller hosts=192.0.2.0/24 orders=allow", /slow, filter, block/);
  wrong("role=controller hosts=192.0.2.0/24 orders=slow longest=ever", /longest is a time/);
});

type Result = ConsoleMessage & { op: "contain-result" };
type Alert = ConsoleMessage & { op: "alert" };

/** A console with an NI and a controller, both there. */
async function site(gateSettings: string) {
  const test = await TestConsole.start({
    edge: "hosts=192.0.2.0/24",
    gate: `role=controller ${gateSettings}`,
  }, { never_block: ["192.0.2.53"] });
  const obeyed: ContainmentOrder[] = [];
  const results: Result[] = [];
  const alerts: Alert[] = [];
  const edge = await test.ni("edge", {
    handlers: {
      order: (order) => {
        obeyed.push(order);
        return { ok: true, why: "" };
      },
    },
  });
  const gate = await test.ni("gate", {
    role: "controller",
    handlers: { contained: (r) => results.push(r), alert: (a) => alerts.push(a) },
  });
  await Promise.all([edge.start(), gate.start()]);
  await test.until(() => edge.connected && gate.connected ? true : undefined, "connections");
  const ask = async (r: ContainRequest) => {
    const before = results.length;
    gate.say({ op: "contain", ...r });
    return await test.until(() => results[before], "answer");
  };
  return { test, edge, gate, obeyed, alerts, ask };
}

Deno.test("console: a controller's order goes to the NI once, and an administrator's goes before it", async () => {
  const { test, obeyed, ask } = await site("hosts=192.0.2.0/24 orders=slow");
  await using _ = test;
  const { console } = test.daemon;
  const dry = await ask(request({ dry_run: true }));
  assert.deepEqual([dry.ok, dry.peers], [true, ["edge"]]);
  assert.deepEqual(console.state.orders(true, 10), [], "a dry run orders nothing");
  const wanted = request();
  assert.deepEqual((await ask(wanted)).peers, ["edge"]);
  await test.until(() => obeyed[0], "order at the NI");
  assert.deepEqual((await ask(wanted)).ok, true, "asked again, answered again");
  const [live] = console.state.orders(true, 10);
  assert.deepEqual([live?.order.owner, live?.order.reason], ["controller:gate", "codered at edge"]);
  assert.match((await ask(request({ verb: "block" }))).why, /may only slow/);
  assert.match((await ask(request({ host: "192.0.2.53" }))).why, /never to be contained/);
  const alice = { ...wanted, dry_run: undefined, id: crypto.randomUUID(), owner: "alice" };
  const { dry_run: __, ...fields } = alice;
  console.order({ ...fields, verb: "block", issued_at: new Date().toISOString() }, ["edge"]);
  await test.until(() => obeyed[1], "alice's order at the NI");
  assert.match((await ask(request())).why, /alice has ordered block/);
  assert.deepEqual(obeyed.map(({ verb, id }) => [verb, id === wanted.id]), [
    ["slow", true],
    ["block", false],
  ]);
  const audit = console.state.auditLines(undefined, 100).filter((l) => l.who === "controller:gate");
  assert.deepEqual(audit.map(({ what }) => what).reverse(), [
    ...["order.dry-run", "order.slow", "order.refused", "order.refused", "order.refused"],
  ]);
});

Deno.test("console: an NI that orders is sent away, and its word about hosts of others reaches no reaction", async () => {
  const { test, edge, alerts } = await site("");
  await using _ = test;
  edge.alert(alertEvent("worm", { src_ip: "192.0.2.7", dest_ip: "198.51.100.1" }));
  edge.alert(alertEvent("forged", { src_ip: "198.51.100.1", dest_ip: "203.0.113.9" }));
  edge.alert(alertEvent("spared", { src_ip: "192.0.2.53", dest_ip: "192.0.2.7" }));
  await test.until(() => alerts[2], "alerts at the controller");
  assert.deepEqual(alerts.map(({ hosts, never }) => [hosts, never]), [
    [["192.0.2.7"], []],
    [[], []],
    [["192.0.2.53", "192.0.2.7"], ["192.0.2.53"]],
  ]);
  edge.say({ op: "contain", ...request() });
  await test.until(
    () => test.messages.find((m) => /an NI gives no orders/.test(m)),
    "end of the connection",
  );
  assert.deepEqual(test.daemon.console.state.orders(true, 10), []);
});

Deno.test("console: of a host's orders the newest holds, and when its time is over none does", async () => {
  await using test = await TestConsole.start({ edge: "hosts=192.0.2.0/24", far: "" });
  const { console } = test.daemon;
  const { dry_run: _, ...fields } = request({ verb: "block" });
  const give = (seconds: number, lifetime: number, verb: "block" | "slow" | "allow" = "block") => {
    const id = crypto.randomUUID();
    const issued_at = new Date(Date.now() + seconds * 1000).toISOString();
    console.order({ ...fields, id, verb, lifetime, owner: "alice", issued_at }, ["edge"]);
    return id;
  };
  const live = () => console.state.orders(true, 100).map(({ order }) => order.id);
  const first = give(-100, 3600);
  assert.deepEqual(live(), [first]);
  const over = give(-50, 10);
  assert.deepEqual(live(), [], "the NI let the host go when the newer one was over");
  assert.deepEqual(console.state.holding("192.0.2.10"), []);
  // One that was not carried out changes nothing.
  console.state.answerOrder(over, "edge", false, "no room");
  assert.deepEqual(live(), [first]);
  assert.deepEqual(console.state.holding("192.0.2.10").map(({ order }) => order.id), [first]);
  const second = give(-20, 3600, "slow");
  assert.deepEqual(live(), [second]);
  assert.deepEqual(console.state.holding("192.0.2.10").map(({ peer }) => peer), ["edge"]);
  give(-10, 3600, "allow");
  assert.deepEqual(live(), []);
  assert.equal(console.state.orders(false, 100).length, 4);
});
