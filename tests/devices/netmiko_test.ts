/**
 * netmiko, the client that most people use, with the simulated devices: it logs in, configures and reads ACLs.
 */
import assert from "node:assert/strict";
import { DRIVERS } from "../../drivers/registry.ts";
import { createDevice, DEVICE_NAMES, type DeviceName } from "../../lib/devices/mod.ts";
import { lets } from "./fault_matrix.ts";
import { tuple } from "../drivers/tuples.ts";

/** Debian's, for which the package is. */
const PYTHON = "/usr/bin/python3";
const present = await new Deno.Command(PYTHON, { args: ["-c", "import netmiko"], stderr: "null" })
  .output().then(({ success }) => success, () => false);

const ENTRY = "permit tcp host 198.51.100.1 host 192.0.2.1 eq 5000";
const CASES: Readonly<Record<DeviceName, { type: string; show: string; lines: string[] }>> = {
  ios: {
    type: "cisco_ios",
    show: "show ip access-lists DIAPER",
    lines: ["ip access-list extended DIAPER", ENTRY],
  },
  nxos: {
    type: "cisco_nxos",
    show: "show ip access-lists DIAPER",
    lines: ["ip access-list DIAPER", ENTRY],
  },
  ftos: {
    type: "dell_force10",
    show: "show ip accounting access-list DIAPER",
    lines: ["ip access-list extended DIAPER", `seq 5 ${ENTRY} count`],
  },
  ironware: {
    type: "brocade_netiron",
    show: "show access-list name DIAPER",
    lines: ["ip access-list extended DIAPER", `sequence 10 ${ENTRY}`, "ip rebind-acl DIAPER"],
  },
  junos: {
    type: "juniper_junos",
    show: "show configuration firewall | display set",
    lines: [
      "set firewall family inet filter DIAPER term a from protocol tcp",
      "set firewall family inet filter DIAPER term a from source-address 198.51.100.1/32",
      "set firewall family inet filter DIAPER term a from destination-address 192.0.2.1/32",
      "set firewall family inet filter DIAPER term a from destination-port 5000",
      "set firewall family inet filter DIAPER term a then accept",
    ],
  },
  eos: {
    type: "arista_eos",
    show: "show ip access-lists DIAPER",
    lines: ["ip access-list DIAPER", ENTRY],
  },
};

/** Logs in, configures an entry, and reads it back. */
async function talk(name: DeviceName): Promise<void> {
  const { type, show, lines } = CASES[name];
  await using device = createDevice(name, { enablePassword: "diaper" });
  await device.start();
  const child = new Deno.Command(PYTHON, {
    args: ["tests/devices/netmiko_client.py", type, String(device.port), show, ...lines],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(`${device.password}\n`));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  const text = new TextDecoder().decode(stdout);
  assert.ok(success, `${name}: ${new TextDecoder().decode(stderr)}`);
  assert.ok(lets(device, tuple("tcp", "198.51.100.1", 0, "192.0.2.1", 5000)), `${name}: ${text}`);
  const driver = await DRIVERS.find((entry) => entry.name === name)?.load();
  const [read] = driver?.parse?.(text) ?? [];
  assert.deepEqual(
    [read?.acl, read?.action, read?.source, read?.destination, read?.destination_port],
    ["DIAPER", "permit", "198.51.100.1/32", "192.0.2.1/32", 5000],
    `${name}: ${text}`,
  );
}

Deno.test({
  name: `netmiko: logs in to every device, configures it and reads its ACLs${
    present ? "" : " (skipped: python3-netmiko is not installed)"
  }`,
  ignore: !present,
  // The SSH library leaves the ciphers that netmiko chooses to the garbage collector.
  sanitizeResources: false,
  // At the same time: netmiko mostly waits.
  fn: async () => void await Promise.all(DEVICE_NAMES.map(talk)),
});
