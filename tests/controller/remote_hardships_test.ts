/**
 * A controller whose clock is set, whose disk is full, or whose ledger is damaged, asked over the network.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { startLoad } from "../lab/bind_load.ts";
import { type AuditLine, diaperDirectory, type DiaperHost } from "../lab/diaper.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { type ControllerSpec, RemoteSite } from "../lab/remote.ts";

const SOURCE = "198.51.100.7";
const INSIDE = "192.0.2.1";
const RULE = `allow host1 root tcp ${SOURCE} * ${INSIDE} 1024-65535`;

interface Bench {
  readonly lab: Lab;
  readonly controller: DiaperHost;
  readonly broker: DiaperHost;
  /** Has so many programs bind a port each and keep it. */
  readonly hold: (count: number) => Promise<LabProcess>;
}

async function bench(
  work: (b: Bench) => Promise<void>,
  spec: Partial<ControllerSpec> = {},
  prepare: (lab: Lab) => Promise<Partial<ControllerSpec>> = () => Promise.resolve({}),
): Promise<void> {
  await using lab = await Lab.create({
    outside: [{ name: "out", addresses: [SOURCE] }],
    inside: [{ name: "in", addresses: [INSIDE] }],
  });
  const more = await prepare(lab);
  const site = await RemoteSite.start(lab, {
    server: "embedded",
    policy: [RULE],
    delegates: ["host1"],
    ...spec,
    ...more,
  }, ["out"]);
  const broker = await site.broker(lab.host("in"), "host1", ["  wait: 5s"]);
  const hold = (count: number) =>
    startLoad(lab, lab.host("out"), lab.host("in"), broker, "hold", count);
  await work({ lab, controller: site.controller, broker, hold });
}

const ofType = (d: DiaperHost, type: string) => d.events().filter((e) => e.event_type === type);

/** Waits until so many events of a kind are there; gives the last of these. */
async function times(d: DiaperHost, type: string, count: number): Promise<AuditLine> {
  await until(`${count} times ${type}`, () => ofType(d, type).length >= count);
  return ofType(d, type)[count - 1] as AuditLine;
}

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const FAKETIME = ["x86_64", "aarch64"]
  .map((machine) => `/usr/lib/${machine}-linux-gnu/faketime/libfaketime.so.1`)
  .find((path) => existsSync(path));

/** libfaketime at times has a program wait for ever for its semaphore as it starts: it is started anew then. */
async function startedUnderFaketime(run: () => Promise<void>): Promise<void> {
  for (let tries = 4;; tries--) {
    try {
      return await run();
    } catch (error) {
      const hung = error instanceof Error && error.message.includes("made no control socket");
      if (!hung || tries === 1) throw error;
      const words = "libfaketime: the program did not start; it is started anew\n";
      Deno.stderr.writeSync(new TextEncoder().encode(words));
    }
  }
}

Deno.test({
  name: "hardships: a clock that is set back or forward keeps no pinhole open, and is told of " +
    "(needs root, libfaketime)",
  ignore: !labPossible || FAKETIME === undefined,
  fn: () => {
    let clock = "";
    return startedUnderFaketime(() =>
      bench(
        async ({ controller, broker, hold }) => {
          const first = await hold(1);
          await times(controller, "pinhole.opened", 1);
          writeFileSync(clock, "-1d");
          const back = await times(controller, "clock.set", 1);
          assert.ok(Math.abs(Number(back["seconds"]) + 86_400) < 5, JSON.stringify(back));
          // Two seconds by the clock that nobody sets; by the other one it would live for another day.
          assert.equal((await times(controller, "pinhole.closed", 1))["reason"], "expired");
          assert.deepEqual(await controller.kernelPinholes(), []);
          await first.stop("SIGKILL");

          const until = new Date(Date.now() + 7_200_000).toISOString().replace(/\.\d+/, "");
          writeFileSync(controller.policy, `${RULE} until=${until}\n`);
          controller.daemon.kill("SIGHUP");
          await times(controller, "policy.loaded", 1);
          const second = await hold(1);
          await times(controller, "pinhole.opened", 2);
          writeFileSync(clock, "+1d");
          assert.ok(Number((await times(controller, "clock.set", 2))["seconds"]) > 86_400);
          assert.equal((await times(controller, "pinhole.closed", 2))["reason"], "expired");
          assert.deepEqual(await controller.kernelPinholes(), []);
          await second.stop("SIGKILL");
          const third = await hold(1);
          const refused = await times(broker, "pinhole.refused", 1);
          assert.match(String(refused["why"]), /no rule allows|until/);
          await third.stop("SIGKILL");
          assert.equal(
            ofType(broker, "controller.connected").length,
            1,
            "the session is not disturbed",
          );
          assert.match(controller.daemon.output().join("\n"), /clock was set back by 864\d\d s/);
        },
        { policy: [`${RULE} ttl=2s`] },
        (lab) => {
          clock = lab.path("clock");
          writeFileSync(clock, "+0d");
          const command = lab.path("diaper-with-clock");
          const settings =
            `FAKETIME_TIMESTAMP_FILE=${clock} FAKETIME_NO_CACHE=1 FAKETIME_DISABLE_SHM=1 ` +
            "DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1";
          // From its source: the binary's launcher keeps LD_PRELOAD away from its own runtime.
          const run = `${Deno.execPath()} run --quiet --no-check --cached-only --allow-all ` +
            `--config ${ROOT}deno.json ${ROOT}main.ts`;
          const script = `#!/bin/sh\nLD_PRELOAD=${FAKETIME} ${settings} exec ${run} "$@"\n`;
          writeFileSync(command, script, { mode: 0o755 });
          return Promise.resolve({ command });
        },
      )
    );
  },
});

/** Puts a small file system where the controller keeps something. */
async function small(lab: Lab, what: string, size: string): Promise<string> {
  const path = `${diaperDirectory(lab, lab.perimeter)}/${what}`;
  mkdirSync(path, { recursive: true });
  await lab.perimeter.must("mount", ["-t", "tmpfs", "-o", `size=${size},mode=0700`, "small", path]);
  return path;
}

/** Leaves no room on a file system. */
async function fill(lab: Lab, path: string): Promise<void> {
  const { code } = await lab.perimeter.run("dd", ["if=/dev/zero", `of=${path}/filler`, "bs=4k"]);
  assert.notEqual(code, 0, "the file system has an end");
}

for (
  const [what, why] of [
    ["state", /the ledger cannot be written: .*(full|disk)/],
    ["log", /the audit trail cannot be written: .*space/i],
  ] as const
) {
  Deno.test({
    name: `hardships: with a full disk (${what}) nothing is opened that is not written down, the ` +
      "reason is said, and it goes on when there is room (needs root)",
    ignore: !labPossible,
    fn: () => {
      let path = "";
      return bench(
        async ({ lab, controller, broker, hold }) => {
          try {
            await fill(lab, path);
            // What was opened before anybody could know of it is closed again with its program.
            // They are some, since the last block of a file has room left.
            const first = await hold(30);
            await answered(broker, 30);
            if (what === "log") await until("it is known", async () => !await well(controller));
            await first.stop("SIGKILL");
            const opened = ofType(broker, "pinhole.opened").length;
            const load = await hold(200);
            await answered(broker, 230);
            const failed = await broker.waitForEvent((e) => e.event_type === "pinhole.failed");
            assert.match(String(failed["why"]), why);
            assert.equal(ofType(broker, "pinhole.opened").length, opened, "nothing was opened");
            await load.stop("SIGKILL");
            await until(
              "nothing is open",
              async () => (await controller.kernelPinholes()).length === 0,
            );
            Deno.removeSync(`${path}/filler`);
            await until("it is well again", () => well(controller));
            const again = await hold(1);
            await times(broker, "pinhole.opened", opened + 1);
            await again.stop("SIGKILL");
            await until("all are closed", async () => (await controller.pinholes()).length === 0);
            await controller.stop("SIGKILL");
            await controller.restart();
            assert.deepEqual(await controller.kernelPinholes(), [], "ledger and enforcer agree");
          } finally {
            await lab.perimeter.must("umount", ["-l", path]);
          }
        },
        {},
        async (lab) => {
          path = await small(lab, what, what === "state" ? "512k" : "1m");
          return {};
        },
      );
    },
  });
}

async function well(d: DiaperHost): Promise<boolean> {
  return (await d.verb("status")).code === 0;
}

/** Waits until so many requests came to something. */
async function answered(broker: DiaperHost, count: number): Promise<void> {
  await until(
    `${count} answers`,
    () =>
      ofType(broker, "pinhole.opened").length + ofType(broker, "pinhole.failed").length +
          Number(
            ofType(broker, "refusals.suppressed").reduce((n, e) => n + Number(e["count"]), 0),
          ) >=
        count,
  );
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000;
  while (!await holds()) {
    if (Date.now() > end) throw new Error(`in 30 s it did not come to: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

Deno.test({
  name:
    "hardships: a damaged ledger is left for repair, and nothing is opened without it (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async ({ lab, controller, broker, hold }) => {
      const load = await hold(3);
      await times(controller, "pinhole.opened", 3);
      await controller.stop(); // in good order: all is in the one file then
      const file = `${diaperDirectory(lab, lab.perimeter)}/state/ledger.db`;
      const damaged = readFileSync(file);
      damaged.fill(0x5a, 0, 2048);
      writeFileSync(file, damaged);
      await assert.rejects(controller.restart());
      const said = controller.daemon.output().join("\n");
      assert.equal((await controller.daemon.status).code, 1);
      assert.match(
        said,
        /Cannot use ledger .*ledger\.db: file is not a database\n.*next: it was left/s,
      );
      assert.deepEqual(readFileSync(file), damaged, "left as it is");
      assert.equal((await controller.kernelPinholes()).length, 3, "the perimeter stays");
      await load.stop("SIGKILL");
      const more = await hold(1);
      const failed = await broker.waitForEvent((e) => e.event_type === "pinhole.failed", 30_000);
      assert.match(String(failed["why"]), /no controller/);
      assert.equal(ofType(broker, "pinhole.opened").length, 3);
      await more.stop("SIGKILL");
      // Moved away, as the message says: what nobody answers for is closed, and all is well.
      Deno.renameSync(file, `${file}.damaged`);
      await controller.restart();
      await until("what is in no ledger is closed", async () =>
        (await controller.kernelPinholes()).length === 0);
      const again = await hold(1);
      await times(broker, "pinhole.opened", 4);
      await again.stop("SIGKILL");
      await until("all are closed", async () =>
        (await controller.pinholes()).length === 0);
      assert.deepEqual(await controller.kernelPinholes(), []);
    }),
});
