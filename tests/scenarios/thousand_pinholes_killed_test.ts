import assert from "node:assert/strict";
import { PORT, startLoad } from "../lab/bind_load.ts";
import { DiaperHost } from "../lab/diaper.ts";
import { Lab, labPossible } from "../lab/lab.ts";

const COUNT = 1000;

async function withDaemon(work: (lab: Lab, diaper: DiaperHost) => Promise<void>): Promise<void> {
  await using lab = await Lab.create({
    outside: [{ name: "out", addresses: ["198.51.100.7"] }],
    inside: [{ name: "in", addresses: ["192.0.2.1"] }],
  });
  const diaper = await DiaperHost.up(lab, lab.host("in"), {
    policy: ["allow bench root tcp 198.51.100.7 * 192.0.2.1 1024-65535"],
    openPorts: [`tcp/${PORT}`],
  });
  await work(lab, diaper);
  assert.equal((await diaper.stop()).code, 0);
}

const pids = (rows: Record<string, unknown>[]) => rows.map((p) => Number(p["pid"])).sort();

function lives(pid: number): boolean {
  try {
    return !/^State:\s*Z/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

Deno.test({
  name:
    "scenario: kill -9 of diaper up with 1,000 pinholes open leaves, after a restart, exactly " +
    "those whose programs live (needs root)",
  ignore: !labPossible,
  fn: () =>
    withDaemon(async (lab, diaper) => {
      const host = lab.host("in");
      const load = await startLoad(lab, lab.host("out"), host, diaper, "hold", COUNT);
      await load.waitForLine(/^\{.*\}$/, 60_000);
      const opened = await diaper.pinholes();
      const all = pids(opened);
      assert.equal(all.length, COUNT);
      assert.equal(new Set(all).size, COUNT, "a pinhole for each process");

      const named = (p: Record<string, unknown>) => p["program"] === lab.path("bind_load");
      assert.ok(opened.every(named), "whose program each is, though they came all at once");

      assert.equal((await diaper.stop("SIGKILL")).signal, "SIGKILL");
      assert.equal((await diaper.kernelPinholes()).length, COUNT, "the perimeter stays as it was");
      const doomed = all.filter((_, i) => i % 5 < 2);
      for (const pid of doomed) Deno.kill(pid, "SIGKILL");
      const foreign = "add element inet diaper ph4 { tcp . 203.0.113.9 . 192.0.2.1 . 4444 }";
      await host.must("nft", [foreign]);
      await diaper.restart();

      await diaper.waitForEvent((e) =>
        e.event_type === "enforcer.removed" && e["tuple"] === "tcp 203.0.113.9 > 192.0.2.1:4444"
      );
      const left = all.filter((pid) => !doomed.includes(pid));
      const restored = await diaper.pinholes();
      assert.deepEqual(pids(restored), left);
      assert.ok(restored.every(named), "the ledger has the names too");
      assert.equal((await diaper.kernelPinholes()).length, left.length);

      await load.stop("SIGKILL"); // the others die with their parent
      await diaper.waitForEvent(() => diaper.events().filter(isClosed).length === COUNT, 30_000);
      assert.deepEqual(await diaper.pinholes(), []);
      assert.deepEqual(await diaper.kernelPinholes(), []);
    }),
});

Deno.test({
  name:
    "scenario: kill -9 of diaper up while 1,000 pinholes are being opened leaves none without " +
    "a living program, and none that is not listed (needs root)",
  ignore: !labPossible,
  fn: () =>
    withDaemon(async (lab, diaper) => {
      const host = lab.host("in");
      const load = await startLoad(lab, lab.host("out"), host, diaper, "hold", COUNT);
      await diaper.waitForEvent((e) => e.event_type === "pinhole.opened", 60_000);
      assert.equal((await diaper.stop("SIGKILL")).signal, "SIGKILL");
      await load.waitForLine(/^\{.*\}$/, 60_000); // all went on, with a pinhole or without
      await diaper.restart();
      const listed = await diaper.pinholes();
      assert.ok(listed.length > 0);
      assert.equal((await diaper.kernelPinholes()).length, listed.length);
      assert.ok(pids(listed).every(lives));
      const bound = new Set((await host.sockets("tcp")).map((s) => s.localPort));
      for (const p of listed) {
        const port = Number(p["destination_port"]);
        // Bound without listening, a socket is not in /proc/net: then its process must hold it.
        assert.ok(bound.has(port) || lives(Number(p["pid"])), `port ${port}`);
      }
      await load.stop("SIGKILL");
      await diaper.waitForEvent(
        () => diaper.events().filter(isClosed).length >= listed.length,
        30_000,
      );
      assert.deepEqual(await diaper.kernelPinholes(), []);
    }),
});

function isClosed(event: Record<string, unknown>): boolean {
  return event["event_type"] === "pinhole.closed";
}
