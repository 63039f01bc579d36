/**
 * A real clamd with signatures of the tests' own, on a Unix socket.
 *
 * @module
 */
import { LabProcess } from "../../lab/process.ts";

/** The daemon's program. */
export const CLAMD = "/usr/sbin/clamd";

/** A running clamd. */
export class ClamdServer {
  readonly socket: string;
  readonly #process: LabProcess;
  readonly #directory: string;

  private constructor(process: LabProcess, directory: string, socket: string) {
    this.#process = process;
    this.#directory = directory;
    this.socket = socket;
  }

  /**
   * Starts it and waits until it listens.
   *
   * @param signatures lines of an `.hdb` file: `MD5:SIZE:NAME`.
   */
  static async start(signatures: readonly string[]): Promise<ClamdServer> {
    const directory = Deno.makeTempDirSync({ prefix: "diaper-clamd-" });
    const socket = `${directory}/clamd.sock`;
    Deno.mkdirSync(`${directory}/db`);
    Deno.writeTextFileSync(`${directory}/db/test.hdb`, signatures.map((s) => `${s}\n`).join(""));
    Deno.writeTextFileSync(
      `${directory}/clamd.conf`,
      [
        `LocalSocket ${socket}`,
        "LocalSocketMode 666",
        `DatabaseDirectory ${directory}/db`,
        "Foreground yes",
        "MaxThreads 4",
        "StreamMaxLength 64M",
        `TemporaryDirectory ${directory}`,
        "",
      ].join("\n"),
    );
    const child = new Deno.Command(CLAMD, {
      args: ["--config-file", `${directory}/clamd.conf`],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const process = new LabProcess("clamd", child);
    // The last thing that it says before it accepts.
    await process.waitForLine(/Self checking every/, 60_000);
    return new ClamdServer(process, directory, socket);
  }

  /** Stops it where it stands, or has it go on: a clamd that answers nothing. */
  pause(stopped: boolean): void {
    Deno.kill(this.#process.pid, stopped ? "SIGSTOP" : "SIGCONT");
  }

  /** Ends it and removes what it left. */
  async [Symbol.asyncDispose](): Promise<void> {
    Deno.kill(this.#process.pid, "SIGKILL");
    await this.#process.status;
    Deno.removeSync(this.#directory, { recursive: true });
  }
}
