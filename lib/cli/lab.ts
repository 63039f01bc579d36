/**
 * `diaper lab device`: a simulated device, to try a policy or a driver on without a router.
 *
 * @module
 */
import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import type { SimulatedDevice } from "../devices/device.ts";
import type { Faults } from "../devices/faults.ts";
import { createDevice, DEVICE_NAMES, type DeviceName } from "../devices/mod.ts";
import { readCount } from "./arguments.ts";
import { CliError, EXIT } from "./exit.ts";
import { print, printJson, printMessage } from "./output.ts";

interface DeviceVerbOptions {
  readonly port: number;
  readonly listen: string;
  readonly speed: number;
  readonly capacity?: number;
  readonly variant?: "netiron" | "fastiron";
  readonly enable?: boolean;
  readonly oldAlgorithms?: boolean;
  readonly passwordFile?: string;
  readonly hostKey?: string;
  readonly key?: string;
  readonly fault: readonly FaultSetting[];
  readonly json?: boolean;
}

type FaultSetting = readonly [keyof Faults, number];

/** Faults by the names that they have on the command line. */
const FAULTS: Readonly<Record<string, keyof Faults>> = {
  "slow-echo": "slowEcho",
  "narrow": "narrow",
  "reject-line": "rejectLine",
  "drop-at-line": "dropAtLine",
  "drop-after-commit": "dropAfterCommit",
  "locked": "lockedTries",
  "log-every": "logEvery",
  "silent": "silent",
};

/** Adds the verb. */
export function register(parent: Command): void {
  const lab = parent.command("lab").description("Try things without what they are for.");
  lab.command("device")
    .description("Run a simulated device with an SSH server until it is stopped.")
    .addArgument(new Argument("<name>", "the kind of device").choices(DEVICE_NAMES))
    .option("--port <n>", "port to listen at; 0: any that is free", readListenPort, 0)
    .option("--listen <address>", "address to listen at", "127.0.0.1")
    .option(
      "--speed <factor>",
      "times as fast as the device of the paper; 0: no waiting",
      readSpeed,
      1,
    )
    .option(
      "--capacity <n>",
      "entries that fit into its hardware, for each address family",
      readCount,
    )
    .addOption(
      new Option("--variant <kind>", "of ironware: which of its two kinds")
        .choices(["netiron", "fastiron"]),
    )
    .option("--enable", "the user must enable, with the password")
    .option("--old-algorithms", "speak only SSH algorithms of old devices")
    .option("--password-file <file>", "the user's password, instead of diaper")
    .option("--host-key <file>", "private host key, so that it stays the same")
    .option("--key <file>", "public key that may log in")
    .option("--fault <name=n>", "make something go wrong; may be repeated", readFault, [])
    .option("--json", "print where it listens as JSON")
    .addHelpText(
      "after",
      `
Faults: ${Object.keys(FAULTS).join(", ")}.
SIGHUP is a power cut: sessions and what was not saved are gone. What it holds is in memory only.`,
    )
    .action(runDevice);
}

async function runDevice(name: DeviceName, options: DeviceVerbOptions): Promise<void> {
  const device = createDevice(name, {
    port: options.port,
    host: options.listen,
    factor: options.speed === 0 ? Infinity : options.speed,
    oldAlgorithms: options.oldAlgorithms ?? false,
    authorizedKeys: options.key === undefined ? [] : [read(options.key)],
    ...(options.capacity === undefined ? {} : { capacity: options.capacity }),
    ...(options.variant === undefined ? {} : { variant: options.variant }),
    ...passwords(options),
    ...(options.hostKey === undefined ? {} : { hostKey: read(options.hostKey) }),
  });
  for (const [fault, value] of options.fault) set(device.faults, fault, value);
  try {
    await device.start();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CliError(
      EXIT.FAILED,
      `Cannot listen at ${options.listen} port ${options.port}: ${why}`,
      "choose another with --port, or 0 for any that is free",
    );
  }
  tell(device, options);
  const stopped = Promise.withResolvers<void>();
  const stop = () => stopped.resolve();
  const powerCut = () => {
    device.reboot();
    printMessage("diaper: the device was rebooted");
  };
  Deno.addSignalListener("SIGINT", stop);
  Deno.addSignalListener("SIGTERM", stop);
  Deno.addSignalListener("SIGHUP", powerCut);
  await stopped.promise;
  Deno.removeSignalListener("SIGINT", stop);
  Deno.removeSignalListener("SIGTERM", stop);
  Deno.removeSignalListener("SIGHUP", powerCut);
  await device.stop();
}

/** What to write into a configuration to reach it. */
function tell(device: SimulatedDevice, options: DeviceVerbOptions): void {
  const { name, port, user, fingerprint } = device;
  if (options.json === true) {
    return printJson({ name, host: options.listen, port, user, host_key: fingerprint });
  }
  print([
    `# a simulated ${name}; for diaper.yaml:`,
    "enforcer:",
    `  host: ${JSON.stringify(options.listen)}`,
    `  port: ${port}`,
    `  user: ${user}`,
    `  password_file: ${options.passwordFile ?? "/path/of/a/file/with/the/word/diaper"}`,
    `  host_key: ${fingerprint}`,
    "",
  ].join("\n"));
}

function passwords(options: DeviceVerbOptions): { password?: string; enablePassword?: string } {
  const password = options.passwordFile === undefined
    ? "diaper"
    : read(options.passwordFile).replace(/\r?\n$/, "");
  return { password, ...(options.enable === true ? { enablePassword: password } : {}) };
}

function set(faults: Faults, name: keyof Faults, value: number): void {
  const target = faults as unknown as Record<string, number | boolean>;
  target[name] = typeof target[name] === "boolean" ? value !== 0 : value;
}

function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CliError(EXIT.FAILED, `Cannot read ${path}: ${why}`, "check path and rights");
  }
}

function readFault(text: string, before: readonly FaultSetting[]): FaultSetting[] {
  const [name = "", value = "1", more] = text.split("=");
  const fault = FAULTS[name];
  if (fault === undefined || more !== undefined || !/^[0-9]{1,9}$/.test(value)) {
    throw new InvalidArgumentError(`Write one of ${Object.keys(FAULTS).join(", ")}, then =NUMBER.`);
  }
  return [...before, [fault, Number(value)]];
}

function readListenPort(text: string): number {
  if (/^[0-9]{1,5}$/.test(text) && Number(text) <= 65535) return Number(text);
  throw new InvalidArgumentError("Write a port from 0 to 65535.");
}

function readSpeed(text: string): number {
  const factor = Number(text);
  if (text !== "" && Number.isFinite(factor) && factor >= 0) return factor;
  throw new InvalidArgumentError("Write a factor such as 1, 10 or 0.5; 0 for no waiting.");
}
