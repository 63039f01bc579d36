/**
 * Whatever is said over a real SSH channel, of the controller's own server and of a stock sshd: it is refused,
 * and others are served all the while.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Lab, labPossible } from "../lab/lab.ts";
import { hasSshd, RemoteSite, SSH_PORT } from "../lab/remote.ts";

const SOURCE = "198.51.100.7";
const HOST1 = "192.0.2.1";
const HOST2 = "192.0.2.2";
const PROGRAM = fileURLToPath(new URL("ssh_fuzz_program.ts", import.meta.url));
/** A process is started for each session of a stock sshd. */
const RUNS = { embedded: 100, sshd: 8 };
const ADDRESSES = { embedded: 24, sshd: 0 };

for (const server of ["embedded", "sshd"] as const) {
  Deno.test({
    name: `fuzz (${server}): each message that is wrong ends its session, and the next broker is ` +
      "served (needs root)",
    ignore: !labPossible || (server === "sshd" && !hasSshd),
    fn: async () => {
      await using lab = await Lab.create({
        outside: [{ name: "out", addresses: [SOURCE] }],
        inside: [{ name: "one", addresses: [HOST1] }, { name: "two", addresses: [HOST2] }],
      });
      const site = await RemoteSite.start(lab, {
        server,
        enforcer: "debug",
        policy: [`allow host1 * * * * ${HOST1} *`, `allow host2 * * * * ${HOST2} *`],
        delegates: ["host1", "host2"],
      }, []);
      const one = lab.host("one");
      const others = Array.from({ length: ADDRESSES[server] }, (_, i) => `192.0.2.${64 + i}`);
      for (const address of others) {
        await one.must("ip", ["addr", "add", `${address}/32`, "dev", "eth0"]);
      }
      if (others.length > 0) {
        await lab.perimeter.must("ip", ["route", "add", "192.0.2.64/27", "dev", "one"]);
      }
      const key = lab.path("fuzz-key");
      writeFileSync(key, site.key("host1"), { mode: 0o600 });
      const broker = await site.broker(lab.host("two"), "host2");
      const fuzz = one.spawn(Deno.execPath(), [
        ...["run", "--no-check", "--cached-only", "-A", PROGRAM, site.controller.host.address(4)],
        ...[String(SSH_PORT), site.user, key, SOURCE, HOST1, String(RUNS[server]), ...others],
      ]);
      const [line] = await fuzz.waitForLine(/^\{"said".*/, 120_000);
      const { said, wrong } = JSON.parse(line) as { said: number; wrong: string[] };
      assert.deepEqual(wrong, []);
      assert.equal(said, RUNS[server] + ADDRESSES[server]);
      assert.equal((await fuzz.status).code, 0);
      // The broker beside it had one connection, from before to after.
      const events = broker.events().map((e) => e.event_type);
      assert.equal(events.filter((type) => type === "controller.connected").length, 1);
      assert.ok(!events.includes("controller.lost"));
      const told = site.controller.events().map((e) => e.event_type);
      assert.ok(!told.includes("pinhole.opened"), "nothing was opened");
      assert.ok(told.includes("session.refused"));
      const status = await site.controller.verb("status");
      assert.equal(status.code, 0, status.stdout);
      assert.match(status.stdout, /host2\//);
    },
  });
}
