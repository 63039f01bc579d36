import assert from "node:assert/strict";
import { denialLines, Denials, denialsFile } from "../../lib/controller/denials.ts";
import { type IpAddress, parseIp } from "../../lib/net/ip.ts";
import { readPolicy } from "../../lib/controller/authorization.ts";
import { IDLE_STATE, parsePolicy } from "../../lib/pinhole/policy.ts";

const NOW = Date.parse("2026-01-01T00:00:00Z");
const HOST = parseIp("192.0.2.10") as IpAddress;

async function inDirectory(run: (file: string) => void): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    run(denialsFile(directory));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("denials are deny rules that end, whatever the reason says", async () => {
  await inDirectory((file) => {
    assert.equal(denialLines(file), "");
    const denials = new Denials(file, NOW);
    const why = 'worm" until=2999-01-01\nallow * * * * * * *';
    denials.add({ host: HOST, until: NOW + 60_000, id: "react-3", why }, NOW);
    const { rules, problems } = parsePolicy(denialLines(file), file);
    assert.deepEqual(problems, []);
    assert.equal(rules.length, 1);
    const [rule] = rules;
    assert.deepEqual(
      [rule?.effect, rule?.keys.until, rule?.keys.id],
      ["deny", NOW + 60_000, "react-3:192.0.2.10"],
    );
    assert.equal((Deno.statSync(file).mode as number) & 0o777, 0o600);
  });
});

Deno.test("denials outlive a restart, are replaced, taken back, and forgotten when they are over", async () => {
  await inDirectory((file) => {
    const first = new Denials(file, NOW);
    first.add({ host: HOST, until: NOW + 1000, id: "order", why: "a" }, NOW);
    first.add({ host: HOST, until: NOW + 60_000, id: "order", why: "b" }, NOW);
    const six = parseIp("2001:db8::1") as IpAddress;
    first.add({ host: six, until: NOW + 500, id: "order", why: "c" }, NOW);
    const second = new Denials(file, NOW + 600);
    assert.equal(second.until(HOST), NOW + 60_000);
    assert.equal(second.until(six), undefined);
    assert.equal(second.remove("192.0.2.10", NOW + 600), true);
    assert.equal(second.remove("192.0.2.10", NOW + 600), false);
    assert.equal(denialLines(file), "");
  });
});

Deno.test("denials of several hosts by one rule stand beside the site's rules, and say why", async () => {
  await inDirectory((file) => {
    const denials = new Denials(file, NOW);
    const until = Date.now() + 600_000;
    const id = `react-${"x".repeat(64)}`;
    for (const host of ["192.0.2.10", "192.0.2.11", "2001:db8:1:2:3:4:5:6"]) {
      denials.add({ host: parseIp(host) as IpAddress, until, id, why: `codered: ${host}` }, NOW);
    }
    const policy = readPolicy({
      file: "site.policy",
      text: `allow * * tcp * * * * id=${id.slice(0, 64)}`,
      hosts: {},
      denials: { file, text: denialLines(file) },
    });
    const decide = (destination: string) =>
      policy.decide({
        ...{ delegate: "d", user: "u", protocol: "tcp", source: HOST, sourcePort: 0 },
        ...{ destination: parseIp(destination) as IpAddress, destinationPort: 50_000 },
        at: Date.now(),
      }, IDLE_STATE);
    assert.equal(decide("192.0.2.12").permitted, true);
    for (const [line, host] of ["192.0.2.10", "192.0.2.11"].entries()) {
      const { permitted, why } = decide(host);
      assert.equal(permitted, false);
      assert.match(why, new RegExp(`^denied by ${file}:${line + 1} .*: codered: ${host}$`));
    }
  });
});
