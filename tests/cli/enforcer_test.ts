import assert from "node:assert/strict";
import { DRIVERS } from "../../drivers/registry.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { RemoteEnforcer } from "../drivers/remote.ts";
import { open, tuple } from "../drivers/tuples.ts";
import { diaper } from "./fake_daemon.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const lines = (text: string) => text.trim().split("\n").map((line) => JSON.parse(line));

Deno.test("enforcer: list has every driver with what it can do", async () => {
  const { code, stdout, stderr } = await diaper("enforcer", "list", "--json");
  assert.equal(code, 0, stderr);
  const rows = lines(stdout);
  assert.deepEqual(rows.map((row) => row.name), DRIVERS.map((entry) => entry.name));
  const named = (name: string) => rows.find((row) => row.name === name);
  assert.equal(named("nftables").leases, true);
  assert.equal(named("iptables").leases, false);
  assert.equal(named("ipset").source_ports, false);
  assert.match((await diaper("enforcer", "list")).stdout, /^NAME +KIND +ATOMIC/);
});

Deno.test("enforcer: parse prints the contract's fields, in order, one object a line", async () => {
  const file = await Deno.makeTempFile();
  try {
    Deno.writeTextFileSync(
      file,
      `*filter
:DIAPER - [0:0]
[7:420] -A DIAPER -s 192.0.2.1/32 -d 198.51.100.7/32 -p tcp -m tcp --sport 7 --dport 22 -j ACCEPT
[0:0] -A INPUT -j DIAPER
COMMIT
`,
    );
    const { code, stdout } = await diaper("enforcer", "parse", "iptables", file, "--json");
    assert.equal(code, 0);
    assert.equal(
      stdout,
      '{"acl":"DIAPER","seq":1,"action":"permit","proto":"tcp","source":"192.0.2.1/32","source_port":7,' +
        '"destination":"198.51.100.7/32","destination_port":22,"packets":7,"ours":true}\n' +
        '{"acl":"INPUT","seq":1,"action":"DIAPER","proto":null,"source":null,"source_port":null,' +
        '"destination":null,"destination_port":null,"packets":0,"ours":false}\n',
    );
    const ours = await diaper("enforcer", "parse", "iptables", file, "--ours", "--json");
    assert.equal(lines(ours.stdout).length, 1);
    assert.match((await diaper("enforcer", "parse", "iptables", file)).stdout, /DIAPER +1 +permit/);
  } finally {
    Deno.removeSync(file);
  }
});

Deno.test("enforcer: what cannot be is said, with the next step", async () => {
  const unknown = await diaper("enforcer", "parse", "windows", "/dev/null");
  assert.deepEqual([unknown.code, unknown.stdout], [2, ""]);
  assert.match(unknown.stderr, /nftables/);
  const missing = await diaper("enforcer", "parse", "ipset", "/nonexistent");
  assert.deepEqual([missing.code, missing.stdout], [1, ""]);
  assert.match(missing.stderr, /nonexistent/);
  assert.equal((await diaper("enforcer", "parse", "debug", "/dev/null")).code, 2);
  const nothing = await diaper("enforcer", "parse", "ipset", "/dev/null", "--json");
  assert.deepEqual([nothing.code, nothing.stdout], [0, ""]);
});

Deno.test({
  name: "enforcer: show tells what is held and makes nothing (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create({
      outside: [],
      inside: [{ name: "box", addresses: ["192.0.2.10"] }],
    });
    const host = lab.host("box");
    const config = await Deno.makeTempFile({ suffix: ".yaml" });
    try {
      Deno.writeTextFileSync(config, "enforcer:\n  capacity: 100\n");
      const show = async (name: string) => {
        const args = ["run", "--allow-all", MAIN, "enforcer", "show", name, "--config", config];
        return (await host.must(Deno.execPath(), [...args, "--json"])).trim();
      };
      for (const name of ["nftables", "iptables", "ipset"]) {
        assert.equal(await show(name), "", name);
        const driver = await RemoteEnforcer.startDriver(host, name, { capacity: 100 });
        await driver.connect();
        const lease = driver.capabilities.leases ? 600 : 0;
        await driver.apply([open(tuple("udp", "2001:db8::1", 0, "2001:db8::2", 53), lease)]);
        const [entry, ...others] = lines(await show(name));
        assert.deepEqual(others, []);
        const { expires, ...fields } = entry;
        assert.deepEqual(fields, {
          proto: "udp",
          source: "2001:db8::1",
          source_port: null,
          destination: "2001:db8::2",
          destination_port: 53,
          packets: 0,
          bytes: 0,
        });
        assert.equal(expires === null, lease === 0);
        await driver.remove();
        await driver.program.stop();
      }
      const none = await host.must("sh", [
        "-c",
        "nft list ruleset | grep -i diaper; ipset list -n; true",
      ]);
      assert.equal(none, "");
      Deno.writeTextFileSync(config, "enforcer:\n  capacity: none\n");
      const args = ["run", "--allow-all", MAIN, "enforcer", "show", "ipset", "--config", config];
      const wrong = await host.run(Deno.execPath(), args);
      assert.equal(wrong.code, 3);
      assert.match(wrong.stderr, /\.yaml:2:13: enforcer\.capacity: /);
      const check = await host.run(Deno.execPath(), [
        ...["run", "--allow-all", MAIN, "controller", "--check", "--enforcer", "debug"],
        ...["--config", config],
      ]);
      assert.equal(check.code, 3);
      assert.match(check.stderr, /\.yaml:2:13: enforcer\.capacity: /);
    } finally {
      Deno.removeSync(config);
    }
  },
});
