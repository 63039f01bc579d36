import assert from "node:assert/strict";
import { readStatus } from "../../lib/cli/daemon_data.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { healthOf, statusLines } from "../../lib/cli/status.ts";
import { diaper, FakeDaemon, statusReport } from "./fake_daemon.ts";

function problems(changes: Record<string, unknown>, policyChanged?: number): string[] {
  return healthOf(readStatus(statusReport(changes)), policyChanged)
    .map(({ severity, text }) => `${severity}: ${text}`);
}

Deno.test("status: what is not well is said, with what to do", () => {
  assert.deepEqual(problems({}), []);
  assert.deepEqual(problems({ enforcer: { name: "nftables", failed: "no buffer" } }), [
    "failure: nftables does not do what it is told: no buffer",
  ]);
  assert.deepEqual(problems({ audit_failed: "No space left on device" }), [
    "failure: the audit trail cannot be written, nothing is opened: No space left on device",
  ]);
  assert.deepEqual(problems({ pinholes: { open: 899, capacity: 1000 } }), []);
  assert.deepEqual(problems({ pinholes: { open: 900, capacity: 1000 } }), [
    "warning: the perimeter is nearly full: 900 of 1000",
  ]);
  assert.deepEqual(problems({ pinholes: { open: 1000, capacity: 1000 } }), [
    "failure: the perimeter is full: 1000 of 1000",
  ]);
  const sweep = { pinholes: 5, repaired: 2, idle: 0, workMs: 1 };
  assert.match(problems({ sweep, notices: false }).join("\n"), /up to a second late\n.*put back 2/);
  for (const { next } of healthOf(readStatus(statusReport({ notices: false })), undefined)) {
    assert.notEqual(next, "");
  }
});

Deno.test("status: a policy changed after it was loaded is not the one in force", () => {
  const loaded = Date.parse("2030-01-02T03:04:05.678Z");
  assert.deepEqual(problems({}, loaded), []);
  assert.match(problems({}, loaded + 1).join(), /changed after it was loaded/);
  const policy = { file: "/p", rules: 0, loaded_at: "2030-01-02T03:04:05.678Z" };
  assert.match(problems({ policy }).join(), /no rules: nothing is opened/);
});

Deno.test("status: a daemon's words cannot steer the terminal", () => {
  const status = readStatus(
    statusReport({ enforcer: { name: "nft\x1b]0;x\x07", failed: "a\x1b[2Jb" } }),
  );
  const text = statusLines(status, healthOf(status, undefined), Date.now()).join("\n");
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f\x7f]/);
  assert.match(text, /a\\x1b\[2Jb/);
});

Deno.test("status: tells who guards since when, and JSON carries the same", async () => {
  await using daemon = new FakeDaemon(async ({ data, end }) => {
    await data(statusReport());
    await end();
  });
  const plain = await diaper("status", "--config", daemon.config);
  assert.equal(plain.code, EXIT.DONE, plain.stderr);
  assert.match(plain.stdout, /^guarded +since 2030-01-02T03:04:05\.678Z .*process 4712/m);
  assert.match(plain.stdout, /^policy +\/nonexistent\/site\.policy, 3 rules/m);
  assert.match(plain.stdout, /^health +good$/m);
  const { code, stdout } = await diaper("status", "-c", daemon.config, "--json");
  assert.equal(code, EXIT.DONE);
  assert.deepEqual(JSON.parse(stdout), { ...statusReport(), config: daemon.config, health: [] });
});

Deno.test("status: a failure is exit code 1, no daemon 4, a bad configuration 3", async () => {
  await using failing = new FakeDaemon(async ({ data, end }) => {
    await data(statusReport({ audit_failed: "disk full" }));
    await end();
  });
  const failed = await diaper("status", "--config", failing.config);
  assert.equal(failed.code, EXIT.FAILED);
  assert.match(failed.stdout, /failure: .*disk full\n +next: make room/);
  await using nobody = new FakeDaemon();
  const absent = await diaper("status", "--config", nobody.config);
  assert.equal(absent.code, EXIT.UNREACHABLE);
  assert.equal(absent.stdout, "");
  assert.match(absent.stderr, /^diaper: diaper is not running.*\n {2}next: sudo diaper up/);
  Deno.writeTextFileSync(nobody.config, "run_dri: /x\n");
  const invalid = await diaper("status", "--config", nobody.config);
  assert.equal(invalid.code, EXIT.INVALID);
  assert.match(invalid.stderr, /diaper\.yaml:1:1: run_dri: unknown key/);
});

Deno.test("status: a daemon that says something else is a clear error", async () => {
  await using daemon = new FakeDaemon(async ({ data, end }) => {
    await data({ ...statusReport(), pid: "many" });
    await end();
  });
  const { code, stderr } = await diaper("status", "--config", daemon.config);
  assert.equal(code, EXIT.FAILED);
  assert.match(stderr, /cannot understand the daemon: the status: pid: .*expected number/);
});
