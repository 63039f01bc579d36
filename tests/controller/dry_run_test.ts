import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createDryRun } from "../../drivers/dry_run.ts";
import { createIpset } from "../../drivers/ipset.ts";
import { createIptables } from "../../drivers/iptables.ts";
import { authorizedKeyLine } from "../../lib/controller/authorized_keys.ts";
import { newKeyPair } from "../../lib/sys/ssh.ts";
import { close, open, tuple } from "../drivers/tuples.ts";
import { diaperDirectory, DiaperHost } from "../lab/diaper.ts";
import { Lab, labPossible } from "../lab/lab.ts";

const hole = (port: number, sourcePort = 0) =>
  tuple("tcp", "198.51.100.1", sourcePort, "192.0.2.10", port);

Deno.test("dry run: what would be sent is told, in order, and counts as done", async () => {
  const said: string[] = [];
  const dry = createDryRun(createIptables({ capacity: 2 }), {
    check: false,
    say: (text) => said.push(text),
  });
  await dry.connect();
  const results = await dry.apply([open(hole(5000)), open(hole(5001)), open(hole(5002))]);
  assert.deepEqual(results.map((r) => r.ok || r.reason), [true, true, "full"]);
  await dry.apply([close(hole(5000))]);
  assert.deepEqual((await dry.list()).map((e) => e.tuple.destinationPort), [5001]);
  assert.match(said[0] ?? "", /^# open 1: tcp 198\.51\.100\.1 > 192\.0\.2\.10:5000\n/);
  assert.match(said[0] ?? "", /\n-A DIAPER-T13 -s 198\.51\.100\.1\/32 .* --dport 5000 /);
  assert.match(said[1] ?? "", /\n-D DIAPER-T13 -s 198\.51\.100\.1\/32 .* --dport 5000 /);
  const set = createDryRun(createIpset(), { check: false, say: () => {} });
  await set.connect();
  const [any, ported] = await set.apply([open(hole(5000)), open(hole(5000, 7))]);
  assert.deepEqual([any?.ok, ported?.ok === false && ported.reason], [true, "refused"]);
});

Deno.test({
  name: "dry run: a controller serves, and its enforcer and ledger stay as they are (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create({
      outside: [],
      inside: [{ name: "box", addresses: ["192.0.2.10"] }],
    });
    const host = lab.host("box");
    const base = diaperDirectory(lab, host);
    writeFileSync(`${base}/host_key`, newKeyPair("controller").privateKey, { mode: 0o600 });
    const line = authorizedKeyLine("b", newKeyPair("b").publicKey, "/bin/false", []);
    writeFileSync(`${base}/authorized_keys`, `${line}\n`);
    writeFileSync(`${base}/site.policy`, "allow operator * tcp * * * *\n");
    for (const name of ["nftables", "iptables"]) {
      const diaper = await DiaperHost.role(
        lab,
        host,
        ["controller", "--enforcer", name, "--dry-run"],
        [
          "controller:",
          '  listen: ["192.0.2.10:2222"]',
          `  host_key: ${base}/host_key`,
          `  authorized_keys: ${base}/authorized_keys`,
        ],
      );
      const ask = ["--proto", "tcp", "--source", "198.51.100.1", "--destination"];
      const opened = await diaper.verb("pinhole open", ...ask, "192.0.2.10:5000", "--json");
      assert.equal(opened.code, 0, opened.stderr);
      const { id } = JSON.parse(opened.stdout);
      assert.equal((await diaper.verb("pinhole close", String(id))).code, 0);
      await diaper.daemon.waitForLine(new RegExp(`^# close ${id}: `));
      const printed = diaper.daemon.output("stdout").join("\n");
      const wanted = name === "nftables"
        ? /\nadd element inet diaper ph4 \{ tcp \. 198\.51\.100\.1 \. 192\.0\.2\.10 \. 5000 /
        : /\n-A DIAPER-T13 -s 198\.51\.100\.1\/32 -d 192\.0\.2\.10\/32 .*"diaper:ph-\d+" -j ACCEPT/;
      assert.match(printed, wanted);
      assert.ok(!printed.includes("would refuse"), printed);
      await diaper.daemon.stop("SIGTERM");
      const tables = await host.must("sh", ["-c", "nft list ruleset; iptables-legacy-save"]);
      assert.ok(!/diaper/i.test(tables), tables);
    }
  },
});
