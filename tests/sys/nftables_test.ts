import assert from "node:assert/strict";
import type { NftResult } from "../../lib/sys/libnftables.ts";
import { kernelAtLeast } from "../../lib/sys/kernel.ts";
import type { TableShape } from "../../lib/sys/nftables_table.ts";
import { RemoteProgram } from "../drivers/remote.ts";
import type { Host } from "../lab/host.ts";
import { Lab, labPossible } from "../lab/lab.ts";

function test(name: string, fn: (program: RemoteProgram, box: Host) => Promise<void>): void {
  Deno.test({
    name: `${name} (needs root)`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await Lab.create({
        outside: [],
        inside: [{ name: "box", addresses: ["192.0.2.10"] }],
      });
      const box = lab.host("box");
      await fn(await RemoteProgram.start(box, "../sys/nftables_program.ts"), box);
    },
  });
}

const run = async (program: RemoteProgram, commands: string, options = {}) =>
  await program.call("run", commands, options) as NftResult;

test("libnftables: commands, dry runs, JSON and errors", async (program) => {
  assert.deepEqual(await run(program, "add table inet t", { dryRun: true }), {
    ok: true,
    output: "",
    error: "",
  });
  assert.equal((await run(program, "list tables")).output, "");
  assert.equal((await run(program, "add table inet t\nadd chain inet t c")).ok, true);
  assert.equal((await run(program, "list tables")).output, "table inet t\n");
  const json = JSON.parse((await run(program, "list tables", { json: true })).output);
  assert.equal(json.nftables[1].table.name, "t");
  const wrong = await run(program, "add chain inet t d\nadd rule inet t nowhere accept");
  assert.equal(wrong.ok, false);
  assert.match(wrong.error, /No such file or directory/);
  assert.ok(!(await run(program, "list table inet t")).output.includes("chain d"), "not undone");
  assert.match((await run(program, "no such command")).error, /syntax error/);
  await assert.rejects(run(program, "list\0tables"), /zero byte/);
});

test("nftables_table: a table is read as it was made", async (program) => {
  assert.equal(await program.call("table", "t"), null);
  const made = await run(
    program,
    `add table inet t { flags dormant; }
    add table inet other
    add set inet other x { type ipv4_addr; }
    add set inet t a { type inet_proto . ipv4_addr; size 7; flags timeout; gc-interval 5s; counter; }
    add set inet t b { type ipv4_addr; flags interval; }
    add element inet t a { tcp . 192.0.2.1, udp . 192.0.2.1 }
    add chain inet t regular
    add chain inet t base { type filter hook forward priority -5; policy drop; }
    add counter inet t n
    add rule inet t base ip saddr 192.0.2.1 accept`,
  );
  assert.equal(made.error, "");
  const { flags, sets, chains, objects, flowtables } = await program.call("table", "t") as
    & TableShape
    & Record<string, unknown>;
  assert.equal(flags, 1);
  const counts = sets.map((set) => set.count);
  assert.deepEqual(sets.map(({ count: _, ...set }) => set), [
    {
      ...{ name: "a", flags: 0x10, keyType: 12 << 6 | 7, keyLength: 8, size: 7, counted: true },
      gcInterval: 5000,
    },
    { name: "b", flags: 0x4, keyType: 7, keyLength: 4, size: 0, counted: false, gcInterval: 0 },
  ]);
  assert.deepEqual(counts, kernelAtLeast(6, 16) ? [2, 0] : [undefined, undefined]);
  assert.deepEqual(chains, [
    { name: "regular" },
    { name: "base", type: "filter", hook: 2, priority: -5, policy: 0 },
  ]);
  assert.deepEqual(objects, [{ name: "n", type: 1, packets: 0, bytes: 0 }]);
  assert.deepEqual(flowtables, []);
  const rules = await program.call("rules", "t");
  const generation = await program.call("generation");
  assert.notEqual(rules, "");
  await run(program, "add rule inet t regular accept");
  assert.notEqual(await program.call("rules", "t"), rules);
  assert.equal(await program.call("generation"), Number(generation) + 1);
});

test(
  "nftables_elements: a transaction is all or nothing and names its culprit",
  async (program, box) => {
    await run(program, "add table inet t\nadd set inet t s { type ipv4_addr; size 3; }");
    type Steps = ["add" | "delete" | "destroy", number][];
    const transact = (...steps: Steps) => program.call("transact", "t", "s", steps);
    const elements = async () => {
      const output = await box.must("nft", ["-j", "list", "set", "inet", "t", "s"]);
      const found = JSON.parse(output).nftables[1].set.elem as string[] | undefined;
      return (found ?? []).length;
    };
    const [ENOENT, ENFILE] = [2, 23];
    assert.equal(await transact(), null);
    assert.equal(await transact(["add", 1], ["add", 2], ["add", 1]), null);
    assert.equal(await elements(), 2);
    assert.deepEqual(await transact(["add", 3], ["delete", 1], ["delete", 9], ["delete", 2]), {
      code: ENOENT,
      element: 2,
    });
    assert.equal(await elements(), 2);
    assert.deepEqual(await transact(["add", 3], ["add", 4], ["add", 5]), {
      code: ENFILE,
      element: 1,
    });
    assert.equal(await elements(), 2);
    assert.equal(await transact(["destroy", 9], ["destroy", 1], ["destroy", 1]), null);
    assert.equal(await elements(), 1);
    assert.deepEqual(await program.call("transact", "gone", "s", [["add", 1]]), {
      code: ENOENT,
      element: -1,
    });
  },
);
