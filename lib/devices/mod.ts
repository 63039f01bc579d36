/**
 * All simulated devices by name, as `diaper lab device NAME` takes them.
 *
 * @module
 */
import type { DeviceOptions, SimulatedDevice } from "./device.ts";
import { IosDevice } from "./ios.ts";

/** The names. */
export const DEVICE_NAMES = ["ios"] as const;

/** One of them. */
export type DeviceName = typeof DEVICE_NAMES[number];

/** Makes a device; it is off at first. */
export function createDevice(name: DeviceName, options: DeviceOptions = {}): SimulatedDevice {
  switch (name) {
    case "ios":
      return new IosDevice(options);
  }
}
