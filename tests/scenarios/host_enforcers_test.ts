/**
 * A controller at the perimeter that works with iptables or ipset, from a program's bind to its end.
 */
import assert from "node:assert/strict";
import { startLoad } from "../lab/bind_load.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { RemoteSite } from "../lab/remote.ts";

const SOURCE = "198.51.100.7";
const INSIDE = "192.0.2.1";
const COUNT = 3;

for (const enforcer of ["iptables", "ipset"]) {
  Deno.test({
    name: `scenario: a bind opens at a perimeter of ${enforcer}, and its end closes (needs root)`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await Lab.create({
        outside: [
          { name: "out", addresses: [SOURCE] },
          { name: "other", addresses: ["203.0.113.6"] },
        ],
        inside: [{ name: "in", addresses: [INSIDE] }],
      });
      const site = await RemoteSite.start(lab, {
        server: "embedded",
        enforcer,
        policy: [`allow host1 root tcp ${SOURCE} * ${INSIDE} 1024-65535`],
        delegates: ["host1"],
      }, ["out", "other"]);
      const held = async () => {
        const { code, stdout, stderr } = await site.controller.verb(
          `enforcer show ${enforcer}`,
          "--json",
        );
        assert.equal(code, 0, stderr);
        return stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
      };
      const broker = await site.broker(lab.host("in"), "host1");
      const load = await startLoad(lab, lab.host("out"), lab.host("in"), broker, "hold", COUNT);
      for (let id = 1; id <= COUNT; id++) {
        await site.controller.waitForEvent((e) =>
          e.event_type === "pinhole.opened" && Number(e["id"]) === id
        );
      }
      const entries = await held();
      assert.equal(entries.length, COUNT);
      const port = entries[0].destination_port;
      assert.deepEqual([entries[0].source, entries[0].destination], [SOURCE, INSIDE]);
      assert.notEqual(await lab.host("out").tryConnect(INSIDE, port), "unanswered");
      assert.equal(await lab.host("other").tryConnect(INSIDE, port, 500), "unanswered");
      assert.ok((await held()).some((entry) => entry.packets > 0));
      await load.stop("SIGKILL");
      for (let id = 1; id <= COUNT; id++) {
        await site.controller.waitForEvent((e) =>
          e.event_type === "pinhole.closed" && e["id"] === id
        );
      }
      assert.deepEqual(await held(), []);
      assert.equal(await lab.host("out").tryConnect(INSIDE, port, 500), "unanswered");
    },
  });
}
