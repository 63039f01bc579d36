import assert from "node:assert/strict";
import { loadOnce, PORT } from "../lab/bind_load.ts";
import { DIAPER_BINARY, DiaperHost } from "../lab/diaper.ts";
import { Lab, labPossible } from "../lab/lab.ts";

interface Bench {
  readonly lab: Lab;
  readonly diaper: DiaperHost;
  readonly program: string;
  readonly socket: string;
}

async function bench(
  work: (b: Bench) => Promise<void>,
  perimeter: readonly string[] = [],
): Promise<void> {
  await using lab = await Lab.create({
    outside: [{ name: "out", addresses: ["198.51.100.7"] }],
    inside: [{ name: "in", addresses: ["192.0.2.1"] }],
  });
  const host = lab.host("in");
  const program = lab.path("hostile_agent");
  const source = new URL("../programs/hostile_agent.c", import.meta.url).pathname;
  await host.must("cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source]);
  const diaper = await DiaperHost.up(lab, host, {
    policy: ["allow bench root tcp 198.51.100.7 * 192.0.2.1 1024-65535"],
    openPorts: [`tcp/${PORT}`],
    perimeter,
  });
  await work({ lab, diaper, program, socket: `${lab.path("diaper-in")}/run/agent.sock` });
  assert.equal((await diaper.stop()).code, 0);
}

/** A well-behaved server still gets its pinholes. */
async function stillServes({ lab, diaper }: Bench): Promise<void> {
  const opened = diaper.events().filter((e) => e.event_type === "pinhole.opened").length;
  await loadOnce(lab, lab.host("out"), lab.host("in"), diaper, "latency", 10);
  await diaper.waitForEvent(() =>
    diaper.events().filter((e) => e.event_type === "pinhole.opened").length === opened + 10
  );
}

const nobody = (program: string, ...args: string[]): [string, string[]] => [
  "setpriv",
  ["--reuid=65534", "--regid=65534", "--clear-groups", program, ...args],
];

Deno.test({
  name: "scenario: 10,000 connections of one account leave room for the others (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async (b) => {
      const flood = b.lab.host("in").spawn(...nobody(b.program, b.socket, "connect", "10000"));
      await flood.waitForLine(/^10000 connected$/, 60_000);
      await b.diaper.waitForEvent((e) => e.event_type === "channel.limit");
      await stillServes(b);
      const status = JSON.parse((await b.diaper.verb("status", "--json")).stdout);
      assert.ok(status.channels <= 1024 + 10, `${status.channels} channels`);
      await flood.closeInput();
      await flood.status;
      await stillServes(b);
    }),
});

Deno.test({
  name: "scenario: 10,000 connections of root are taken, and others are served on (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async (b) => {
      const flood = b.lab.host("in").spawn(b.program, [b.socket, "connect", "10000"]);
      await flood.waitForLine(/^10000 connected$/, 60_000);
      await stillServes(b);
      // Nobody of them says HELLO: they are sent away, and that is told.
      await b.diaper.waitForEvent(
        (e) => e.event_type === "channel.refused" && /no HELLO/.test(String(e["why"])),
        30_000,
      );
      await flood.closeInput();
      await flood.status;
      await stillServes(b);
    }),
});

Deno.test({
  name: "scenario: noise on 2,000 connections is refused and told, within bounds (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async (b) => {
      await b.lab.host("in").must(...nobody(b.program, b.socket, "garbage", "2000"));
      await stillServes(b);
      const refused = b.diaper.events().filter((e) => e.event_type === "channel.refused");
      assert.ok(refused.length > 0);
      assert.ok(refused.length <= 500, "the trail is not flooded");
      assert.ok(refused.every((e) => e["uid"] === 65534));
      await b.diaper.waitForEvent((e) => e.event_type === "refusals.suppressed");
    }),
});

Deno.test({
  name: "scenario: an account without a name is refused with the reason (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async (b) => {
      const said = await b.lab.host("in").must("setpriv", [
        ...["--reuid=54321", "--regid=54321", "--clear-groups"],
        ...[b.program, b.socket, "hello"],
      ]);
      assert.equal(said.trim(), "verdict 1: uid 54321 has no account on this host");
      await b.diaper.waitForEvent((e) => e.event_type === "channel.refused" && e["uid"] === 54321);
      await stillServes(b);
    }),
});

Deno.test({
  name: "scenario: somebody flushes all rules: the perimeter is put up again with its pinholes " +
    "(needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async (b) => {
      const opened = await b.diaper.verb(
        "pinhole open",
        ...["--proto", "tcp", "--source", "198.51.100.7", "--destination", "192.0.2.1:50000"],
      );
      assert.equal(opened.code, 0, opened.stderr);
      await b.lab.host("in").must("nft", ["flush", "ruleset"]);
      await b.diaper.waitForEvent((e) => e.event_type === "enforcer.damaged");
      const outside = b.lab.host("out");
      await stillServes(b);
      assert.equal((await b.diaper.kernelPinholes()).length, 1);
      assert.equal(await outside.tryConnect("192.0.2.1", 50001), "unanswered");
      assert.equal(await outside.tryConnect("192.0.2.1", 50000), "refused", "nobody listens there");
    }),
});

Deno.test({
  name: "scenario: a policy that is loaded anew closes what it denies, and a bad one changes " +
    "nothing (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async (b) => {
      const { diaper } = b;
      const open = (port: number) =>
        diaper.verb(
          "pinhole open",
          ...["--proto", "tcp", "--source", "198.51.100.7", "--destination", `192.0.2.1:${port}`],
        );
      assert.equal((await open(50000)).code, 0);
      assert.equal((await open(50001)).code, 0);
      const rules = Deno.readTextFileSync(diaper.policy);
      Deno.writeTextFileSync(diaper.policy, rules + "allow everybody\n");
      diaper.daemon.kill("SIGHUP");
      await diaper.daemon.waitForLine(/policy not loaded/);
      assert.equal((await diaper.pinholes()).length, 2);
      Deno.writeTextFileSync(diaper.policy, rules + "deny * * tcp * * * 50001\n");
      diaper.daemon.kill("SIGHUP");
      await diaper.waitForEvent((e) =>
        e.event_type === "pinhole.closed" && e["destination_port"] === 50001
      );
      assert.deepEqual((await diaper.pinholes()).map((p) => p["destination_port"]), [50000]);
      const denied = await open(50001);
      assert.equal(denied.code, 5);
      assert.match(denied.stderr, /site\.policy:2/);
    }),
});

Deno.test({
  name: "scenario: a full perimeter says so, opens nothing and goes on (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async ({ lab, diaper }) => {
      const open = (port: number) =>
        diaper.verb(
          "pinhole open",
          ...["--proto", "tcp", "--source", "198.51.100.7", "--destination", `192.0.2.1:${port}`],
        );
      assert.equal((await open(50000)).code, 0);
      assert.equal((await open(50001)).code, 0);
      const full = await open(50002);
      assert.equal(full.code, 1);
      assert.match(full.stderr, /perimeter is full: 2 pinholes/);
      // A program that asks goes on without a pinhole.
      await loadOnce(lab, lab.host("out"), lab.host("in"), diaper, "latency", 3);
      assert.equal((await diaper.kernelPinholes()).length, 2);
      const id = String((await diaper.pinholes())[0]?.["id"]);
      assert.equal((await diaper.verb("pinhole close", id)).code, 0);
      assert.equal((await open(50002)).code, 0);
    }, ["capacity: 2", "wait: 0s"]),
});

Deno.test({
  name: "scenario: without the right to set the filter, up says what is missing (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async ({ lab, diaper }) => {
      await diaper.stop();
      const { code, stderr } = await lab.host("in").run("setpriv", [
        ...["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"],
        ...[DIAPER_BINARY, "up", "--config", diaper.config],
      ]);
      assert.equal(code, 1);
      assert.match(stderr, /net_admin|not permitted|permission/i);
      assert.match(stderr, /next: /);
      await diaper.restart();
    }),
});
