import assert from "node:assert/strict";
import { type FiveTuple, tupleText } from "../../lib/pinhole/pinhole.ts";
import { RemoteProgram } from "../drivers/remote.ts";
import { tuple } from "../drivers/tuples.ts";
import type { Host } from "../lab/host.ts";
import { Lab, labPossible } from "../lab/lab.ts";

/** Flows that differ from each other in one thing at a time. */
const FLOWS: readonly FiveTuple[] = ([4, 6] as const).flatMap((family) => {
  const [a, b] = family === 4 ? ["198.51.100.1", "198.51.100.2"] : ["2001:db8::a", "2001:db8::b"];
  const [x, y] = family === 4 ? ["192.0.2.1", "192.0.2.2"] : ["2001:db8::1", "2001:db8::2"];
  return [
    tuple("tcp", a as string, 1000, x as string, 5000),
    tuple("tcp", a as string, 1001, x as string, 5000),
    tuple("udp", a as string, 1000, x as string, 5000),
    tuple("tcp", b as string, 1000, x as string, 5000),
    tuple("tcp", a as string, 1000, y as string, 5000),
    tuple("tcp", b as string, 1000, y as string, 5000),
    tuple("tcp", a as string, 1000, x as string, 5001),
    tuple("tcp", x as string, 5000, a as string, 9999),
  ];
});

async function insert(host: Host, flows: readonly FiveTuple[]): Promise<void> {
  for (const t of flows) {
    await host.must("conntrack", [
      ...["-I", "-p", t.protocol, "-s", t.source.text, "-d", t.destination.text],
      ...["--sport", String(t.sourcePort), "--dport", String(t.destinationPort)],
      ...["--timeout", "1000", ...(t.protocol === "tcp" ? ["--state", "ESTABLISHED"] : [])],
    ]);
  }
}

/** What a filter must catch: the source port counts only when it is given. */
function matching(flows: readonly FiveTuple[], filter: FiveTuple): FiveTuple[] {
  const wanted = tupleText(filter);
  return flows.filter((t) =>
    tupleText(filter.sourcePort === 0 ? { ...t, sourcePort: 0 } : t) === wanted
  );
}

const text = (flows: readonly FiveTuple[]) => flows.map(tupleText).sort();

Deno.test({
  name: "conntrack: exactly the flows that match are found and forgotten (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create({
      outside: [],
      inside: [{ name: "box", addresses: ["192.0.2.10"] }],
    });
    const box = lab.host("box");
    const program = await RemoteProgram.start(box, "../sys/conntrack_program.ts");
    await insert(box, FLOWS);
    assert.deepEqual(await program.call("list", null), text(FLOWS));
    for (const flow of FLOWS) {
      for (const filter of [flow, { ...flow, sourcePort: 0 }]) {
        const matched = matching(FLOWS, filter);
        assert.deepEqual(await program.call("list", filter), text(matched), tupleText(filter));
        await program.call("forget", [filter]);
        const rest = FLOWS.filter((other) => !matched.includes(other));
        assert.deepEqual(await program.call("list", null), text(rest), tupleText(filter));
        await insert(box, matched);
      }
    }
    // Many filters are looked for in one pass; those that match nothing do no harm.
    const nothing = Array.from(
      { length: 50 },
      (_, i) => tuple(i % 2 === 0 ? "tcp" : "udp", "203.0.113.1", i, "192.0.2.1", 5000),
    );
    const some = FLOWS.filter((_, i) => i % 3 === 0);
    await program.call("forget", [...nothing, ...some]);
    assert.deepEqual(
      await program.call("list", null),
      text(FLOWS.filter((flow) => !some.includes(flow))),
    );
    await program.call("forget", []);
    await program.call("forget", FLOWS.map((flow) => ({ ...flow, sourcePort: 0 })));
    assert.deepEqual(await program.call("list", null), []);
  },
});
