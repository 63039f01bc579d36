import assert from "node:assert/strict";
import fc from "fast-check";
import type { EnforcerChange } from "../../drivers/enforcer.ts";
import { PinholeTree } from "../../drivers/iptables_pinholes.ts";
import { parseSave } from "../../drivers/iptables_text.ts";
import { specPinhole } from "../../drivers/iptables_tree.ts";
import { type FiveTuple, tupleKey } from "../../lib/pinhole/pinhole.ts";
import { open, tuple } from "./tuples.ts";

/** Does what iptables-restore does with lines, and fails where it would. */
class Tables {
  readonly chains = new Map<string, string[]>([["DIAPER", []]]);

  run(lines: readonly string[]): void {
    for (const line of lines) {
      const [, verb, chain = "", spec = ""] = /^(-[A-Z]|:)\s?(\S+)(?: (.*))?$/.exec(line) ?? [];
      const rules = this.chains.get(chain);
      if (verb === "-N") {
        assert.equal(rules, undefined, line);
        this.chains.set(chain, []);
      } else if (verb === ":") this.chains.set(chain, []);
      else {
        assert.ok(rules !== undefined, line);
        if (verb === "-A") {
          const target = / -j (DIAPER\S*)$/.exec(` ${spec}`)?.[1];
          assert.ok(target === undefined || this.chains.has(target), line);
          rules.push(spec.replace(/^-c \d+ \d+ /, ""));
        } else if (verb === "-F") rules.length = 0;
        else if (verb === "-X") this.chains.delete(chain);
        else if (verb === "-D") {
          assert.ok(rules.includes(spec), line);
          rules.splice(rules.indexOf(spec), 1);
        } else assert.fail(line);
      }
    }
  }

  /** As iptables-save prints it. */
  get text(): string {
    return [
      "*filter",
      ...this.chains.keys().map((name) => `:${name} - [0:0]`),
      ...[...this.chains].flatMap(([name, rules]) => rules.map((r) => `[1:60] -A ${name} ${r}`)),
      "COMMIT",
    ].join("\n");
  }

  /** The pinholes that a packet can reach from the root, each by the right jumps. */
  reachable(chain = "DIAPER", ports: [number, number] = [0, 65535]): FiveTuple[] {
    return (this.chains.get(chain) ?? []).flatMap((spec) => {
      const hole = specPinhole(spec);
      if (hole !== undefined) {
        assert.ok(hole.destinationPort >= ports[0] && hole.destinationPort <= ports[1], spec);
        return [hole];
      }
      const [, low = "0", high = "65535"] = /--dport (\d+):(\d+)/.exec(spec) ?? [];
      const target = / -j (\S+)$/.exec(spec)?.[1] as string;
      return this.reachable(target, [Number(low), Number(high)]).filter((found) =>
        spec.startsWith(`-p ${found.protocol} `)
      );
    });
  }
}

const keys = (tuples: readonly FiveTuple[]) => tuples.map(tupleKey).sort();
const filter = (tables: Tables) => parseSave(tables.text)[0] as ReturnType<typeof parseSave>[0];

/** Few enough that changes of the same pinhole, of the same chain and of the same port come about. */
const HOLES: readonly FiveTuple[] = ["tcp", "udp"].flatMap((protocol) =>
  [22, 255, 256, 5000, 5001, 65_535].flatMap((port) =>
    [0, 7].map((sourcePort) =>
      tuple(protocol as "tcp", "198.51.100.1", sourcePort, "192.0.2.1", port)
    )
  )
);

Deno.test("iptables tree: any batches leave what their order says, in lines that iptables takes", () => {
  const change = fc.record({
    action: fc.constantFrom("open" as const, "close" as const),
    tuple: fc.constantFrom(...HOLES),
    id: fc.nat(9),
    lease: fc.constant(0),
  });
  fc.assert(
    fc.property(
      fc.array(fc.array(change, { maxLength: 30 }), { maxLength: 8 }),
      fc.integer({ min: 1, max: 20 }),
      (batches, capacity) => {
        const tables = new Tables();
        const tree = new PinholeTree("DIAPER", capacity);
        tree.read(filter(tables));
        const model = new Map<string, FiveTuple>();
        for (const batch of batches) {
          const wanted = batch.map(({ action, tuple }) => {
            const key = tupleKey(tuple);
            if (action === "close") model.delete(key);
            else if (!model.has(key) && model.size >= capacity) return "full";
            else model.set(key, tuple);
            return true;
          });
          const { lines, results, commit } = tree.plan(batch, new Map());
          assert.deepEqual(results.map((r) => r.ok || r.reason), wanted);
          tables.run(lines);
          commit();
          assert.deepEqual(keys(tables.reachable()), keys([...model.values()]));
        }
        const again = new PinholeTree("DIAPER", capacity).read(filter(tables));
        assert.equal(again.clean, true);
        assert.deepEqual(keys(again.entries.map((e) => e.tuple)), keys([...model.values()]));
      },
    ),
  );
});

Deno.test("iptables tree: whatever others did to it, a rebuild leaves the pinholes and nothing else", () => {
  const hit = fc.record({
    chain: fc.nat(30),
    rule: fc.nat(30),
    what: fc.constantFrom("remove", "add", "twice", "flush", "jump"),
  });
  fc.assert(fc.property(fc.array(hit, { maxLength: 12 }), (hits) => {
    const tables = new Tables();
    const tree = new PinholeTree("DIAPER", 100);
    tree.read(filter(tables));
    const { lines, commit } = tree.plan(HOLES.map((t) => open(t)), new Map());
    tables.run(lines);
    commit();
    for (const { chain, rule, what } of hits) {
      const names = [...tables.chains.keys()];
      const rules = tables.chains.get(names[chain % names.length] as string) as string[];
      if (what === "remove") rules.splice(rule % (rules.length || 1), 1);
      else if (what === "add") rules.splice(rule, 0, "-s 203.0.113.1/32 -j ACCEPT");
      else if (what === "twice" && rules[0] !== undefined) rules.push(rules[0]);
      else if (what === "flush") rules.length = 0;
      else if (what === "jump") rules.push("-p tcp -j DIAPER-U");
    }
    const { entries, clean } = tree.read(filter(tables));
    const left = entries.map((e) => e.tuple);
    if (!clean) tables.run(tree.rebuild(entries));
    const after = new PinholeTree("DIAPER", 100).read(filter(tables));
    assert.equal(after.clean, true);
    assert.deepEqual(keys(after.entries.map((e) => e.tuple)), keys(left));
    assert.deepEqual([...new Set(keys(tables.reachable()))], keys(left));
  }));
});

Deno.test("iptables tree: what was refused is left out, and the rest is planned", () => {
  const tables = new Tables();
  const tree = new PinholeTree("DIAPER", 100);
  tree.read(filter(tables));
  const [first, second] = HOLES as [FiveTuple, FiveTuple];
  const batch: EnforcerChange[] = [open(first), open(second)];
  const refused = new Map([[tupleKey(first), "line 7 failed"]]);
  const { lines, keys: about, results } = tree.plan(batch, refused);
  assert.deepEqual(results, [
    { ok: false, reason: "refused", message: "line 7 failed" },
    { ok: true },
  ]);
  assert.equal(lines.length, about.length);
  assert.deepEqual(about.filter((key) => key !== undefined), [tupleKey(second)]);
  tables.run(lines);
  assert.deepEqual(keys(tables.reachable()), keys([second]));
});
