/**
 * What every driver must do, whatever enforcer it drives.
 *
 * @module
 */
import assert from "node:assert/strict";
import type {
  Enforcer,
  EnforcerCapabilities,
  EnforcerChange,
  ListedEntry,
} from "../../drivers/enforcer.ts";
import { type FiveTuple, tupleKey, tupleText } from "../../lib/pinhole/pinhole.ts";
import { close, open, tuple } from "./tuples.ts";

/** Makes an enforcer over nothing: no entries, and not connected. Its use ends with disposal. */
export type EnforcerFactory = (
  options: { readonly capacity: number },
) => Promise<AsyncDisposable & { readonly enforcer: Enforcer }>;

/** How the suite is registered. */
export interface ConformanceOptions {
  /** The driver's name and what it needs, for the tests' names. */
  readonly title: string;
  /** What the driver says that it can do: tests of what it cannot do check that it refuses. */
  readonly can?: Partial<Pick<EnforcerCapabilities, "leases" | "ipv6" | "sourcePorts">>;
  /** Entries of the large batch. Default 20,000. */
  readonly large?: number;
  readonly ignore: boolean;
  readonly make: EnforcerFactory;
}

const ALL_KINDS: readonly FiveTuple[] = [
  tuple("tcp", "198.51.100.1", 0, "192.0.2.1", 5000),
  tuple("udp", "198.51.100.1", 0, "192.0.2.1", 5000),
  tuple("tcp", "198.51.100.1", 40000, "192.0.2.1", 5000),
  tuple("udp", "198.51.100.1", 65535, "192.0.2.1", 65535),
  tuple("tcp", "2001:db8::1", 0, "2001:db8:ffff:1:2:3:4:5", 5000),
  tuple("udp", "2001:db8::1", 0, "2001:db8:ffff:1:2:3:4:5", 5000),
  tuple("tcp", "2001:db8::1", 1, "2001:db8:ffff:1:2:3:4:5", 1),
  tuple("udp", "2001:db8::1", 40000, "2001:db8:ffff:1:2:3:4:5", 5000),
];

/** Registers the suite's tests for one driver. */
export function conformance(options: ConformanceOptions): void {
  const { leases = true, ipv6 = true, sourcePorts = true } = options.can ?? {};
  const possible = (t: FiveTuple) =>
    (ipv6 || t.source.family === 4) && (sourcePorts || t.sourcePort === 0);
  const KINDS = ALL_KINDS.filter(possible);
  const test = (
    name: string,
    run: (enforcer: Enforcer) => Promise<void>,
    capacity = 100_000,
  ) =>
    Deno.test({
      name: `${options.title}: ${name}`,
      ignore: options.ignore,
      fn: async () => {
        await using made = await options.make({ capacity });
        await run(made.enforcer);
      },
    });

  test("nothing works before it is connected", async (enforcer) => {
    await assert.rejects(enforcer.apply([]), /not connected/);
    await assert.rejects(enforcer.list(), /not connected/);
    await assert.rejects(enforcer.counters([]), /not connected/);
  });

  test("every kind of pinhole is opened, listed, and closed alone", async (enforcer) => {
    await enforcer.connect();
    await applied(enforcer, KINDS.map((t) => open(t)));
    assert.deepEqual(keys(await enforcer.list()), KINDS.map(tupleKey).sort());
    for (const [i, kind] of KINDS.entries()) {
      await applied(enforcer, [close(kind)]);
      assert.deepEqual(
        keys(await enforcer.list()),
        KINDS.slice(i + 1).map(tupleKey).sort(),
        `after closing ${tupleText(kind)}`,
      );
    }
  });

  test("opening what is open and closing what is not there succeed", async (enforcer) => {
    await enforcer.connect();
    const [first, second] = KINDS as [FiveTuple, FiveTuple];
    await applied(enforcer, [open(first), open(first), close(second), open(first)]);
    await applied(enforcer, [close(second), open(first), close(second)]);
    assert.deepEqual(keys(await enforcer.list()), [tupleKey(first)]);
  });

  test("changes of one pinhole in one batch take effect in order", async (enforcer) => {
    await enforcer.connect();
    for (const kind of KINDS) {
      await applied(enforcer, [open(kind), close(kind)]);
      assert.deepEqual(await enforcer.list(), []);
      await applied(enforcer, [open(kind), close(kind), open(kind)]);
      assert.deepEqual(keys(await enforcer.list()), [tupleKey(kind)]);
      await applied(enforcer, [close(kind), open(kind), close(kind)]);
      assert.deepEqual(await enforcer.list(), []);
    }
  });

  test("what it says that it can do is what it does", async (enforcer) => {
    const { capabilities } = enforcer;
    assert.deepEqual(
      [capabilities.leases, capabilities.ipv6, capabilities.sourcePorts],
      [leases, ipv6, sourcePorts],
    );
    assert.ok(capabilities.optimalBatch >= 1 && capabilities.capacity >= 1);
    await enforcer.connect();
    for (const kind of ALL_KINDS) {
      const [result] = await enforcer.apply([open(kind)]);
      assert.equal(
        result?.ok === false ? result.reason : result?.ok,
        possible(kind) ? true : "refused",
      );
      assert.deepEqual(await enforcer.counters([kind]), [
        possible(kind) ? { packets: 0, bytes: 0 } : undefined,
      ]);
    }
    assert.deepEqual(keys(await enforcer.list()), KINDS.map(tupleKey).sort());
    await applied(enforcer, KINDS.map(close));
    assert.deepEqual(await enforcer.list(), []);
  });

  if (leases) {
    test("a lease is renewed, longer, shorter, the same, away and back", async (enforcer) => {
      await enforcer.connect();
      for (const kind of KINDS) {
        const expires = async (lease: number) => {
          await applied(enforcer, [open(kind, lease)]);
          const [entry, ...others] = await enforcer.list();
          assert.deepEqual(others, []);
          return entry?.expires;
        };
        for (const lease of [1000, 5000, 5000, 50, 0, 0, 1000, 0.5 * 1000]) {
          const left = await expires(lease);
          if (lease === 0) assert.equal(left, undefined);
          else {assert.ok(
              left !== undefined && left <= lease && left > lease - 20,
              `${left} ${lease}`,
            );}
        }
        await applied(enforcer, [close(kind)]);
      }
    });
  }

  if (leases) {
    test("a pinhole whose lease is over is gone", async (enforcer) => {
      await enforcer.connect();
      const [short, long] = KINDS as [FiveTuple, FiveTuple];
      await applied(enforcer, [open(short, 0.3), open(long, 300)]);
      const deadline = performance.now() + 10_000;
      while ((await enforcer.list()).length > 1) {
        assert.ok(performance.now() < deadline, "the lease did not end");
      }
      assert.deepEqual(keys(await enforcer.list()), [tupleKey(long)]);
      assert.deepEqual(await enforcer.counters([short]), [undefined]);
      await applied(enforcer, [open(short)]);
      assert.deepEqual(keys(await enforcer.list()), [tupleKey(long), tupleKey(short)].sort());
    });
  }

  test("counters come in the order asked, undefined for what is not there", async (enforcer) => {
    await enforcer.connect();
    const there = KINDS.filter((_, i) => i % 2 === 0);
    await applied(enforcer, there.map((t) => open(t)));
    const asked = [...KINDS, ...KINDS.toReversed()];
    const counters = await enforcer.counters(asked);
    assert.deepEqual(
      counters,
      asked.map((t) => there.includes(t) ? { packets: 0, bytes: 0 } : undefined),
    );
    assert.deepEqual(await enforcer.counters([]), []);
  });

  test("what does not fit is refused as full, alone, and fits after a close", async (enforcer) => {
    await enforcer.connect();
    for (const address of ["198.51.100.1", ...(ipv6 ? ["2001:db8::1"] : [])]) {
      const inside = address.includes(":") ? "2001:db8::2" : "192.0.2.1";
      const ports = [1, 2, 3, 4, 5, 6, 7].map((port) => tuple("tcp", address, 0, inside, port));
      const results = await enforcer.apply(ports.map((t) => open(t)));
      assert.deepEqual(
        results.map((result) => result.ok || result.reason),
        [true, true, true, true, true, "full", "full"],
      );
      const at = (i: number) => ports[i] as FiveTuple;
      // A renewal needs no room; a close makes room for what follows it.
      const mixed = [open(at(0), 900), open(at(5)), close(at(1)), open(at(5)), open(at(6))];
      const again = await enforcer.apply(mixed);
      assert.deepEqual(
        again.map((result) => result.ok || result.reason),
        [true, "full", true, true, "full"],
      );
      const held = [at(0), at(2), at(3), at(4), at(5)];
      const listed = (await enforcer.list()).filter((e) => e.tuple.source.text === address);
      assert.deepEqual(keys(listed), held.map(tupleKey).sort());
      for (const result of again) if (!result.ok) assert.ok(result.message.includes(inside));
    }
  }, 5);

  test("an impossible tuple is refused and the others are opened", async (enforcer) => {
    await enforcer.connect();
    const [good, other] = KINDS as [FiveTuple, FiveTuple];
    const bad = tuple("tcp", "198.51.100.1", 0, "2001:db8::1", 5000);
    const results = await enforcer.apply([open(good), open(bad), open(other)]);
    assert.deepEqual(results.map((result) => result.ok || result.reason), [true, "refused", true]);
    assert.deepEqual(keys(await enforcer.list()), [good, other].map(tupleKey).sort());
    assert.deepEqual(await enforcer.counters([bad]), [undefined]);
  });

  test("a large batch is opened, counted and closed", async (enforcer) => {
    await enforcer.connect();
    const many = Array.from(
      { length: options.large ?? 20_000 },
      (_, i) =>
        i % 3 === 0
          ? tuple("tcp", `2001:db8::${(i >> 8).toString(16)}:1`, i % 2, "2001:db8::2", i + 1)
          : tuple(i % 3 === 1 ? "tcp" : "udp", `10.${i % 200}.0.1`, i % 2, "192.0.2.1", i + 1),
    ).filter(possible);
    await applied(enforcer, many.map((t) => open(t)));
    assert.ok((await enforcer.counters(many)).every((c) => c?.packets === 0));
    assert.deepEqual(keys(await enforcer.list()), many.map(tupleKey).sort());
    await applied(enforcer, many.map(close));
    assert.deepEqual(await enforcer.list(), []);
  });

  test("entries stay when it is let go of and go when it is removed", async (enforcer) => {
    await enforcer.connect();
    await applied(enforcer, KINDS.map((t) => open(t, 1000)));
    await enforcer.close();
    await enforcer.connect();
    const listed = await enforcer.list();
    assert.deepEqual(keys(listed), KINDS.map(tupleKey).sort());
    if (leases) {
      assert.ok(listed.every(({ expires }) => expires !== undefined && expires > 900));
    }
    await enforcer.remove();
    await enforcer.connect();
    assert.deepEqual(await enforcer.list(), []);
    await enforcer.remove();
    await enforcer.close();
  });

  test("a dry run is taken by the enforcer and changes nothing", async (enforcer) => {
    if (enforcer.check === undefined) return;
    await enforcer.connect();
    const [first, ...others] = KINDS as [FiveTuple, ...FiveTuple[]];
    await applied(enforcer, [open(first, 1000)]);
    const batch = [
      ...others.map((t) => open(t, 1000)),
      close(first),
      open(first),
      ...KINDS.map(close),
    ];
    assert.equal(await enforcer.check(batch), undefined);
    assert.equal(await enforcer.check([]), undefined);
    assert.deepEqual(keys(await enforcer.list()), [tupleKey(first)]);
  });

  test("what it holds is seen without being connected, and nothing is made by looking", async (e) => {
    if (e.inspect === undefined || e.name === "debug") return;
    assert.deepEqual(await e.inspect(), []);
    await e.connect();
    await applied(e, KINDS.map((t) => open(t, 1000)));
    assert.deepEqual(keys(await e.inspect()), KINDS.map(tupleKey).sort());
    await e.close();
    assert.deepEqual(keys(await e.inspect()), KINDS.map(tupleKey).sort());
    await assert.rejects(e.list(), /not connected/);
    await e.remove();
    assert.deepEqual(await e.inspect(), []);
  });

  test("ending connections of pinholes that had none succeeds", async (enforcer) => {
    await enforcer.connect();
    await enforcer.endConnections([]);
    await enforcer.endConnections(KINDS);
  });
}

async function applied(enforcer: Enforcer, batch: readonly EnforcerChange[]): Promise<void> {
  const results = await enforcer.apply(batch);
  assert.equal(results.length, batch.length);
  results.forEach((result, i) => {
    if (!result.ok) {
      assert.fail(`${tupleText((batch[i] as EnforcerChange).tuple)}: ${result.message}`);
    }
  });
}

function keys(entries: readonly ListedEntry[]): string[] {
  return entries.map((entry) => tupleKey(entry.tuple)).sort();
}
