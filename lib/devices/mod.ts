/**
 * All simulated devices by name, as `diaper lab device NAME` takes them.
 *
 * @module
 */
import type { DeviceOptions, SimulatedDevice } from "./device.ts";
import { EosDevice } from "./eos.ts";
import { FtosDevice } from "./ftos.ts";
import { IosDevice } from "./ios.ts";
import { IronwareDevice, type IronwareOptions } from "./ironware.ts";
import { JunosDevice } from "./junos.ts";
import { NxosDevice } from "./nxos.ts";

/** The names. */
export const DEVICE_NAMES = ["ios", "nxos", "ftos", "ironware", "junos", "eos"] as const;

/** One of them. */
export type DeviceName = typeof DEVICE_NAMES[number];

/** Makes a device; it is off at first. */
export function createDevice(
  name: DeviceName,
  options: DeviceOptions & IronwareOptions = {},
): SimulatedDevice {
  switch (name) {
    case "ios":
      return new IosDevice(options);
    case "nxos":
      return new NxosDevice(options);
    case "ftos":
      return new FtosDevice(options);
    case "ironware":
      return new IronwareDevice(options);
    case "junos":
      return new JunosDevice(options);
    case "eos":
      return new EosDevice(options);
  }
}
