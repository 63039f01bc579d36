/**
 * Dry runs: what would be sent to open and to close is told for every kind of enforcer, none of which is reached.
 */
import assert from "node:assert/strict";
import { deviceSchema } from "../../drivers/device_options.ts";
import { createDryRun } from "../../drivers/dry_run.ts";
import type { Enforcer } from "../../drivers/enforcer.ts";
import { createEnforcer } from "../../drivers/registry.ts";
import { DEVICE_NAMES, type DeviceName } from "../../lib/devices/mod.ts";
import { driverWith } from "./devices.ts";
import { close, open, tuple } from "./tuples.ts";

// Loaded once for the process: not a leak of one test.
await createEnforcer("nftables", {});

const IPV4 = tuple("tcp", "198.51.100.1", 0, "192.0.2.1", 5000);
const IPV6 = tuple("udp", "2001:db8::1", 40_000, "2001:db8::2", 5000);

/** What closes, in each enforcer's own words. */
const CLOSES: Readonly<Record<string, readonly RegExp[]>> = {
  ios: [
    /^configure terminal$/m,
    /^no permit tcp host 198\.51\.100\.1 host 192\.0\.2\.1 eq 5000$/m,
    /^no permit udp host 2001:db8::1 eq 40000 host 2001:db8::2 eq 5000$/m,
    /^end$/m,
  ],
  nxos: [/^configure session \S+$/m, /^no permit tcp 198\.51\.100\.1\/32 192\.0\.2/m, /^commit$/m],
  ftos: [
    /^configure$/m,
    /^no (seq \d+ )?permit tcp host 198\.51\.100\.1 host 192\.0\.2\.1 eq 5000/m,
  ],
  ironware: [
    /^no permit tcp host 198\.51\.100\.1 host 192\.0\.2\.1 eq 5000$/m,
    /^ip rebind-acl DIAPER$/m,
    /^no permit udp host 2001:db8::1 eq 40000 host 2001:db8::2 eq 5000$/m,
  ],
  junos: [
    /^delete firewall family inet filter DIAPER term ph-/m,
    /family inet6 filter DIAPER6 term/,
  ],
  eos: [/^configure session \S+$/m, /^no permit tcp host 198\.51\.100\.1 host/m, /^commit$/m],
  nftables: [
    /^(destroy|delete) element inet diaper ph4 \{ tcp \. 198\.51\.100\.1 \. 192\.0\.2\.1 \. 5000/m,
  ],
  iptables: [/^-[DF] DIAPER-T13/m],
  ipset: [/^del \S+ 198\.51\.100\.1,tcp:5000,192\.0\.2\.1$/m],
};

function device(name: DeviceName): Enforcer {
  const config = deviceSchema.parse({
    host: "192.0.2.254",
    user: "diaper",
    host_key: `SHA256:${"A".repeat(43)}`,
  });
  return driverWith(name, config, { password: "none" });
}

for (const [name, patterns] of Object.entries(CLOSES)) {
  Deno.test(`dry run of ${name}: openings and closings are told`, async () => {
    const isDevice = (DEVICE_NAMES as readonly string[]).includes(name);
    const enforcer = isDevice ? device(name as DeviceName) : await createEnforcer(name, {});
    let said = "";
    const dry = createDryRun(enforcer, { say: (text) => void (said += text), check: false });
    const tuples = enforcer.capabilities.sourcePorts
      ? [IPV4, IPV6]
      : [IPV4, tuple("udp", "2001:db8::1", 0, "2001:db8::2", 5000)];
    await dry.connect();
    await dry.apply(tuples.map((t) => open(t)));
    const opened = said.replaceAll(/^#.*\n/gm, "");
    assert.match(opened, /198\.51\.100\.1/);
    assert.match(opened, /2001:db8::1/);
    said = "";
    await dry.apply(tuples.map(close));
    const closed = said.replaceAll(/^#.*\n/gm, "");
    for (const pattern of patterns) assert.match(closed, pattern);
    assert.doesNotMatch(closed, /255\.255\.255\.255|host ::1/, "the ACL itself is left alone");
    await dry.close();
  });
}
