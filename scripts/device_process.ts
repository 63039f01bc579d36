/**
 * Simulated devices in processes of their own, as they are on a desk: what the driver computes does not slow
 * the device.
 *
 * @module
 */
import type { DeviceName } from "../lib/devices/mod.ts";

/** A device that runs. */
export interface RunningDevice {
  readonly port: number;
  readonly host_key: string;
  readonly stop: () => Promise<void>;
}

/**
 * Starts a device as fast as the real one.
 *
 * @param capacity entries that fit, for each address family.
 * @throws {Error} when it does not start.
 */
export async function startDevice(name: DeviceName, capacity: number): Promise<RunningDevice> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--allow-all", "main.ts", "lab", "device", name],
      ...["--capacity", String(capacity), "--json"],
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the simulated ${name} did not start`);
    text += new TextDecoder().decode(value);
  }
  reader.releaseLock();
  const { port, host_key } = JSON.parse(text) as { port: number; host_key: string };
  return {
    port,
    host_key,
    stop: async () => {
      child.kill("SIGTERM");
      await child.stdout.cancel();
      await child.status;
    },
  };
}
