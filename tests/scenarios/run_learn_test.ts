/**
 * `diaper run --learn`: what a server is refused, it tells the rules for; with these it is allowed.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { loadOnce, PORT, startLoad } from "../lab/bind_load.ts";
import { DiaperHost } from "../lab/diaper.ts";
import { Lab, labPossible } from "../lab/lab.ts";

Deno.test({
  name:
    "run --learn prints the rules that a program needs, and allows nothing by itself (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create({
      outside: [{ name: "out", addresses: ["198.51.100.7"] }],
      inside: [{ name: "in", addresses: ["192.0.2.1"] }],
    });
    const [out, inside] = [lab.host("out"), lab.host("in")];
    const diaper = await DiaperHost.up(lab, inside, {
      policy: ["# nothing is allowed"],
      openPorts: [`tcp/${PORT}`],
    });
    const server = await startLoad(lab, out, inside, diaper, "latency", 5, ["--learn"]);
    await server.waitForLine(/^\{.*\}$/, 30_000);
    server.kill("SIGTERM");
    await server.status;
    const rules = server.output().filter((line) => line.startsWith("allow "));
    const [range] = [Deno.readTextFileSync("/proc/sys/net/ipv4/ip_local_port_range").trim()];
    assert.deepEqual(rules, [
      `allow bench root tcp 198.51.100.7 * 192.0.2.1 ${range.replace(/\s+/, "-")}`,
    ], server.output().join("\n"));
    const count = (type: string) => diaper.events().filter((e) => e.event_type === type).length;
    assert.deepEqual([count("pinhole.refused"), count("pinhole.opened")], [5, 0]);
    writeFileSync(diaper.policy, rules.join("\n") + "\n");
    diaper.daemon.kill("SIGHUP");
    await diaper.waitForEvent((e) => e.event_type === "policy.loaded");
    await loadOnce(lab, out, inside, diaper, "latency", 5);
    await diaper.waitForEvent((e) => e.event_type === "pinhole.opened" && e["id"] === 5);
    assert.equal(count("pinhole.refused"), 5);
  },
});
