/**
 * A delegate that floods a controller is slowed, and it alone.
 */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { storeCalibration } from "../../lib/controller/calibration.ts";
import { diaperDirectory } from "../lab/diaper.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { RemoteSite, SSH_PORT } from "../lab/remote.ts";

const SOURCE = "198.51.100.7";
const FLOODED = "192.0.2.1";
const QUIET = "192.0.2.2";
const TOTAL = 10_000;
const ASKS = 20;
/** So few changes go to the enforcer at once, as to a router, so that requests pile up before it. */
const BATCH = 8;

Deno.test({
  name: "flood: another delegate's request waits for no more than the next batch (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create({
      outside: [{ name: "out", addresses: [SOURCE] }],
      inside: [{ name: "one", addresses: [FLOODED] }, { name: "two", addresses: [QUIET] }],
    });
    const state = `${diaperDirectory(lab, lab.perimeter)}/state`;
    mkdirSync(state, { recursive: true, mode: 0o700 });
    storeCalibration(state, {
      ...{ enforcer: "debug", optimal_batch: BATCH, capacity: 1_000_000 },
      ...{ degrades_at: null, sequential: [], batched: [] },
    });
    const site = await RemoteSite.start(lab, {
      server: "embedded",
      enforcer: "debug",
      policy: [`allow host1 * * * * ${FLOODED} *`, `allow host2 * * * * ${QUIET} *`],
      delegates: ["host1", "host2"],
    }, []);
    const keys = ["host1", "host2"].map((delegate) => {
      const path = lab.path(`flood-${delegate}`);
      writeFileSync(path, site.key(delegate), { mode: 0o600 });
      return path;
    });
    const program = fileURLToPath(new URL("ssh_flood_program.ts", import.meta.url));
    const { controller } = site;
    const flood = lab.host("one").spawn(Deno.execPath(), [
      ...["run", "--no-check", "--cached-only", "-A", program, controller.host.address(4)],
      ...[String(SSH_PORT), ...keys, SOURCE, FLOODED, QUIET, String(TOTAL), String(ASKS)],
    ]);
    // In the middle of it the policy is loaded anew, which drops nobody's request.
    await controller.waitForEvent((e) => e["id"] === 200 && opened(e), 60_000);
    controller.daemon.kill("SIGHUP");
    await controller.waitForEvent((e) => e.event_type === "policy.loaded");
    const [line] = await flood.waitForLine(/^\{"latency_ms".*/, 120_000);
    const { left } = JSON.parse(line) as { left: number };
    assert.ok(left > 0, "all the other's requests were answered in the middle of the flood");

    const last = await controller.waitForEvent((e) => e["id"] === TOTAL + ASKS && opened(e));
    assert.ok(last !== undefined, "the flood was slowed, and not lost");
    // In the controller's own order: what was opened between the other's request and its answer.
    const events = controller.events();
    const loaded = events.findIndex((e) => e.event_type === "policy.loaded");
    assert.ok(events.slice(loaded).some((e) => opened(e)), "loaded in the middle");
    for (let n = 0; n < ASKS; n++) {
      const own = (e: typeof last) =>
        e["delegate"] === "host2" && e["destination_port"] === 1024 + n;
      const asked = events.findIndex((e) => e.event_type === "pinhole.requested" && own(e));
      const answered = events.findIndex((e) => opened(e) && own(e));
      assert.ok(asked !== -1 && asked < answered);
      const between = events.slice(asked, answered).filter((e) => opened(e)).length;
      assert.ok(between < 2 * BATCH, `${between} of the flood were opened before it`);
    }

    // What another policy denies is closed, and nothing else.
    writeFileSync(controller.policy, `allow host2 * * * * ${QUIET} *\n`);
    controller.daemon.kill("SIGHUP");
    await controller.waitForEvent((e) => e["closing"] === TOTAL);
    for (let open = TOTAL; open > ASKS;) {
      const { stdout } = await controller.verb("status", "--json");
      open = JSON.parse(stdout).pinholes.open;
    }
    const stay = await controller.pinholes();
    assert.deepEqual(new Set(stay.map((p) => p["delegate"])), new Set(["host2"]));
    assert.equal(stay.length, ASKS);
  },
});

const opened = (e: { event_type: string }) => e.event_type === "pinhole.opened";
