/**
 * How fast the drivers of network devices are, on simulated devices that are as fast as the paper measured: the
 * rate reached at a device's best batch size against the device's own maximum, and the time for 500 entries
 * against netmiko's send_config_set on the same device. Devices run in processes of their own.
 *
 * @module
 */
import { deviceSchema } from "../../drivers/device_options.ts";
import type { Enforcer, EnforcerChange } from "../../drivers/enforcer.ts";
import { createDevice, DEVICE_NAMES, type DeviceName } from "../../lib/devices/mod.ts";
import { driverWith } from "../../tests/drivers/devices.ts";
import { close, open, tuple } from "../../tests/drivers/tuples.ts";
import { type RunningDevice, startDevice } from "../device_process.ts";
import { median, quantile, report } from "./report.ts";

const BENCH = "devices";
const ENTRIES = 500;
/** Entries that fit into a device. */
const ROOM = 20_000;
/** What netmiko is told of each device: its kind, and what goes before and after the entries. */
const NETMIKO: Readonly<
  Record<
    DeviceName,
    { type: string; before: string[]; line: (n: number) => string; after: string[] }
  >
> = {
  ios: { type: "cisco_ios", before: ["ip access-list extended TEST"], line: plain, after: [] },
  nxos: { type: "cisco_nxos", before: ["ip access-list TEST"], line: plain, after: [] },
  ftos: { type: "dell_force10", before: ["ip access-list extended TEST"], line: plain, after: [] },
  ironware: {
    type: "brocade_netiron",
    before: ["ip access-list extended TEST"],
    line: plain,
    after: ["ip rebind-acl TEST"],
  },
  junos: {
    type: "juniper_junos",
    before: [],
    line: (n) =>
      `set firewall family inet filter TEST term t${n} from protocol tcp source-address 198.51.100.1/32 ` +
      `destination-address 192.0.2.1/32 destination-port ${n}`,
    after: [],
  },
  eos: { type: "arista_eos", before: ["ip access-list TEST"], line: plain, after: [] },
};

function plain(n: number): string {
  return `permit tcp host 198.51.100.1 host 192.0.2.1 eq ${n}`;
}

function driver(name: DeviceName, device: RunningDevice): Enforcer {
  const config = deviceSchema.parse({
    host: "127.0.0.1",
    port: device.port,
    user: "diaper",
    host_key: device.host_key,
    capacity: ROOM,
    timeout: 120,
  });
  return driverWith(name, config, { password: "diaper" });
}

async function timed(enforcer: Enforcer, batch: readonly EnforcerChange[]): Promise<number> {
  const before = performance.now();
  const results = await enforcer.apply(batch);
  const seconds = (performance.now() - before) / 1000;
  const bad = results.find((result) => !result.ok);
  if (bad?.ok === false) throw new Error(bad.message);
  return seconds;
}

async function rate(name: DeviceName): Promise<void> {
  const { speed } = createDevice(name);
  const device = await startDevice(name, ROOM);
  const enforcer = driver(name, device);
  await enforcer.connect();
  const tuples = Array.from(
    { length: speed.batch },
    (_, i) => tuple("tcp", "198.51.100.1", 0, "192.0.2.1", i + 1),
  );
  // A daemon runs for long: what is measured is compiled code. One large batch is enough for that.
  const [warmUp, rounds] = speed.batch / speed.rate < 1 ? [4, 9] : [0, 2];
  const rates: number[] = [];
  for (let i = 0; i < warmUp + rounds; i++) {
    for (const batch of [tuples.map((t) => open(t)), tuples.map(close)]) {
      const seconds = await timed(enforcer, batch);
      if (i >= warmUp) rates.push(speed.batch / seconds);
    }
  }
  await enforcer.close();
  await device.stop();
  report(
    BENCH,
    `${name}: updates a second in batches of ${speed.batch} (worst of ${rates.length}: ${
      Math.round(quantile(rates, 0))
    })`,
    median(rates),
    "/s",
    {
      baseline: speed.rate,
      target: "0.95x the device's maximum",
      met: median(rates) >= 0.95 * speed.rate,
    },
  );
}

async function againstNetmiko(name: DeviceName): Promise<void> {
  const device = await startDevice(name, ROOM);
  const enforcer = driver(name, device);
  await enforcer.connect();
  const batch = Array.from(
    { length: ENTRIES },
    (_, i) => open(tuple("tcp", "198.51.100.1", 0, "192.0.2.1", i + 1)),
  );
  const own = await timed(enforcer, batch);
  await enforcer.close();
  const { type, before, line, after } = NETMIKO[name];
  const lines = [...before, ...Array.from({ length: ENTRIES }, (_, i) => line(i + 1)), ...after];
  const child = new Deno.Command("/usr/bin/python3", {
    args: ["scripts/benchmarks/netmiko_config.py", type, String(device.port)],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(["diaper", ...lines, ""].join("\n")));
  await writer.close();
  const { success, stdout } = await child.output();
  await device.stop();
  if (!success) throw new Error(`netmiko failed with ${name}`);
  const netmiko = Number(new TextDecoder().decode(stdout));
  report(
    BENCH,
    `${name}: entries a second, ${ENTRIES} at once, netmiko as baseline`,
    ENTRIES / own,
    "/s",
    {
      baseline: ENTRIES / netmiko,
      target: "3x netmiko's send_config_set",
      met: netmiko / own >= 3,
    },
  );
}

for (const name of DEVICE_NAMES) await rate(name);
// At the same time, since netmiko mostly waits; our own rate is the one that suffers.
await Promise.all(DEVICE_NAMES.map(againstNetmiko));
