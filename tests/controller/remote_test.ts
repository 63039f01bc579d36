/**
 * Brokers and controllers on hosts of their own, over both SSH servers.
 */
import assert from "node:assert/strict";
import { startLoad } from "../lab/bind_load.ts";
import type { DiaperHost } from "../lab/diaper.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { hasSshd, RemoteSite, type SshKind } from "../lab/remote.ts";

const SOURCE = "198.51.100.7";
const INSIDE = "192.0.2.1";

interface Bench {
  readonly lab: Lab;
  readonly site: RemoteSite;
  readonly broker: DiaperHost;
}

async function bench(server: SshKind, work: (b: Bench) => Promise<void>): Promise<void> {
  await using lab = await Lab.create({
    outside: [{ name: "out", addresses: [SOURCE] }],
    inside: [{ name: "in", addresses: [INSIDE] }],
  });
  const site = await RemoteSite.start(lab, {
    server,
    policy: [`allow host1 root tcp ${SOURCE} * ${INSIDE} 1024-65535`],
    delegates: ["host1"],
  }, ["out"]);
  const broker = await site.broker(lab.host("in"), "host1");
  await work({ lab, site, broker });
}

for (const server of ["embedded", "sshd"] as const) {
  Deno.test({
    name: `remote: over ${server}, a bind at a broker opens at the perimeter, and its end closes`,
    ignore: !labPossible || (server === "sshd" && !hasSshd),
    fn: () =>
      bench(server, async ({ lab, site, broker }) => {
        const load = await startLoad(lab, lab.host("out"), lab.host("in"), broker, "hold", 5);
        for (let i = 0; i < 5; i++) {
          await site.controller.waitForEvent((e) =>
            e.event_type === "pinhole.opened" && Number(e["id"]) === i + 1
          );
        }
        const pinholes = await site.controller.pinholes();
        assert.equal(pinholes.length, 5);
        assert.equal((await site.controller.kernelPinholes()).length, 5);
        for (const p of pinholes) {
          assert.equal(p["delegate"], "host1");
          assert.equal(p["user"], "root");
          assert.equal(p["source"], SOURCE);
          assert.equal(p["destination"], INSIDE);
        }
        assert.equal((await broker.pinholes()).length, 5);
        await load.stop("SIGKILL");
        for (let i = 0; i < 5; i++) {
          await site.controller.waitForEvent((e) =>
            e.event_type === "pinhole.closed" && e["id"] === i + 1
          );
        }
        assert.deepEqual(await site.controller.kernelPinholes(), []);
        assert.deepEqual(await broker.pinholes(), []);
      }),
  });
}
