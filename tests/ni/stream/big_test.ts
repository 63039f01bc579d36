/** Streams between two model ends, over links that lose, double and reorder; edited in between. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { Packet, TCP } from "../../../lib/net/packet.ts";
import { libpcapVersion } from "../../../lib/sys/libpcap.ts";
import { edited, Editor, type EditPlan } from "./editor.ts";
import { Network, type NetworkPlan } from "./network.ts";

// Loaded here, since a test that loads a library looks like one that leaks it.
libpcapVersion();

const packet = new Packet();
const NOTHING: EditPlan = { cuts: [], injections: [], step: 1 };

/** Told by a length and a number, so that what fails can be read. */
interface Told {
  readonly length: number;
  readonly seed: number;
}

const stream: fc.Arbitrary<Told> = fc.record({
  length: fc.oneof(fc.nat(4000), fc.nat(60_000)),
  seed: fc.nat(1_000_000),
});

function bytesOf({ length, seed }: Told): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Math.imul(i + seed, 0x9e3779b1) >>> 13);
}

/** Sequence numbers, often such that they go round during the connection. */
const first = fc.oneof(
  fc.integer({ min: 0, max: 0xffffffff }),
  fc.integer({ min: 0xffffffff - 5000, max: 0xffffffff }),
);
const both = <T>(one: fc.Arbitrary<T>) => fc.tuple(one, one);

type ToldNetwork = Omit<NetworkPlan, "client" | "server"> & { client: Told; server: Told };

const network: fc.Arbitrary<ToldNetwork> = fc.record({
  seed: fc.integer(),
  loss: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 80 })),
  duplicates: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 50 })),
  jitter: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 8 })),
  mss: both(fc.integer({ min: 100, max: 1460 })),
  scale: both(fc.option(fc.integer({ min: 0, max: 7 }), { nil: undefined })),
  timestamps: fc.boolean(),
  sack: fc.boolean(),
  ipv6: fc.boolean(),
  buffer: both(fc.integer({ min: 1000, max: 65_000 })),
  first: both(first),
  client: stream,
  server: stream,
  reads: both(fc.constantFrom(0, 0, 20, 700)),
});

interface Steps {
  readonly gaps: readonly number[];
  readonly lengths: readonly number[];
}

/** Cuts and injections that fit a stream. */
function editPlan(length: number, cuts: Steps, injections: Steps, step: number): EditPlan {
  const places = ({ gaps, lengths }: Steps, apart: boolean) => {
    const out: { at: number; length: number }[] = [];
    let at = 0;
    for (const [i, gap] of gaps.entries()) {
      at += gap;
      const size = lengths[i] as number;
      if (at + (apart ? size : 0) > length) break;
      out.push({ at, length: size });
      if (apart) at += size;
    }
    return out;
  };
  return {
    cuts: places(cuts, true),
    injections: places(injections, false).map(({ at, length: size }) => ({
      at,
      bytes: Uint8Array.from({ length: size }, (_, i) => i * 7),
    })),
    // All of it, before anything is decided: what is behind the last byte can only be put there then.
    step: step === 0 ? length + 1 : step,
  };
}

const steps = fc.array(fc.tuple(fc.nat(3000), fc.integer({ min: 1, max: 3000 })), { maxLength: 4 })
  .map((pairs): Steps => ({ gaps: pairs.map(([gap]) => gap), lengths: pairs.map(([, n]) => n) }));
const plan = fc.record({ cuts: steps, injections: steps, step: fc.nat(5000) });

function run(told: ToldNetwork, plans: readonly [EditPlan, EditPlan]): Network {
  const network = { ...told, client: bytesOf(told.client), server: bytesOf(told.server) };
  let made: Editor | undefined;
  const net: Network = new Network(
    network,
    (_connection, of) =>
      made = new Editor(
        plans,
        of,
        (milliseconds, act) => net.later(milliseconds, act),
        () => net.pick(3) * net.pick(30),
      ),
  );
  assert.ok(net.run(), "the ends are not content");
  assert.deepEqual(Uint8Array.from(net.server.received), edited(network.client, plans[0]));
  assert.deepEqual(Uint8Array.from(net.client.received), edited(network.server, plans[1]));
  assert.ok(net.client.acknowledged && net.server.acknowledged);
  assert.deepEqual(Uint8Array.from((made as Editor).seen[0]), network.client);
  assert.deepEqual(Uint8Array.from((made as Editor).seen[1]), network.server);
  assert.equal(net.table.bytes, 0, "memory is held after the end");
  return net;
}

Deno.test("streams: any loss, doubling and order give the same bytes, and packets go on as they came", () => {
  fc.assert(
    fc.property(network, (network) => {
      const net = run(network, [NOTHING, NOTHING]);
      // Forwarded untouched: what leaves has come, but for what tells a sender that something is missing.
      const came = new Set(net.arrived.map((frame) => frame.toHex()));
      const own = net.left.filter((frame) => !came.has(frame.toHex()));
      if (network.loss + network.jitter === 0) assert.equal(own.length, 0);
      for (const frame of own) {
        const p = packet.decode(frame, 0, frame.length);
        assert.ok(p.payload === p.payloadEnd && p.tcpFlags === TCP.ACK);
      }
      assert.equal(net.table.counters.relayed, 0);
    }),
    { numRuns: 3000 },
  );
});

Deno.test("streams: any cuts and injections give the edited stream, and a sender that is fully acknowledged", () => {
  fc.assert(
    fc.property(network, plan, plan, (network, client, server) => {
      run(network, [
        editPlan(network.client.length, client.cuts, client.injections, client.step),
        editPlan(network.server.length, server.cuts, server.injections, server.step),
      ]);
    }),
    { numRuns: 3000 },
  );
});
