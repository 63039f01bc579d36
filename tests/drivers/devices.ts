/**
 * Simulated devices with the drivers for them, as tests of all devices need them.
 *
 * @module
 */
import {
  type DeviceConfig,
  deviceSchema,
  type DeviceSecrets,
} from "../../drivers/device_options.ts";
import type { Enforcer } from "../../drivers/enforcer.ts";
import { createEos } from "../../drivers/eos.ts";
import { createFtos } from "../../drivers/ftos.ts";
import { createIos } from "../../drivers/ios.ts";
import { createIronware } from "../../drivers/ironware.ts";
import { createJunos } from "../../drivers/junos.ts";
import { createNxos } from "../../drivers/nxos.ts";
import type { DeviceOptions, SimulatedDevice } from "../../lib/devices/device.ts";
import type { IronwareOptions } from "../../lib/devices/ironware.ts";
import { createDevice, type DeviceName } from "../../lib/devices/mod.ts";

/** What differs from the usual in a test's driver. */
export interface DriverOverrides {
  readonly capacity?: number;
  readonly optimal_batch?: number;
  readonly timeout?: number;
  readonly transcripts?: string;
  readonly password?: string;
  readonly host_key?: string;
  readonly old_algorithms?: boolean;
  readonly junos?: Record<string, unknown>;
  readonly variant?: string;
}

/** Pauses before trying a lock again, in ms: short, since tests wait for them. */
const FTOS_INTERFACE = "tengigabitethernet 0/0";
const BACKOFF = [1, 1, 1];

/** The driver for a device that runs. */
export function driverFor(device: SimulatedDevice, overrides: DriverOverrides = {}): Enforcer {
  const { password = device.password, ...others } = overrides;
  const config = deviceSchema.parse({
    host: "127.0.0.1",
    port: device.port,
    user: device.user,
    host_key: device.fingerprint,
    timeout: 10,
    ...others,
  });
  const secrets = { password, enable: device.options.enablePassword };
  return driverWith(device.name as DeviceName, config, secrets);
}

/** The driver of a name. */
export function driverWith(
  name: DeviceName,
  config: DeviceConfig,
  secrets: DeviceSecrets,
): Enforcer {
  switch (name) {
    case "ios":
      return createIos(config, secrets, BACKOFF);
    case "nxos":
      return createNxos(config, secrets, BACKOFF);
    case "ftos":
      return createFtos({ ...config, interface: FTOS_INTERFACE }, secrets, BACKOFF);
    case "ironware":
      return createIronware({ ...config, interface: "ve 1" }, secrets, BACKOFF);
    case "junos":
      return createJunos(config, secrets, BACKOFF);
    case "eos":
      return createEos(config, secrets, BACKOFF);
  }
}

/** A device that runs, with its driver, which is not connected. Both end with disposal. */
export async function deviceAndDriver<T extends SimulatedDevice>(
  name: DeviceName,
  options: DeviceOptions & IronwareOptions = {},
  overrides: DriverOverrides = {},
): Promise<AsyncDisposable & { readonly device: T; readonly enforcer: Enforcer }> {
  const device = createDevice(name, options) as T;
  await device.start();
  const enforcer = driverFor(device, overrides);
  return {
    device,
    enforcer,
    [Symbol.asyncDispose]: async () => {
      await enforcer.close();
      await device.stop();
    },
  };
}
