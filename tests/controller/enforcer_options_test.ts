import assert from "node:assert/strict";
import "../../drivers/nftables_module.ts"; // the C library stays loaded: not within a test
import { ConfigError, locate } from "../../lib/config/yaml.ts";
import { parseConfig } from "../../lib/controller/config.ts";
import { enforcerMisfits } from "../../lib/controller/enforcer_options.ts";
import { SEVERAL } from "../../lib/controller/several_enforcers.ts";

async function problems(name: string, text: string): Promise<string[]> {
  const misfits = await enforcerMisfits(name, parseConfig(text, "d.yaml"));
  const error = locate(misfits, text, "d.yaml");
  assert.ok(error instanceof ConfigError);
  return error.problems.map((p) => `${p.file}:${p.line}:${p.column}: ${p.message}`);
}

Deno.test("enforcerMisfits() finds nothing in what drivers take", async () => {
  assert.deepEqual(await problems("debug", ""), []);
  assert.deepEqual(await problems("nftables", "perimeter: {open_ports: [tcp/21]}\n"), []);
  assert.deepEqual(await problems(SEVERAL, "enforcers: [{driver: debug}]\n"), []);
});

Deno.test("enforcerMisfits() names the place of options that a driver does not take", async () => {
  assert.deepEqual(await problems("debug", "enforcer:\n  capacity: none\n  color: red\n"), [
    "d.yaml:2:13: enforcer.capacity: Invalid input: expected number, received string",
    "d.yaml:3:3: enforcer.color: unknown key",
  ]);
  const device = "enforcer:\n  host: router\n  user: diaper\n  host_key: rubbish\n";
  assert.deepEqual(await problems("ios", device), [
    "d.yaml:4:13: enforcer.host_key: expected SHA256:… as ssh-keygen -lf prints it, or a public key",
  ]);
  const several = "enforcers:\n  - driver: debug\n    options: {capacity: 0}\n  - driver: pix\n";
  const [first, second, ...more] = await problems(SEVERAL, several);
  assert.match(first ?? "", /^d\.yaml:3:25: enforcers\.0\.options\.capacity: /);
  assert.match(second ?? "", /^d\.yaml:4:13: enforcers\.1\.driver: .*choose from nftables, /);
  assert.deepEqual(more, []);
});

Deno.test("enforcerMisfits() looks at the files that options name", async () => {
  const key = `SHA256:${"A".repeat(43)}`;
  const device = `enforcer:\n  host: router\n  user: diaper\n  host_key: "${key}"\n` +
    "  password_file: /nonexistent/secret\n";
  const [only, ...more] = await problems("ios", device);
  assert.match(only ?? "", /^d\.yaml:2:3: enforcer: Cannot read the secret \/nonexistent\/secret/);
  assert.deepEqual(more, []);
});
