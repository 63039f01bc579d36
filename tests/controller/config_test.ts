import assert from "node:assert/strict";
import fc from "fast-check";
import { ConfigError } from "../../lib/config/yaml.ts";
import { parseConfig } from "../../lib/controller/config.ts";

function problems(text: string): string[] {
  try {
    parseConfig(text, "d.yaml");
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems.map((p) => `${p.file}:${p.line}:${p.column}: ${p.message}`);
  }
  return [];
}

Deno.test("parseConfig() fills in defaults, also for an empty file", () => {
  const config = parseConfig("", "d.yaml");
  assert.equal(config.run_dir, "/run/diaper");
  assert.deepEqual(config.perimeter.hooks, ["input"]);
  assert.equal(config.perimeter.lease, 3600);
  assert.equal(config.broker.fail_bind, false);
});

Deno.test("parseConfig() reads what an administrator writes", () => {
  const config = parseConfig(
    `policy: /etc/site.policy
broker:
  delegates:
    ftpd: [ftp, proftpd]
perimeter:
  hooks: [input, forward]
  outside: [eth0]
  open_ports: [tcp/21, udp/69]
  lease: 30m
`,
    "d.yaml",
  );
  assert.equal(config.policy, "/etc/site.policy");
  assert.deepEqual(config.perimeter.open_ports, [
    { protocol: "tcp", port: 21 },
    { protocol: "udp", port: 69 },
  ]);
  assert.equal(config.perimeter.lease, 1800);
  assert.deepEqual(config.broker.delegates, { ftpd: ["ftp", "proftpd"] });
});

Deno.test("parseConfig() names the place of each problem", () => {
  assert.deepEqual(problems("perimeter:\n  open_ports: [tcp/21, tcp/99999]\n  lease: soon\n"), [
    "d.yaml:2:24: perimeter.open_ports.1: expected a port between 1 and 65535",
    'd.yaml:3:10: perimeter.lease: expected a time such as "30s", "10m", "1h" or "7d"',
  ]);
  assert.deepEqual(problems("polcy: /etc/x\n"), ["d.yaml:1:1: polcy: unknown key"]);
  assert.match(problems("a: [1\n")[0] ?? "", /^d\.yaml:\d+:\d+: /);
  assert.match(problems("policy: site.policy\n")[0] ?? "", /^d\.yaml:1:9: policy: .*absolute path/);
});

Deno.test("parseConfig() wants the outside interfaces of a forwarding perimeter", () => {
  assert.deepEqual(problems("perimeter: {hooks: [forward]}"), [
    "d.yaml:1:12: perimeter.outside: hooks has forward, which needs the interfaces to the outside",
  ]);
});

Deno.test("parseConfig() does not let a table's name become a command", () => {
  for (const name of ["x; flush ruleset", "x y", "{", "x\\nadd table", "-"]) {
    assert.match(
      problems(`perimeter: {table: ${JSON.stringify(name)}}`)[0] ?? "",
      /perimeter.table/,
    );
  }
  for (const name of ["eth0; drop", 'a"b', "x".repeat(16)]) {
    assert.match(problems(`perimeter: {outside: [${JSON.stringify(name)}]}`)[0] ?? "", /outside/);
  }
});

Deno.test("parseConfig() survives an alias bomb", () => {
  const bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" +
    "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n";
  assert.match(problems(bomb)[0] ?? "", /alias/i);
});

Deno.test("parseConfig() reads any text or says what is wrong with it", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
      try {
        parseConfig(text, "d.yaml");
      } catch (error) {
        assert.ok(error instanceof ConfigError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
