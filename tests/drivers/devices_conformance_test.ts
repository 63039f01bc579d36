/**
 * The conformance suite over simulated devices: every driver with its device, over SSH on loopback.
 */
import { DEVICE_NAMES } from "../../lib/devices/mod.ts";
import { conformance } from "./conformance.ts";
import { deviceAndDriver } from "./devices.ts";

for (const name of DEVICE_NAMES) {
  conformance({
    title: name,
    can: { leases: false },
    // What it proves does not grow with the number, and each line is talked about twice.
    large: 1500,
    ignore: false,
    make: ({ capacity }) =>
      deviceAndDriver(name, { capacity: 50_000 }, { capacity: Math.min(capacity, 50_000) }),
  });
}

const JUNOS = {
  "command line, private": { transport: "cli" },
  "command line, exclusive, confirmed": { transport: "cli", candidate: "exclusive", confirm: 5 },
  "NETCONF, exclusive, confirmed": { candidate: "exclusive", confirm: 5 },
  "ephemeral database": { ephemeral: "diaper" },
};
for (const [title, junos] of Object.entries(JUNOS)) {
  conformance({
    title: `junos (${title})`,
    can: { leases: false },
    large: 300,
    ignore: false,
    make: ({ capacity }) => deviceAndDriver("junos", {}, { capacity, junos }),
  });
}

conformance({
  title: "ironware (FastIron)",
  can: { leases: false },
  large: 300,
  ignore: false,
  make: ({ capacity }) =>
    deviceAndDriver("ironware", { variant: "fastiron", capacity: 50_000 }, {
      capacity: Math.min(capacity, 50_000),
      variant: "fastiron",
    }),
});
