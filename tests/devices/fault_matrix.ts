/**
 * What drivers do when devices do not do what they should: each fault once, for any driver. Whatever happens, the
 * answers are true, entries of others stay, and the next batch works.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { ChangeResult, Enforcer, EnforcerChange } from "../../drivers/enforcer.ts";
import type { SimulatedDevice } from "../../lib/devices/device.ts";
import { IronwareDevice } from "../../lib/devices/ironware.ts";
import { JunosDevice } from "../../lib/devices/junos.ts";
import { DEVICE_NAMES, type DeviceName } from "../../lib/devices/mod.ts";
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";
import { deviceAndDriver, type DriverOverrides } from "../drivers/devices.ts";
import { close, ip, open, tuple } from "../drivers/tuples.ts";

/** A driver with its device. */
export interface Subject {
  readonly title: string;
  readonly device: DeviceName;
  readonly overrides: DriverOverrides;
  /** It talks over a command line, with echo and prompts. */
  readonly cli: boolean;
}

/** All drivers; Junos in both ways. */
export const SUBJECTS: readonly Subject[] = DEVICE_NAMES.flatMap((device): Subject[] =>
  device === "junos"
    ? [
      { title: "junos (NETCONF)", device, overrides: {}, cli: false },
      { title: "junos (CLI)", device, overrides: { junos: { transport: "cli" } }, cli: true },
    ]
    : [{ title: device, device, overrides: {}, cli: true }]
);

/** What a fault's run is given. */
interface Run {
  readonly device: SimulatedDevice;
  readonly enforcer: Enforcer;
  /** Opens and closes, some of them already open. */
  readonly batch: readonly EnforcerChange[];
}

/** A fault. */
export interface Fault {
  readonly name: string;
  /** Only where there is a command line. */
  readonly cliOnly?: boolean;
  /** Longest time of an operation, in seconds, where the fault needs it to be short. */
  readonly timeout?: number;
  /** Makes it happen and says in a word what the driver did. */
  readonly run: (run: Run) => Promise<string>;
}

const OPEN = [1, 2, 3].map((port) => tuple("tcp", "198.51.100.1", 0, "192.0.2.1", 5000 + port));
const NEW = [4, 5, 6, 7].map((port) => tuple("tcp", "198.51.100.1", 0, "192.0.2.1", 5000 + port));
const BATCH = [close(OPEN[0] as FiveTuple), ...NEW.map((t) => open(t))];

const IOS_LISTING = "\r\nExtended IP access list OTHER\r\n" +
  "    10 permit tcp host 203.0.113.9 host 192.0.2.1 eq 5001 (7 matches)\r\n";
const JUNOS_LISTING = "\r\nset firewall family inet filter OTHER term a from protocol tcp\r\n" +
  "set firewall family inet filter OTHER term a then accept\r\n";

/** All faults. */
export const FAULTS: readonly Fault[] = [
  {
    name: "slow echo",
    cliOnly: true,
    run: async ({ device, enforcer, batch }) => {
      device.faults.slowEcho = 5;
      return done(await enforcer.apply(batch));
    },
  },
  {
    name: "echo wrapped at 80 columns",
    cliOnly: true,
    run: async ({ device, enforcer, batch }) => {
      device.faults.narrow = true;
      return done(await enforcer.apply(batch));
    },
  },
  {
    name: "log lines in between",
    cliOnly: true,
    run: async ({ device, enforcer, batch }) => {
      device.faults.logEvery = 1;
      return done(await enforcer.apply(batch));
    },
  },
  {
    name: "a line refused in mid-batch, once",
    run: async ({ device, enforcer, batch }) => {
      device.faults.rejectLine = 3;
      return done(await enforcer.apply(batch), "tried again");
    },
  },
  {
    name: "hardware table full",
    run: async ({ device, enforcer, batch }) => {
      const before = device instanceof JunosDevice
        ? device.committed.size("inet")
        : device.acls.used(4);
      device.acls.capacity = before + 1; // one closes, and so two of four fit
      const results = await enforcer.apply(batch);
      assert.ok(results.some((r) => !r.ok && r.reason === "full"), JSON.stringify(results));
      assert.equal(results[0]?.ok, true, "the close");
      device.acls.capacity = 1000;
      const made = results.filter((r) => r.ok).length;
      return made === 1 ? "the opens told full" : `${made - 1} of 4 made, the rest told full`;
    },
  },
  {
    name: "configuration held by somebody, for a while",
    run: async ({ device, enforcer, batch }) => {
      device.faults.lockedTries = 2;
      return done(await enforcer.apply(batch), "waited for it");
    },
  },
  {
    name: "configuration held by somebody, for good",
    run: async ({ device, enforcer, batch }) => {
      device.faults.lockedTries = 1000;
      const results = await enforcer.apply(batch);
      assert.ok(results.every((r) => !r.ok && /cannot be configured now/.test(r.message)));
      device.faults.lockedTries = 0;
      return "told, with who holds it";
    },
  },
  {
    name: "session lost in mid-batch",
    run: async ({ device, enforcer, batch }) => {
      device.faults.dropAtLine = 3;
      return done(await enforcer.apply(batch), "read back, finished over a new session");
    },
  },
  {
    name: "session lost after the change, before the answer",
    run: async ({ device, enforcer, batch }) => {
      device.faults.dropAfterCommit = true;
      return done(await enforcer.apply(batch), "read back");
    },
  },
  {
    name: "no answer at all",
    timeout: 0.3,
    run: async ({ device, enforcer, batch }) => {
      device.faults.silent = true;
      const results = await enforcer.apply(batch);
      assert.ok(results.every((r) => !r.ok && r.reason === "unknown"), JSON.stringify(results));
      device.faults.silent = false;
      return "told unknown, after the time-out";
    },
  },
  {
    name: "reboot",
    run: async ({ device, enforcer, batch }) => {
      device.reboot();
      const listed = await enforcer.list();
      // As the controller's sweep does: what should be open is opened again.
      const again = OPEN.slice(1).map((t) => open(t));
      done(await enforcer.apply([...again, ...batch]));
      return listed.length === 0 ? "empty list told, all put back" : "what was saved is told";
    },
  },
  {
    name: "pinholes removed by hand",
    run: async ({ device, enforcer, batch }) => {
      removeByHand(device, OPEN[1] as FiveTuple);
      const listed = await enforcer.list();
      assert.equal(listed.length, OPEN.length - 1);
      done(await enforcer.apply([open(OPEN[1] as FiveTuple), ...batch]));
      return "told by the list, put back";
    },
  },
  {
    name: "pinholes removed by hand, and opened once more before anybody looked",
    run: async ({ device, enforcer }) => {
      removeByHand(device, OPEN[1] as FiveTuple);
      done(await enforcer.apply([open(OPEN[1] as FiveTuple)]));
      assert.ok(lets(device, OPEN[1] as FiveTuple), "told open, but not let in");
      return "looked at, put back";
    },
  },
  {
    name: "entries numbered anew by hand",
    run: async ({ device, enforcer, batch }) => {
      for (const acl of device.acls.all) acl.resequence(7, 3);
      return done(await enforcer.apply(batch), "found by what they let in");
    },
  },
  {
    name: "the whole ACL removed by hand",
    run: async ({ device, enforcer, batch }) => {
      device.acls.delete(4, "DIAPER");
      if (device instanceof JunosDevice) device.committed.filters.delete("inet DIAPER");
      const listed = await enforcer.list();
      assert.deepEqual(listed, []);
      assert.equal(enforcer.intact?.(), false);
      await enforcer.connect();
      assert.equal(enforcer.intact?.(), true);
      addForeign(device);
      done(await enforcer.apply([...OPEN.slice(1).map((t) => open(t)), ...batch]));
      return "noticed, made again with its guard";
    },
  },
  {
    name: "random bytes instead of a listing",
    timeout: 0.5,
    run: async ({ device, enforcer, batch }) => {
      device.faults.garbage = noise(20_000);
      let told = "";
      await enforcer.list().catch((error: Error) => told = error.message);
      return done(
        await enforcer.apply(batch),
        told === "" ? "read once more" : "told, with the place",
      );
    },
  },
  {
    name: "another vendor's listing",
    timeout: 0.5,
    run: async ({ device, enforcer, batch }) => {
      device.faults.garbage = new TextEncoder().encode(
        device.name === "junos" ? IOS_LISTING : JUNOS_LISTING,
      );
      let told = "";
      await enforcer.list().catch((error: Error) => told = error.message);
      return done(
        await enforcer.apply(batch),
        told === "" ? "read once more" : "told, with the place",
      );
    },
  },
  {
    name: "listing cut off",
    timeout: 0.5,
    run: async ({ device, enforcer, batch }) => {
      const apply = enforcer.apply(batch);
      device.faults.truncateList = 90;
      const results = await apply;
      return results.every((r) => r.ok)
        ? "read again"
        : "told as not made; made with the next batch";
    },
  },
];

/** Runs one fault with one driver and checks what must hold; says in a word what the driver did. */
export async function runFault(subject: Subject, fault: Fault): Promise<string | undefined> {
  if (fault.cliOnly === true && !subject.cli) return undefined;
  const { overrides } = subject;
  const timeout = fault.timeout ?? 10;
  await using made = await deviceAndDriver(subject.device, {}, { ...overrides, timeout });
  const { device, enforcer } = made;
  await enforcer.connect();
  addForeign(device);
  done(await enforcer.apply(OPEN.map((t) => open(t))));
  const said = await fault.run({ device, enforcer, batch: BATCH });
  Object.assign(device.faults, { silent: false, truncateList: 0, slowEcho: 0, garbage: undefined });
  // Whatever happened, the next batch puts things right and is told truly.
  const wanted = [...OPEN.slice(1), ...NEW];
  const last = await enforcer.apply([
    close(OPEN[0] as FiveTuple),
    ...wanted.map((t) => open(t)),
  ]);
  done(last);
  for (const t of wanted) assert.ok(lets(device, t), `open, but not let in: ${t.destinationPort}`);
  assert.ok(!lets(device, OPEN[0] as FiveTuple), "closed, but let in");
  const listed = (await enforcer.list()).map((e) => e.tuple.destinationPort).sort();
  assert.deepEqual(listed, wanted.map((t) => t.destinationPort).sort());
  assert.ok(foreignStays(device), "an entry of somebody else was touched");
  return said;
}

/** True when the device lets a pinhole's packets in. */
export function lets(device: SimulatedDevice, t: FiveTuple): boolean {
  return device.packet("DIAPER", {
    proto: t.protocol,
    source: t.source,
    sourcePort: t.sourcePort === 0 ? 40_000 : t.sourcePort,
    destination: t.destination,
    destinationPort: t.destinationPort,
  }, 0);
}

/** Entries that somebody else made: in our ACL, and in another. */
export function addForeign(device: SimulatedDevice): void {
  if (device instanceof JunosDevice) {
    for (const filter of ["DIAPER", "OTHER"]) {
      const path = `set firewall family inet filter ${filter} term noc`;
      device.committed.statement(`${path} from protocol icmp`);
      device.committed.statement(`${path} then accept`);
    }
    return;
  }
  const any = { first: ip("0.0.0.0"), last: ip("255.255.255.255") };
  for (const name of ["DIAPER", "OTHER"]) {
    const acl = device.acls.make(4, name);
    acl.add(
      {
        action: "permit",
        proto: "icmp",
        source: any,
        sourcePorts: undefined,
        destination: any,
        destinationPorts: undefined,
        options: [],
      },
      name === "DIAPER" ? 500_000 % device.highest : 10,
      10,
      device.highest,
    );
    if (device instanceof IronwareDevice) device.bind(name);
  }
  device.save();
}

function foreignStays(device: SimulatedDevice): boolean {
  const ping = {
    proto: "icmp",
    source: ip("203.0.113.9"),
    sourcePort: 0,
    destination: ip("192.0.2.1"),
    destinationPort: 0,
  };
  return device.packet("DIAPER", ping, 0) && device.packet("OTHER", ping, 0);
}

function removeByHand(device: SimulatedDevice, t: FiveTuple): void {
  if (device instanceof JunosDevice) {
    const filter = device.committed.filters.get("inet DIAPER");
    for (const [name, term] of filter?.terms ?? []) {
      if (term.from.get("destination-port")?.[0] === String(t.destinationPort)) {
        filter?.terms.delete(name);
      }
    }
    return;
  }
  const acl = device.acls.make(4, "DIAPER");
  const entry = acl.entries.find((e) => e.destinationPorts?.first === t.destinationPort);
  assert.ok(entry !== undefined && acl.removeNumber(entry.seq));
  if (device instanceof IronwareDevice) device.bind("DIAPER");
}

function done(results: readonly ChangeResult[], said = "made"): string {
  for (const result of results) assert.ok(result.ok, result.ok ? "" : result.message);
  return said;
}

/** Bytes that are always the same and look like nothing. */
export function noise(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let x = seed;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = x >>> 16;
  }
  return bytes;
}
