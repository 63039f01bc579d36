import assert from "node:assert/strict";
import { captureFrame, captureHeader } from "../../lib/net/capture.ts";
import { ftpTrace } from "../net/ftp_trace.ts";
import { diaper } from "./fake_daemon.ts";

const FORMAT = { linkType: 1, precision: "ns", format: "pcapng" } as const;

/** A capture of a small trace, and a measurement of an enforcer with room for one. */
async function files(use: (directory: string, capture: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const parts = [captureHeader(FORMAT)];
    for (const { time, frame, wireLength } of ftpTrace({ scale: 0.001, seed: 3 })) {
      const seconds = Math.floor(time);
      parts.push(
        captureFrame(FORMAT, frame, seconds, Math.floor((time - seconds) * 1e9), wireLength),
      );
    }
    const capture = `${directory}/trace.pcapng`;
    await Deno.writeFile(capture, await new Blob(parts).bytes());
    await use(directory, capture);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("capacity: a capture against a measured enforcer, as JSON, table and charts", async () => {
  await files(async (directory, capture) => {
    const measured = `${directory}/small.json`;
    const batched = [[1, 0, 100], [4, 0, 80], [4, 10, 2], [4, 100, 1]].map((
      [batch, existing, rate],
    ) => ({
      batch,
      existing,
      seconds: 1,
      updates_per_second: rate,
    }));
    Deno.writeTextFileSync(
      measured,
      JSON.stringify({
        enforcer: "small",
        optimal_batch: 4,
        capacity: 1,
        degrades_at: 10,
        sequential: [],
        batched,
      }),
    );
    const options = ["--calibration", measured, "--svg", `${directory}/fig.svg`];
    const { code, stdout, stderr } = await diaper("capacity", capture, "--json", ...options);
    assert.equal(code, 0, stderr);
    const result = JSON.parse(stdout);
    assert.deepEqual(
      [result.packets, result.control_connections, result.pinholes, result.ftp, result.updates],
      [3200, 22, 49, 49, 98],
    );
    assert.ok(result.most_open >= 1 && result.mean_open < 10);
    const [fit] = result.enforcers;
    assert.deepEqual(
      { ...fit, longest_wait: 0 },
      {
        enforcer: "small",
        capacity: 1,
        updates_per_second: 2,
        fits_capacity: result.most_open <= 1,
        fits_rate: result.most_updates_per_second <= 2,
        longest_wait: 0,
      },
    );
    assert.ok(fit.longest_wait >= 0.5);
    for (const figure of [10, 11]) {
      assert.match(Deno.readTextFileSync(`${directory}/fig-${figure}.svg`), />small<\/text>/);
    }
    const shown = await diaper("capacity", capture, "--calibration", measured);
    assert.match(shown.stdout, /^3200 packets in .*\npinholes: 49 \(49 by FTP/);
    // Servers are inside: what clients opened for active transfers is not the site's.
    const inside = await diaper(
      "capacity",
      capture,
      "--json",
      "--inside",
      "192.0.0.0/16",
      ...options,
    );
    const fewer = JSON.parse(inside.stdout).pinholes;
    assert.ok(fewer > 0 && fewer < 49, String(fewer));
  });
});

Deno.test("capacity: a capture that ends inside a record is told as far as it goes", async () => {
  await files(async (directory, capture) => {
    const bytes = Deno.readFileSync(capture);
    const torn = `${directory}/torn.pcapng`;
    Deno.writeFileSync(torn, bytes.subarray(0, bytes.length - 5));
    const config = `${directory}/diaper.yaml`;
    Deno.writeTextFileSync(config, `state_dir: ${directory}\n`);
    const result = await diaper("capacity", torn, "--json", "--config", config);
    assert.equal(result.code, 0);
    assert.equal(JSON.parse(result.stdout).packets, 3199);
    assert.match(result.stderr, /ends inside a record/);
    Deno.writeTextFileSync(torn, "this is no capture at all, whatever its name");
    const wrong = await diaper("capacity", torn, "--config", config);
    assert.deepEqual([wrong.code, wrong.stdout], [1, ""]);
    assert.match(wrong.stderr, /not a capture/);
    const missing = await diaper("capacity", `${directory}/none`, "--config", config);
    assert.equal(missing.code, 1);
  });
});
