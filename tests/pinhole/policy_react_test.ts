import assert from "node:assert/strict";
import { type IpAddress, parseIp } from "../../lib/net/ip.ts";
import { parsePolicy, policyHosts, reactionTo, type ReactRule } from "../../lib/pinhole/policy.ts";

function address(text: string): IpAddress {
  const parsed = parseIp(text);
  assert.ok(parsed !== undefined);
  return parsed;
}

function rules(text: string): readonly ReactRule[] {
  const { reactions, problems } = parsePolicy(text, "site.policy");
  assert.deepEqual(problems, []);
  return reactions;
}

const WORM = {
  scanner: "codered",
  signature: "connections to many addresses that no name was translated to",
  severity: 1,
  addresses: [address("192.0.2.10"), address("198.18.0.7")],
};

Deno.test("react lines stand among rules and are none", () => {
  const { rules: found, reactions } = parsePolicy(
    "allow * * tcp * * 192.0.2.0/24 *\nreact codered 192.0.2.0/24 for=1h30m id=worm # a comment\n",
    "site.policy",
  );
  assert.equal(found.length, 1);
  const [rule] = reactions;
  assert.deepEqual([rule?.lifetime, rule?.severity, rule?.dryRun, rule?.line], [5400, 3, false, 2]);
  assert.deepEqual(policyHosts("react * host:db.example for=1h"), ["db.example"]);
});

Deno.test("a finding meets the first line that is about it, for the host that the line is about", () => {
  const both = rules(
    "react email * for=1h\nreact codered,synbomb 198.18.0.0/15 for=1h\nreact * * for=1h",
  );
  assert.deepEqual(
    [reactionTo(WORM, both)?.rule.line, reactionTo(WORM, both)?.host.text],
    [2, "198.18.0.7"],
  );
  assert.equal(reactionTo({ ...WORM, scanner: "email" }, both)?.host.text, "192.0.2.10");
});

Deno.test("severity and signature narrow a line", () => {
  const line = rules('react codered * for=1h severity=1 signature="no name"');
  assert.equal(reactionTo(WORM, line)?.rule.line, 1);
  assert.equal(reactionTo({ ...WORM, severity: 2 }, line), undefined);
  assert.equal(reactionTo({ ...WORM, signature: "zone transfer" }, line), undefined);
});

Deno.test("what is asked of the NI", () => {
  const atNi = (keys: string) => rules(`react * * for=1h ${keys}`)[0]?.atNi;
  assert.equal(atNi(""), undefined);
  assert.deepEqual(atNi("at-ni=block"), { verb: "block" });
  assert.deepEqual(atNi("at-ni=slow"), { verb: "slow", connections: 1, bytes: undefined });
  assert.deepEqual(atNi("at-ni=slow bytes=9000"), {
    verb: "slow",
    connections: undefined,
    bytes: 9000,
  });
  assert.deepEqual(atNi("at-ni=filter to=192.0.2.0/24,::1"), {
    verb: "filter",
    destinations: ["192.0.2.0/24", "::1"],
  });
});

Deno.test("what is wrong with a react line is told with its place", () => {
  const said = (text: string) =>
    parsePolicy(text, "p").problems.map(({ column, message }) => `${column} ${message}`);
  assert.match(said("react codered for=1h")[0] ?? "", /^15 A react line has 2 fields .* has 1/);
  assert.match(said("react codered *")[0] ?? "", /^1 A react line needs for=TIME/);
  assert.match(said("react codered * for=never")[0] ?? "", /^21 /);
  assert.match(said("react codered * for=1h fro=2h")[0] ?? "", /Unknown key "fro"/);
  assert.match(said("react codered * for=1h for=2h")[0] ?? "", /given twice/);
  assert.match(said("react codered * for=1h severity=4")[0] ?? "", /Severity is 1/);
  assert.match(said("react codered * for=1h dry-run=maybe")[0] ?? "", /yes or no/);
  assert.match(said("react codered * for=1h at-ni=stop")[0] ?? "", /^30 .*slow, filter or block/);
  assert.match(said("react codered * for=1h connections=2")[0] ?? "", /go with at-ni=slow/);
  assert.match(said("react codered * for=1h at-ni=filter")[0] ?? "", /give both or none/);
  assert.match(said("react codered * for=1h at-ni=block to=::/0")[0] ?? "", /give both or none/);
  assert.match(said("react codered * for=1h at-ni=filter to=a")[0] ?? "", /Bad prefix "a"/);
  assert.match(said("react codered * for=1h at-ni=slow bytes=-1")[0] ?? "", /Bad number/);
  assert.match(said("react codered 1.2.3.400 for=1h")[0] ?? "", /^15 /);
});
