import assert from "node:assert/strict";
import { ChannelLimits } from "../../lib/broker/limits.ts";
import { libc } from "../../lib/sys/libc.ts";
import { passCredentials, unixPair } from "../../lib/sys/unix_socket.ts";
import {
  boundSocket,
  BrokerHarness,
  channelMessage,
  FakeAgent,
  helloMessage,
  message,
  openMessage,
  withFd,
} from "./harness.ts";

const account = Deno.env.get("USER") ?? "root";
const needsRoot = Deno.uid() !== 0;

Deno.test("Broker proves process and account by the kernel, and the socket by its descriptor", () => {
  using h = new BrokerHarness();
  const agent = h.greeted();
  withFd(boundSocket(0), (fd) => {
    agent.send(openMessage(), [fd]);
    const answer = agent.read();
    assert.ok(typeof answer === "object");
    assert.deepEqual([answer.verdict, answer.id, answer.sequence], [0, 7, 42]);
  });
  const [request] = h.requests;
  assert.equal(request?.requester.pid, Deno.pid);
  assert.equal(request?.requester.uid, Deno.uid());
  assert.equal(request?.requester.program, Deno.execPath());
  assert.equal(request?.tuple.source.text, "198.51.100.7");
  assert.equal(request?.tuple.destination.text, "127.0.0.2");
  assert.ok((request?.tuple.destinationPort ?? 0) >= 1024);
  assert.ok((request?.cookie ?? 0n) !== 0n);
});

Deno.test("Broker takes the destination of a wildcard socket from the control connection", () => {
  using h = new BrokerHarness();
  const agent = h.greeted();
  withFd(boundSocket(0, new Array(16).fill(0)), (fd) => {
    agent.send(openMessage(), [fd]); // dual stack, IPv4 control connection
    assert.ok(typeof agent.read() === "object");
    assert.equal(h.requests[0]?.tuple.destination.text, "127.0.0.2");
    agent.send(openMessage([198, 51, 100, 7], []), [fd]);
    const answer = agent.read();
    assert.ok(typeof answer === "object" && answer.verdict === 1);
    assert.match(answer.why, /no control connection tells/);
  });
});

Deno.test("Broker keeps no copy of a passed socket", () => {
  using h = new BrokerHarness();
  const agent = h.greeted();
  const open = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const before = open();
  withFd(boundSocket(0), (fd) => {
    agent.send(openMessage(), [fd]);
    agent.read();
  });
  assert.equal(open(), before);
});

for (
  const [what, bytes, fds] of [
    ["garbage", new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"), []],
    ["half a message", openMessage().subarray(0, 40), []],
    ["a message that is too long", new Uint8Array(300), []],
    ["OPEN without a socket", openMessage(), []],
    ["OPEN with two sockets", openMessage(), [1, 1]],
    ["OPEN with something that is no socket", openMessage(), [0]],
    ["HELLO with a descriptor", helloMessage(), [1]],
    ["a second HELLO", helloMessage(), []],
    ["CHANNEL with one descriptor", channelMessage(), [0]],
    ["CHANNEL with something that is no socket", channelMessage(), [0, 0]],
    ["a message type of the broker", new Uint8Array(message(0x8001, 192).buffer), []],
  ] as const
) {
  Deno.test(`Broker closes the channel on ${what}, and serves others on`, () => {
    using h = new BrokerHarness();
    const bad = h.greeted();
    const good = h.greeted();
    bad.send(bytes, fds.map((n) => n === 0 ? devNull() : n));
    assert.equal(bad.read(), "end");
    assert.deepEqual(h.events.map((e) => e.event_type), ["channel.refused"]);
    assert.equal(h.requests.length, 0);
    withFd(boundSocket(0), (fd) => {
      good.send(openMessage(), [fd]);
      assert.ok(typeof good.read() === "object");
    });
    assert.equal(h.requests.length, 1);
  });
}

/** A descriptor of /dev/null for this process's life; the tests share it. */
let nullFd: number | undefined;
function devNull(): number {
  // Standard input of a test run may be anything, a socket as well.
  nullFd ??= libc.eventfd(0, 0o2000000);
  return nullFd;
}

Deno.test("Broker takes nothing before HELLO", () => {
  using h = new BrokerHarness();
  const agent = h.connect();
  withFd(boundSocket(0), (fd) => agent.send(openMessage(), [fd]));
  assert.equal(agent.read(), "end");
  assert.match(h.events[0]?.why ?? "", /no HELLO/);
  assert.equal(h.requests.length, 0);
});

Deno.test("Broker closes channels that say nothing, and no others", () => {
  using h = new BrokerHarness();
  const silent = h.connect();
  const greeted = h.greeted();
  h.work();
  h.broker.tick(Date.now() + 5_000);
  assert.equal(silent.read(), "none");
  h.broker.tick(Date.now() + 11_000);
  assert.equal(silent.read(), "end");
  assert.equal(greeted.read(), "none");
});

Deno.test("Broker drops an agent that does not take its answers", () => {
  using h = new BrokerHarness();
  const agent = h.greeted();
  withFd(boundSocket(0), (fd) => {
    for (let i = 0; i < 20_000 && h.events.length === 0; i++) {
      agent.send(openMessage(), [fd]);
      h.work();
    }
  });
  assert.match(h.events[0]?.why ?? "", /does not take its answers/);
  assert.equal(h.broker.channels, 0);
});

const refusals: [string, () => number, Uint8Array, RegExp][] = [
  ["a socket that is not bound", () => boundSocket(undefined), openMessage(), /not bound/],
  ["a port that is open to all", () => boundSocket(2121), openMessage(), /open to everyone/],
  [
    "an address that is not this host's",
    () => boundSocket(0, [127, 0, 0, 3]),
    openMessage(),
    /127\.0\.0\.3 is not an address of this host/,
  ],
  ["a multicast source", () => boundSocket(0), openMessage([224, 0, 0, 1]), /not one host/],
  ["an unspecified source", () => boundSocket(0), openMessage([0, 0, 0, 0]), /not one host/],
  ["a loopback source", () => boundSocket(0), openMessage([127, 0, 0, 9]), /not one host/],
  [
    "the broadcast address",
    () => boundSocket(0),
    openMessage([255, 255, 255, 255]),
    /not one host/,
  ],
  [
    "a source of another family",
    () => boundSocket(0),
    openMessage([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    /two families/,
  ],
];

for (const [what, make, bytes, why] of refusals) {
  Deno.test(`Broker refuses ${what}, with the reason and an event`, () => {
    using h = new BrokerHarness();
    const agent = h.greeted();
    withFd(make(), (fd) => {
      agent.send(bytes, [fd]);
      const answer = agent.read();
      assert.ok(typeof answer === "object", String(answer));
      assert.equal(answer.verdict, 1);
      assert.match(answer.why, why);
    });
    assert.equal(h.requests.length, 0);
    assert.match(h.events[0]?.why ?? "", why);
  });
}

Deno.test({
  name: "Broker refuses a privileged port (needs root)",
  ignore: needsRoot,
  fn() {
    using h = new BrokerHarness();
    const agent = h.greeted();
    withFd(boundSocket(1023), (fd) => {
      agent.send(openMessage(), [fd]);
      const answer = agent.read();
      assert.ok(typeof answer === "object" && answer.verdict === 1);
      assert.match(answer.why, /privileged port/);
    });
  },
});

Deno.test("Broker opens nothing for a peer on this host itself, and says so", () => {
  using h = new BrokerHarness({ isLocal: () => true });
  const agent = h.greeted();
  withFd(boundSocket(0), (fd) => {
    agent.send(openMessage(), [fd]);
    const answer = agent.read();
    assert.ok(typeof answer === "object");
    assert.deepEqual([answer.verdict, answer.id], [0, 0]);
    assert.match(answer.why, /no pinhole is needed/);
  });
  assert.equal(h.requests.length, 0);
});

Deno.test("Broker refuses a socket of another network namespace", () => {
  using h = new BrokerHarness({ namespace: 1n });
  const agent = h.greeted();
  withFd(boundSocket(0), (fd) => {
    agent.send(openMessage(), [fd]);
    const answer = agent.read();
    assert.ok(typeof answer === "object" && answer.verdict === 1);
    assert.match(answer.why, /another network namespace/);
  });
});

Deno.test("Broker asks bind to fail where the administrator wants it, and only then", () => {
  using h = new BrokerHarness({ failBind: true });
  h.answer = () => ({ kind: "refused", why: "no rule" });
  const agent = h.greeted();
  withFd(boundSocket(0), (fd) => {
    agent.send(openMessage(), [fd]);
    const refused = agent.read();
    assert.ok(typeof refused === "object");
    assert.deepEqual([refused.verdict, refused.flags], [1, 1]);
    h.answer = () => ({ kind: "open", id: 8, why: "rule 1" });
    agent.send(openMessage(), [fd]);
    const open = agent.read();
    assert.ok(typeof open === "object");
    assert.deepEqual([open.verdict, open.flags], [0, 0]);
  });
});

Deno.test("Broker gives a child process's channel the delegate of its parent's", () => {
  using h = new BrokerHarness();
  const parent = h.greeted(account);
  const [near, far] = unixPair("seqpacket");
  passCredentials(far);
  withFd(boundSocket(0), (fd) => parent.send(channelMessage(), [far, fd]));
  libc.close(far);
  h.work();
  assert.equal(h.broker.channels, 2);
  assert.equal(parent.read(), "none", "the child is answered, not the parent");
  withFd(near, () => {
    const child = new FakeAgent(near, h);
    const first = child.read();
    assert.ok(typeof first === "object" && first.verdict === 0);
    withFd(boundSocket(0), (fd) => {
      child.send(openMessage(), [fd]);
      assert.ok(typeof child.read() === "object");
    });
  });
  assert.deepEqual(h.requests.map((r) => r.requester.delegate), [account, account]);
  h.work();
  assert.equal(h.broker.channels, 1, "the child's channel ended with the child");
});

Deno.test("Broker blames a child whose first socket is none, not the parent", () => {
  using h = new BrokerHarness();
  const parent = h.greeted();
  const [near, far] = unixPair("seqpacket");
  parent.send(channelMessage(), [far, devNull()]);
  libc.close(far);
  withFd(near, () => assert.equal(new FakeAgent(near, h).read(), "end"));
  assert.deepEqual(h.events.map((e) => e.event_type), ["channel.refused"]);
  assert.equal(h.broker.channels, 1);
  withFd(boundSocket(0), (fd) => {
    parent.send(openMessage(), [fd]);
    assert.ok(typeof parent.read() === "object");
  });
});

Deno.test("Broker holds more than its limit of nobody, and says so", () => {
  using h = new BrokerHarness({ limits: new ChannelLimits(20, 10) });
  const good = h.greeted();
  const flood = Array.from({ length: 200 }, () => h.connect());
  h.work();
  assert.equal(h.broker.channels, 20);
  assert.equal(flood.filter((a) => a.read() === "end").length, 181);
  assert.equal(h.events.filter((e) => e.event_type === "channel.limit").length, 181);
  withFd(boundSocket(0), (fd) => {
    good.send(openMessage(), [fd]);
    assert.ok(typeof good.read() === "object", "who was there first is served on");
  });
});
