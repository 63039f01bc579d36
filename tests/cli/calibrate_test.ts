import assert from "node:assert/strict";
import { createDebug } from "../../drivers/debug.ts";
import { loadCalibration, optimalBatch } from "../../lib/controller/calibration.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { captureHeader } from "../../lib/net/capture.ts";
import { diaper, RunningVerb } from "./fake_daemon.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

Deno.test({
  name: "calibrate: measures in a namespace of its own, and keeps the result (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create({
      outside: [],
      inside: [{ name: "box", addresses: ["192.0.2.10"] }],
    });
    const directory = await Deno.makeTempDir();
    try {
      const config = `${directory}/diaper.yaml`;
      Deno.writeTextFileSync(config, `state_dir: ${directory}/state\n`);
      for (const name of ["nftables", "iptables", "ipset"]) {
        const options = ["--config", config, "--most", "30", "--json", "--svg", `${directory}/c`];
        const args = ["run", "-A", MAIN, "calibrate", "--enforcer", name, ...options];
        const printed = await lab.host("box").must(Deno.execPath(), args);
        const result = JSON.parse(printed);
        assert.deepEqual(Object.keys(result), [
          ...["enforcer", "optimal_batch", "capacity", "degrades_at", "sequential", "batched"],
        ]);
        assert.deepEqual(
          result.sequential.map((p: { count: number }) => p.count),
          [1, 2, 5, 10, 20],
        );
        assert.ok(
          result.batched.every((p: { updates_per_second: number }) => p.updates_per_second > 1),
        );
        assert.deepEqual(loadCalibration(`${directory}/state`, name), result);
        for (const figure of [6, 7, 8, 9]) {
          assert.match(
            Deno.readTextFileSync(`${directory}/c-${figure}.svg`),
            /^<svg .*<\/svg>\n$/s,
          );
        }
      }
      const tables = ["-c", "nft list ruleset; iptables-legacy-save; ipset list -n"];
      assert.equal(await lab.host("box").must("sh", tables), "");
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  },
});

Deno.test("calibrate: a controller takes the measured batch, and the driver's without one", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const config = `${directory}/diaper.yaml`;
    Deno.writeTextFileSync(config, `state_dir: ${directory}\n`);
    assert.equal(optimalBatch(directory, createDebug()), 1000);
    const { code, stdout } = await diaper(
      ...["calibrate", "--enforcer", "debug", "--most", "10", "--config", config],
    );
    assert.equal(code, 0);
    assert.match(stdout, /^debug: best batch \d+\n/);
    // What is measured of an enforcer that is none is not kept.
    assert.equal(loadCalibration(directory, "debug"), undefined);
    Deno.mkdirSync(`${directory}/calibration`);
    const file = `${directory}/calibration/debug.json`;
    Deno.writeTextFileSync(
      file,
      '{"enforcer":"debug","optimal_batch":7,"capacity":9,"degrades_at":null,"sequential":[],"batched":[]}',
    );
    assert.equal(optimalBatch(directory, createDebug()), 7);
    Deno.writeTextFileSync(file, '{"optimal_batch":0}');
    assert.throws(() => optimalBatch(directory, createDebug()), /not a measurement/);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("calibrate: a simulated device, and a capture held against what was measured", async () => {
  const directory = await Deno.makeTempDir();
  const device = new RunningVerb("lab", "device", "ios", "--speed", "0", "--json");
  try {
    const at = JSON.parse(await device.line() ?? "{}");
    Deno.writeTextFileSync(`${directory}/password`, "diaper\n", { mode: 0o600 });
    const config = `${directory}/diaper.yaml`;
    Deno.writeTextFileSync(
      config,
      `state_dir: ${directory}\nenforcer:\n  host: 127.0.0.1\n  port: ${at.port}\n  user: diaper\n` +
        `  password_file: ${directory}/password\n  host_key: ${at.host_key}\n`,
    );
    const options = ["--config", config, "--most", "40", "--time", "2", "--json"];
    const { code, stdout, stderr } = await diaper("calibrate", "--enforcer", "ios", ...options);
    assert.equal(code, 0, stderr);
    const measured = JSON.parse(stdout);
    assert.ok(measured.sequential.length > 0 && measured.batched.length > 0);
    assert.deepEqual(loadCalibration(directory, "ios"), measured);
    const capture = `${directory}/empty.pcap`;
    Deno.writeFileSync(
      capture,
      captureHeader({ linkType: 1, precision: "us", format: "pcap" }),
    );
    const held = await diaper("capacity", capture, "--config", config, "--json");
    assert.equal(held.code, 0, held.stderr);
    assert.deepEqual(
      JSON.parse(held.stdout).enforcers.map((e: { enforcer: string }) => e.enforcer),
      ["ios"],
    );
  } finally {
    await device[Symbol.asyncDispose]();
    Deno.removeSync(directory, { recursive: true });
  }
});
