import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Check } from "../../lib/cli/doctor_check.ts";
import { directoryCheck, policyCheck } from "../../lib/cli/doctor_files.ts";
import { conflicts } from "../../lib/cli/doctor_network.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { missingCapabilities } from "../../lib/sys/capabilities.ts";
import { mountOf, parseMounts } from "../../lib/sys/mounts.ts";
import { diaper, FakeDaemon, statusReport } from "./fake_daemon.ts";

const isRoot = Deno.uid() === 0;
const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));

function ruleset(...objects: unknown[]): string {
  return JSON.stringify({ nftables: [{ metainfo: { version: "1.0.6" } }, ...objects] });
}

const TABLE = { family: "ip", table: "filter" };
const INPUT = {
  chain: { ...TABLE, name: "INPUT", type: "filter", hook: "input", prio: 0, policy: "accept" },
};

Deno.test("doctor: finds filters that drop what a pinhole lets in", () => {
  const found = (...objects: unknown[]) => conflicts(ruleset(...objects), "diaper", ["input"]);
  const rule = (chain: string, ...expr: unknown[]) => ({ rule: { ...TABLE, chain, expr } });
  assert.deepEqual(found(), []);
  assert.deepEqual(found(INPUT, rule("INPUT", { accept: null })), []);
  assert.deepEqual(found({ chain: { ...INPUT.chain, policy: "drop" } }), [
    "table ip filter, chain INPUT (input) drops what it does not accept",
  ]);
  const drops = ["table ip filter, chain INPUT (input) has rules that drop"];
  assert.deepEqual(found(INPUT, rule("INPUT", { counter: {} }, { drop: null })), drops);
  assert.deepEqual(found(INPUT, rule("INPUT", { xt: { type: "target", name: "REJECT" } })), drops);
  const nested = rule("far", { vmap: { key: {}, data: { set: [["tcp", { reject: null }]] } } });
  const jumps = [
    rule("INPUT", { jump: { target: "near" } }),
    rule("near", { goto: { target: "far" } }),
  ];
  assert.deepEqual(found(INPUT, ...jumps, rule("far", { goto: { target: "near" } })), []);
  assert.deepEqual(found(INPUT, ...jumps, nested), drops);
  assert.deepEqual(found(nested), [], "a chain that nothing leads to");
});

Deno.test("doctor: our own table, other hooks and address translation do not count", () => {
  const drop = (changes: Record<string, unknown>) => ({
    chain: { ...INPUT.chain, policy: "drop", ...changes },
  });
  const found = (object: unknown, hooks = ["input"]) => conflicts(ruleset(object), "diaper", hooks);
  assert.deepEqual(found(drop({ family: "inet", table: "diaper" })), []);
  assert.equal(found(drop({ family: "ip", table: "diaper" })).length, 1);
  assert.deepEqual(found(drop({ hook: "forward" })), []);
  assert.equal(found(drop({ hook: "forward" }), ["forward"]).length, 1);
  assert.equal(found(drop({ hook: "prerouting" })).length, 1);
  assert.deepEqual(found(drop({ type: "nat" })), []);
  const flowtable = { flowtable: { family: "inet", table: "f", name: "ft" } };
  assert.deepEqual(found(flowtable), []);
  assert.match(found(flowtable, ["forward"]).join(), /flowtable ft .* past all filters/);
});

Deno.test("doctor: reads capabilities and mounts as the kernel writes them", () => {
  const status = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000001002\n";
  assert.deepEqual(
    missingCapabilities(["CAP_NET_ADMIN", "CAP_CHOWN", "CAP_DAC_OVERRIDE"], status),
    ["CAP_CHOWN"],
  );
  assert.deepEqual(missingCapabilities(["CAP_NET_ADMIN"], ""), ["CAP_NET_ADMIN"]);
  const mounts = parseMounts(
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n" +
      "30 22 0:25 / /var rw,noexec shared:2 master:1 - tmpfs tmpfs rw\n" +
      "31 30 0:26 / /var/a\\040b rw - tmpfs tmpfs rw\ngarbage\n",
  );
  assert.deepEqual(mounts.map((m) => m.point), ["/", "/var", "/var/a b"]);
  assert.equal(mountOf("/var/cache/diaper", mounts)?.options.has("noexec"), true);
  assert.equal(mountOf("/variable", mounts)?.point, "/");
  assert.equal(mountOf("/var/a b/c", mounts)?.point, "/var/a b");
});

Deno.test("doctor: a directory that others could change fails (needs root)", {
  ignore: !isRoot,
}, () => {
  const base = Deno.makeTempDirSync({ prefix: "diaper-doctor-" });
  try {
    const result = (path: string) => directoryCheck("x", path).result;
    const path = `${base}/d`;
    assert.equal(result(path), "pass");
    Deno.mkdirSync(path, { mode: 0o700 });
    assert.equal(result(path), "pass");
    Deno.chmodSync(path, 0o770);
    assert.match(directoryCheck("x", path).mend ?? "", /chmod go-w/);
    Deno.chmodSync(path, 0o755);
    Deno.chownSync(path, 65534, 65534);
    assert.equal(result(path), "fail");
    Deno.mkdirSync(`${path}/inside`);
    assert.match(directoryCheck("x", `${path}/inside`).text, /others could replace it/);
    Deno.symlinkSync("/", `${base}/link`);
    Deno.writeTextFileSync(`${base}/file`, "");
    assert.deepEqual([`${base}/link`, `${base}/file`, `${base}/file/x`].map(result), [
      "fail",
      "fail",
      "fail",
    ]);
  } finally {
    Deno.removeSync(base, { recursive: true });
  }
});

Deno.test("doctor: a policy that cannot be used fails, one without rules is a warning", async () => {
  const file = Deno.makeTempFileSync({ prefix: "diaper-doctor-" });
  try {
    const check = async (text: string) => {
      Deno.writeTextFileSync(file, text);
      return await policyCheck(file);
    };
    assert.equal((await check("allow ftp * tcp * * 192.0.2.1 1024-65535\n")).result, "pass");
    assert.equal((await check("# nothing\n")).result, "warn");
    const bad = await check("allow ftp * tcp * * 192.0.2.1 99999\n");
    assert.equal(bad.result, "fail");
    assert.match(bad.text, /1:31: .*99999/);
    assert.equal((await policyCheck(`${file}-absent`)).result, "fail");
  } finally {
    Deno.removeSync(file);
  }
});

Deno.test("doctor: reports each check with what to do, and exit code 1 when one fails", async () => {
  await using daemon = new FakeDaemon(async ({ data, end }) => {
    await data(statusReport());
    await end();
  });
  Deno.writeTextFileSync(`${daemon.directory}/site.policy`, "nonsense\n");
  const { code, stdout, stderr } = await diaper("doctor", "--json", "--config", daemon.config);
  assert.equal(code, EXIT.FAILED, stderr);
  const report = JSON.parse(stdout) as { ok: boolean; checks: Check[] };
  assert.equal(report.ok, false);
  const of = (name: string) => report.checks.find((c) => c.name === name);
  assert.equal(new Set(report.checks.map((c) => c.name)).size, report.checks.length);
  for (const { name, result, text, mend } of report.checks) {
    assert.match(result, /^(pass|warn|fail)$/);
    assert.notEqual(text, "", name);
    assert.equal(mend === null, result === "pass", name);
  }
  assert.equal(of("configuration")?.result, "pass");
  assert.equal(of("policy")?.result, "fail");
  assert.equal(of("daemon")?.result, "pass");
  assert.equal(of("unix-seqpacket")?.result, "pass");
  const people = await diaper("doctor", "--config", daemon.config);
  assert.match(people.stdout, /^fail {2}policy .*\n {6}next: diaper policy check /m);
  assert.match(people.stdout, /\d+ pass, \d+ warn, \d+ fail\n$/);
});

Deno.test("doctor: a configuration that is not valid fails, and the rest is looked at all the same", async () => {
  await using daemon = new FakeDaemon();
  Deno.writeTextFileSync(daemon.config, "perimeter:\n  hooks: [output]\n");
  const { code, stdout } = await diaper("doctor", "--json", "--config", daemon.config);
  assert.equal(code, EXIT.FAILED);
  const [first, ...others] = (JSON.parse(stdout) as { checks: Check[] }).checks;
  assert.match(first?.text ?? "", /diaper\.yaml:2:11: perimeter\.hooks/);
  assert(others.length > 10);
});

Deno.test("doctor: changes nothing, and tells of another filter (needs root)", {
  ignore: !isRoot,
}, async () => {
  await using daemon = new FakeDaemon(undefined, ["perimeter: {outside: [nosuch0]}"]);
  // A namespace of its own, which ends with the shell.
  const script = `nft add table inet fw
    nft 'add chain inet fw in { type filter hook input priority 0; policy drop; }'
    nft list ruleset > "$1/before"
    "$2" run --allow-all "$3" doctor --json --config "$4"
    nft list ruleset > "$1/after"`;
  const args = [daemon.directory, Deno.execPath(), MAIN, daemon.config];
  const { stdout, stderr } = await new Deno.Command("unshare", {
    args: ["--net", "sh", "-c", script, "sh", ...args],
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert.notEqual(text, "", new TextDecoder().decode(stderr));
  const { checks } = JSON.parse(text) as { checks: Check[] };
  const found = checks.find((c) => c.name === "other-filters");
  assert.equal(found?.result, "warn");
  assert.match(found?.text ?? "", /table inet fw, chain in \(input\) drops/);
  assert.match(checks.find((c) => c.name === "interfaces")?.text ?? "", /no interface nosuch0/);
  assert.equal(checks.find((c) => c.name === "nf_tables")?.result, "pass");
  const [before, after] = ["before", "after"].map((n) =>
    Deno.readTextFileSync(`${daemon.directory}/${n}`)
  );
  assert.match(before ?? "", /table inet fw/);
  assert.equal(after, before);
});
