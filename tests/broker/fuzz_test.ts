/** The broker against agents that say and pass anything, in any order. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { ChannelLimits } from "../../lib/broker/limits.ts";
import { libc, SystemError } from "../../lib/sys/libc.ts";
import { listenUnix, passCredentials } from "../../lib/sys/unix_socket.ts";
import { boundSocket, BrokerHarness, channelMessage, FakeAgent } from "./harness.ts";
import { helloMessage, message, openMessage, withFd } from "./harness.ts";

const AF_UNIX = 1;
const SOCKETS = { stream: 1, datagram: 2, seqpacket: 5 } as const;
const CHANNELS = 64;
const RUNS = Number(Deno.env.get("DIAPER_FUZZ_RUNS") ?? 400);

/** What is passed along; the far end of a pair, where there is one, speaks as an agent from then on. */
type Passed =
  | { readonly kind: "event" | "epoll" | "listening" | "accepting" }
  | { readonly kind: "socket"; readonly type: "tcp" | "udp"; readonly port: 0 | undefined }
  | { readonly kind: "pair"; readonly type: keyof typeof SOCKETS };

interface Step {
  /** Which of the agents that there are, modulo their number. */
  readonly agent: number;
  readonly what: "send" | "close" | "connect";
  readonly bytes: Uint8Array;
  readonly passed: readonly Passed[];
}

function bytesOf(view: DataView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(view.buffer);
}

const valid = fc.constantFrom(
  helloMessage(),
  helloMessage("ftpd"),
  channelMessage(),
  openMessage(),
  openMessage([0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 7], [...new Array(15).fill(0), 1]),
  openMessage([127, 0, 0, 1]),
  bytesOf(message(4, 24)),
  bytesOf(message(5, 32)),
  bytesOf(message(6, 48)),
  bytesOf(message(7, 88)),
  bytesOf(message(0x8001, 192)),
  bytesOf(message(0x8002, 48)),
);
const mutated = fc.tuple(valid, fc.array(fc.tuple(fc.nat(95), fc.nat(255)), { maxLength: 4 }))
  .map(([bytes, changes]) => {
    const copy = bytes.slice();
    for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
    return copy;
  });
const cut = fc.tuple(valid, fc.nat(200)).map(([bytes, length]) => bytes.subarray(0, length));
const anything = fc.uint8Array({ maxLength: 300 });

const passed: fc.Arbitrary<Passed> = fc.oneof(
  fc.record({ kind: fc.constantFrom("event", "epoll", "listening", "accepting") }),
  fc.record({
    kind: fc.constant("socket" as const),
    type: fc.constantFrom("tcp", "udp"),
    port: fc.constantFrom(0, 0, 0, undefined),
  }),
  fc.record({
    kind: fc.constant("pair" as const),
    type: fc.constantFrom("seqpacket", "seqpacket", "stream", "datagram"),
  }),
) as fc.Arbitrary<Passed>;

const agent = fc.nat(20);
/** Right in form, with as many descriptors as belong to it, of whatever kind. */
const plausible: fc.Arbitrary<Step> = fc.record({
  agent,
  what: fc.constant("send" as const),
  ask: fc.oneof(
    fc.record({ bytes: fc.constant(channelMessage()), passed: fc.tuple(passed, passed) }),
    fc.record({ bytes: fc.constant(openMessage()), passed: fc.tuple(passed) }),
  ),
}).map(({ ask, ...rest }) => ({ ...rest, ...ask }));
const noise: fc.Arbitrary<Step> = fc.record({
  agent,
  what: fc.constant("send" as const),
  bytes: fc.oneof(
    { weight: 4, arbitrary: valid },
    { weight: 3, arbitrary: mutated },
    { weight: 1, arbitrary: cut },
    { weight: 1, arbitrary: anything },
  ),
  passed: fc.oneof(fc.constant([]), fc.tuple(passed), fc.array(passed, { maxLength: 4 })),
});
const presence: fc.Arbitrary<Step> = fc.record({
  agent,
  what: fc.constantFrom("close" as const, "connect" as const),
  bytes: fc.constant(new Uint8Array()),
  passed: fc.constant([]),
});
const step = fc.oneof(
  { weight: 6, arbitrary: plausible },
  { weight: 4, arbitrary: noise },
  { weight: 1, arbitrary: presence },
);

/** Agents and all that they hold. */
class Crowd {
  readonly agents: { readonly fd: number; readonly agent: FakeAgent }[] = [];
  readonly #harness: BrokerHarness;
  readonly #directory = Deno.makeTempDirSync({ prefix: "diaper-fuzz-" });
  #paths = 0;
  /** Sockets bound to a port that were shown with a message that asks for a pinhole. */
  asked = 0;

  /** @param greeted how many agents have said HELLO to begin with. */
  constructor(harness: BrokerHarness, greeted: number) {
    this.#harness = harness;
    for (let i = 0; i < greeted; i++) {
      const newcomer = harness.connectRaw();
      newcomer.agent.send(helloMessage());
      this.agents.push(newcomer);
    }
    harness.work();
  }

  do(next: Step): void {
    if (next.what === "connect" || this.agents.length === 0) {
      this.agents.push(this.#harness.connectRaw());
      return;
    }
    const index = next.agent % this.agents.length;
    const speaker = this.agents[index] as typeof this.agents[number];
    if (next.what === "close") {
      libc.close(speaker.fd);
      this.agents.splice(index, 1);
      return;
    }
    const fds = next.passed.map((p) => this.#make(p));
    try {
      speaker.agent.send(next.bytes, fds);
      const bound = next.passed.filter((p) => p.kind === "socket" && p.port === 0).length;
      if (next.bytes[4] === 2 || next.bytes[4] === 3 || next.bytes[4] === 7) this.asked += bound;
    } catch (error) {
      if (!(error instanceof SystemError)) throw error; // the other end of a pair that nobody took
    } finally {
      for (const fd of fds) libc.close(fd);
    }
  }

  /** Closes everything. */
  leave(): void {
    for (const { fd } of this.agents.splice(0)) libc.close(fd);
    Deno.removeSync(this.#directory, { recursive: true });
  }

  #make(what: Passed): number {
    switch (what.kind) {
      case "event":
        return libc.eventfd(1, 0);
      case "epoll":
        return libc.epoll_create1(0);
      case "socket":
        return boundSocket(what.port, [127, 0, 0, 2], what.type);
      case "listening":
      case "accepting": {
        // The kernel names its maker, as for a channel; the second kind has somebody waiting.
        const path = `${this.#directory}/${++this.#paths}`;
        const fd = listenUnix(path, "seqpacket");
        if (what.kind === "accepting") this.agents.push(this.#harness.connectRaw(path));
        return fd;
      }
      case "pair":
        return this.#pair(what.type);
    }
  }

  #pair(type: keyof typeof SOCKETS): number {
    const ends = new Int32Array(2);
    const flags = 0o4000 | 0o2000000; // non-blocking, closed at exec
    assert.equal(libc.socketpair(AF_UNIX, SOCKETS[type] | flags, 0, ends), 0);
    const [kept, given] = [ends[0] as number, ends[1] as number];
    passCredentials(given);
    this.agents.push({ fd: kept, agent: new FakeAgent(kept, this.#harness) });
    return given;
  }
}

function descriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

Deno.test(`Broker: no sequence of messages ends it, opens what was not shown, or leaks (${RUNS} runs)`, () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 24 }), (steps) => {
      const limits = new ChannelLimits(CHANNELS, CHANNELS);
      using h = new BrokerHarness({ limits });
      const before = descriptors();
      const crowd = new Crowd(h, 2);
      for (const next of steps) {
        crowd.do(next);
        h.work();
      }
      assert.ok(h.requests.length <= crowd.asked, `${h.requests.length} > ${crowd.asked}`);
      for (const { tuple, requester, cookie } of h.requests) {
        assert.ok(tuple.destinationPort >= 1024 && cookie !== 0n);
        assert.equal(tuple.destination.text, "127.0.0.2");
        assert.deepEqual([requester.pid, requester.uid], [Deno.pid, Deno.uid()]);
      }
      crowd.leave();
      h.work();
      assert.equal(descriptors(), before, "descriptors");
      // An honest agent is served as before, and all channels are free again.
      const honest = h.greeted();
      withFd(boundSocket(0), (fd) => {
        honest.send(openMessage(), [fd]);
        const answer = honest.read();
        assert.ok(typeof answer === "object" && answer.verdict === 0);
      });
      for (let i = 1; i < CHANNELS; i++) assert.equal(limits.take(0), undefined);
    }),
    { numRuns: RUNS },
  );
});
