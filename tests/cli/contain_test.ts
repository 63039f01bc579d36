/**
 * `diaper slow`, `filter`, `block` and `allow`, against a console with an NI.
 */
import assert from "node:assert/strict";
import type { ContainmentOrder } from "../../lib/admin/messages.ts";
import { TestConsole } from "../admin/support.ts";
import { diaper } from "./fake_daemon.ts";

Deno.test("contain: orders go to the NI of the host, with reason, end and owner, and are answered", async () => {
  await using test = await TestConsole.start({
    edge: "hosts=10.0.0.0/24",
    other: "hosts=10.0.1.0/24",
  }, { never_block: ["10.0.0.53"] });
  const orders: ContainmentOrder[] = [];
  const ni = await test.ni("edge", {
    handlers: {
      order: (order) => {
        orders.push(order);
        return {
          ok: order.host !== "10.0.0.9",
          why: order.host === "10.0.0.9" ? "no" : "it is done",
        };
      },
    },
  });
  await ni.start();
  await test.until(() => ni.connected || undefined, "NI at the console");
  const config = `${test.directory}/console.yaml`;
  Deno.writeTextFileSync(config, `run_dir: ${test.directory}\ncontrol_group: root\n`);
  const run = (...args: string[]) => diaper(...args, "--config", config);
  const slow = await run("slow", "10.0.0.5", "--for", "1h", "--why", "scans", "--connections", "2");
  assert.deepEqual([slow.code, slow.stderr], [0, ""]);
  assert.match(slow.stdout, /^edge: slow 10\.0\.0\.5: done \(it is done\), until 20/);
  const filter = await run(
    ...[
      "filter",
      "10.0.0.5",
      "--for",
      "30m",
      "--why",
      "scans",
      "--to",
      "10.0.0.53",
      "10.0.0.64/28",
    ],
    "--json",
  );
  assert.equal((JSON.parse(filter.stdout) as { state: string }).state, "done");
  const block = await run("block", "10.0.0.9", "--for", "1h", "--why", "scans");
  assert.deepEqual([block.code, block.stdout.split(",")[0]], [
    1,
    "edge: block 10.0.0.9: refused (no)",
  ]);
  const away = await run("block", "10.0.1.1", "--for", "1h", "--why", "scans");
  assert.match(away.stdout, /^other: block 10\.0\.1\.1: told when it comes, until/);
  const never = await run("block", "10.0.0.53", "--for", "1h", "--why", "scans");
  assert.deepEqual([never.code, never.stdout], [5, ""]);
  assert.match(never.stderr, /never_block/);
  const allow = await run("allow", "10.0.0.5", "--why", "it was mended");
  assert.match(allow.stdout, /^edge: allow 10\.0\.0\.5: done/);
  assert.deepEqual(
    orders.map((o) => [o.verb, o.host, o.lifetime, o.reason, o.connections, o.destinations]),
    [
      ["slow", "10.0.0.5", 3600, "scans", 2, undefined],
      ["filter", "10.0.0.5", 1800, "scans", undefined, ["10.0.0.53", "10.0.0.64/28"]],
      ["block", "10.0.0.9", 3600, "scans", undefined, undefined],
      ["allow", "10.0.0.5", 86_400, "it was mended", undefined, undefined],
    ],
  );
  assert.equal(orders[0]?.owner, "root");
});

Deno.test("contain: what cannot be an order is not sent", async () => {
  for (
    const args of [
      ["slow", "nobody", "--for", "1h", "--why", "x"],
      ["block", "10.0.0.1", "--why", "x"],
      ["block", "10.0.0.1", "--for", "1h"],
      ["filter", "10.0.0.1", "--for", "1h", "--why", "x"],
      ["filter", "10.0.0.1", "--for", "1h", "--why", "x", "--to", "10.0.0.0/99"],
      ["slow", "10.0.0.1", "--for", "soon", "--why", "x"],
    ]
  ) {
    assert.equal((await diaper(...args)).code, 2, args.join(" "));
  }
});
