/**
 * `diaper ni --detach`: removes what an NI that was killed has left at an interface.
 *
 * @module
 */
import { DEFAULT_RUN_DIR } from "../ni/config.ts";
import { cleanTap } from "../ni/tap_ports.ts";
import { removeIfThere } from "../sys/files.ts";
import { SystemError } from "../sys/libc.ts";
import { CliError, EXIT } from "./exit.ts";
import { askNis } from "./ni_status.ts";
import { printMessage } from "./output.ts";

/**
 * Cleans an interface.
 *
 * @throws {CliError} without root, without such an interface, or while an NI is there.
 */
export async function detach(name: string, runDir = DEFAULT_RUN_DIR): Promise<void> {
  if (Deno.uid() !== 0) {
    throw new CliError(
      EXIT.NOT_PERMITTED,
      "detaching needs root",
      `sudo diaper ni --detach ${name}`,
    );
  }
  const nis = await askNis({ run_dir: runDir, control_group: "root" });
  const running = nis.find((ni) => ni.name === name && ni.status !== undefined);
  if (running !== undefined) {
    const pid = running.status?.["pid"];
    throw new CliError(EXIT.FAILED, `an NI is running at ${name}`, `stop it first: kill ${pid}`);
  }
  try {
    const found = cleanTap(name);
    removeIfThere(`${runDir}/ni-${name}.sock`);
    printMessage(found ? `${name} is as it was before` : `nothing was left at ${name}`);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new CliError(EXIT.FAILED, error.message, "ip link shows the interfaces that there are", {
      cause: error,
    });
  }
}
