/**
 * Joining a host, as an administrator does it: two commands at the host, one at the controller.
 */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { fingerprint } from "../../lib/sys/ssh.ts";
import { DIAPER_BINARY } from "../lab/diaper.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { RemoteSite } from "../lab/remote.ts";

Deno.test({
  name:
    "enroll: a host joins by keygen, authorize and enroll, and no stranger is trusted (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create({
      outside: [],
      inside: [{ name: "in", addresses: ["192.0.2.1"] }],
    });
    const site = await RemoteSite.start(lab, {
      server: "embedded",
      enforcer: "debug",
      policy: ["allow newhost * * * * 192.0.2.1 *"],
      delegates: ["other"],
    }, []);
    const base = lab.path("joining");
    mkdirSync(base, { mode: 0o700 });
    const config = `${base}/diaper.yaml`;
    writeFileSync(
      config,
      [
        "remote:",
        `  controllers: ["${site.address}"]`,
        "  delegate: newhost",
        `  keys: ${base}/keys`,
        `  known_controllers: ${base}/known_controllers`,
        "",
      ].join("\n"),
    );
    const host = lab.host("in");
    const verb = (...words: string[]) => host.run(DIAPER_BINARY, [...words, "--config", config]);

    const made = await verb("keygen");
    assert.equal(made.code, 0, made.stderr);
    assert.match(made.stdout, /^ssh-ed25519 \S+ newhost\n$/);
    assert.equal(statSync(`${base}/keys/newhost`).mode & 0o777, 0o600);
    assert.equal((await verb("keygen")).code, 1, "a key is not replaced unasked");

    const stranger = await verb("enroll");
    assert.equal(stranger.code, 5);
    const shown = fingerprint(site.hostKey);
    assert.ok(stranger.stderr.includes(shown), stranger.stderr);
    const wrong = await verb("enroll", "--host-key", "SHA256:somethingElse");
    assert.equal(wrong.code, 5, "another key than was named is not trusted");

    const unknown = await verb("enroll", "--host-key", shown);
    assert.equal(unknown.code, 5);
    assert.match(unknown.stderr, /does not know our key/);

    const line = await lab.perimeter.run(DIAPER_BINARY, [
      ...["controller", "authorize", "--from", "192.0.2.0/24", "newhost", made.stdout.trim()],
    ]);
    assert.equal(line.code, 0, line.stderr);
    const file = `${site.controller.config.replace(/[^/]*$/, "")}authorized_keys`;
    writeFileSync(file, readFileSync(file, "utf8") + line.stdout);
    site.controller.daemon.kill("SIGHUP");
    await site.controller.waitForEvent((e) => e.event_type === "policy.loaded");

    const joined = await verb("enroll");
    assert.equal(joined.code, 0, joined.stderr);
    assert.match(joined.stdout, /serves us as newhost/);
  },
});
