/**
 * How long an NI takes to take up again after it was killed, until its rules hold and its scanner has subscribed; to read
 * its configuration anew; and what an attached NI adds to a bridge's round trip. Needs root.
 *
 * @module
 */
import { NiLab } from "../../tests/ni/inline_lab.ts";
import { roundTrip, startEcho } from "./ni/measure.ts";
import { compilePeer } from "./ni/paths.ts";
import { median, quantile, report } from "./report.ts";

const ROUNDS = 11;
const CONFIG = "on_exit: open\nprevent: [{filter: tcp dst port 445}]\nscanners: {codered: {}}\n";

await using lab = await NiLab.create();
const restarts: number[] = [];
const scanners: number[] = [];
const reloads: number[] = [];
for (let i = 0; i < ROUNDS; i++) {
  const begin = performance.now();
  const ni = await lab.startWith(CONFIG);
  restarts.push(performance.now() - begin);
  await subscribed();
  scanners.push(performance.now() - begin);
  const asked = performance.now();
  ni.kill("SIGHUP");
  await ni.waitForLine(/configuration loaded/);
  reloads.push(performance.now() - asked);
  await ni.stop("SIGKILL");
}
for (
  const [metric, samples, target] of [
    ["restart after kill -9: rules hold", restarts, 1000],
    ["restart after kill -9: the scanner has subscribed", scanners, 2000],
    ["the configuration read anew", reloads, 200],
  ] as const
) {
  report("ni_runtime", `${metric}, median of ${ROUNDS}`, median(samples), "ms", {
    target: `under ${target} ms`,
    met: median(samples) < target,
  });
  report("ni_runtime", `${metric}, p99`, quantile(samples, 0.99), "ms", {
    target: `under ${target * 2} ms`,
    met: quantile(samples, 0.99) < target * 2,
  });
}

// An attached NI, and the same bridge without one, in turns.
await lab.box.must("ip", ["link", "add", "br0", "type", "bridge"]);
await lab.box.must("ip", ["link", "set", "br0", "up"]);
for (const port of ["porth", "portn"]) {
  await lab.box.must("ip", ["link", "set", port, "master", "br0"]);
}
const directory = await Deno.makeTempDir();
const traffic = await compilePeer("traffic", directory);
await startEcho(lab, traffic);
const microseconds = async () => (await roundTrip(lab, traffic, lab.netAddress)).median / 1000;
const plain: number[] = [];
const attached: number[] = [];
for (let i = 0; i < ROUNDS; i++) {
  await lab.ping(3, "-i", "0.05", lab.netAddress); // addresses are learned
  plain.push(await microseconds());
  const args = ["--attach", "porth", "--on-exit", "open", "--prevent", "tcp dst port 445"];
  const ni = await lab.run(...args, "--run-dir", lab.runDir);
  attached.push(await microseconds());
  await ni.stop();
}
await Deno.remove(directory, { recursive: true });
report("ni_runtime", "attached to a bridge's port: round trip", median(attached), "us", {
  baseline: median(plain),
  target: "at most 1.2x of the bridge alone",
  met: median(attached) <= 1.2 * median(plain),
});

/** Waits until a rule of a scanner is in force. */
async function subscribed(): Promise<void> {
  for (let i = 0; i < 500; i++) {
    const { rules } = await lab.status() as { rules: { kind: string }[] };
    if (rules.some(({ kind }) => kind === "scan")) return;
  }
  throw new Error("The scanner does not subscribe");
}
