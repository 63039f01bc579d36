/**
 * What the tests of `diaper run --trace seccomp` share: a lab with a real daemon, and a program that is
 * linked statically, run with the supervisor and without.
 */
import { DIAPER_BINARY, DiaperHost } from "../lab/diaper.ts";
import type { Host } from "../lab/host.ts";
import { Lab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";

/** The control port of the test program. */
export const PORT = 2121;

/** The inside host's address, and those of two outside hosts. */
export const INSIDE = "192.0.2.1";
export const OUTSIDE = ["198.51.100.7", "203.0.113.8"] as const;

/** C libraries that the program is linked with. */
export type Libc = "glibc" | "musl";

/** A lab with a daemon on its inside host, and the test program. */
export class TraceLab implements AsyncDisposable {
  readonly lab: Lab;
  readonly inside: Host;
  readonly diaper: DiaperHost;
  /** The binary. */
  readonly command = DIAPER_BINARY;

  private constructor(lab: Lab, diaper: DiaperHost) {
    this.lab = lab;
    this.inside = lab.host("in");
    this.diaper = diaper;
  }

  /** @param lines more of the configuration. */
  static async create(lines: readonly string[] = []): Promise<TraceLab> {
    const lab = await Lab.create({
      outside: [
        { name: "one", addresses: [OUTSIDE[0]] },
        { name: "two", addresses: [OUTSIDE[1]] },
      ],
      inside: [{ name: "in", addresses: [INSIDE] }],
    });
    try {
      const diaper = await DiaperHost.up(lab, lab.host("in"), {
        policy: [
          "allow test * * * * * 1024-65535",
          "allow nobody nobody * * * * 1024-65535",
        ],
        openPorts: [`tcp/${PORT}`],
        settings: lines,
      });
      const made = new TraceLab(lab, diaper);
      await made.#build();
      return made;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab.close();
  }

  /** The program's file. */
  program(libc: Libc = "glibc"): string {
    return this.lab.path(`traced-${libc}`);
  }

  async #build(): Promise<void> {
    const source = new URL("programs/traced.c", import.meta.url).pathname;
    const flags = ["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"];
    await this.inside.must("gcc", [...flags, "-o", this.program("glibc"), source]);
    await this.inside.must("musl-gcc", [...flags, "-o", this.program("musl"), source]);
  }

  /** Arguments of `diaper` that run a command under the supervisor. */
  traceArguments(options: readonly string[] = ["--delegate", "test"]): string[] {
    return ["run", "--config", this.diaper.config, "--trace", "seccomp", ...options, "--"];
  }

  /**
   * Starts the program under the supervisor, or plainly, and connects to its control port.
   *
   * @param from hosts that connect; the connections last until the lab is closed.
   */
  async start(
    words: readonly string[],
    settings: {
      readonly env?: Readonly<Record<string, string>>;
      readonly traced?: boolean;
      readonly libc?: Libc;
      readonly user?: string;
      readonly options?: readonly string[];
      readonly from?: readonly ("one" | "two")[];
    } = {},
  ): Promise<LabProcess> {
    const command = [this.program(settings.libc), INSIDE, ...words];
    const user = {
      ...(settings.user === undefined ? {} : { user: settings.user }),
      ...(settings.env === undefined ? {} : { env: settings.env }),
    };
    const process = settings.traced === false
      ? this.inside.spawn(command[0] as string, command.slice(1), user)
      : this.inside.spawn(
        DIAPER_BINARY,
        [...this.traceArguments(settings.options), ...command],
        user,
      );
    if (["client", "uring", "privileged"].includes(words[0] ?? "")) return process;
    await process.waitForLine(/^ready$/);
    for (const name of settings.from ?? ["one"]) await this.connect(name);
    return process;
  }

  /** A connection to the control port that stays. */
  async connect(name: "one" | "two"): Promise<void> {
    const client = this.lab.host(name).spawn("bash", [
      "-c",
      `exec 3<>/dev/tcp/${INSIDE}/${PORT} && echo connected && read -r line`,
    ]);
    await client.waitForLine(/^connected$/);
  }

  /** A connection to the control port whose lines go both ways. */
  async talk(name: "one" | "two"): Promise<LabProcess> {
    const script = `exec 3<>/dev/tcp/${INSIDE}/${PORT}; echo connected >&2; cat <&3 & cat >&3`;
    const client = this.lab.host(name).spawn("bash", ["-c", script]);
    await client.find((line) => line === "connected" ? line : undefined, "connected");
    return client;
  }

  /** The process id of the only supervisor on the inside host. */
  async supervisor(): Promise<number> {
    const inside = (await this.inside.must("ip", ["netns", "pids", this.inside.namespace]))
      .split("\n").filter((line) => line !== "");
    const found = inside.filter((pid) => nameOf(pid) === "diaper-trace");
    if (found.length !== 1) throw new Error(`${found.length} supervisors`);
    return Number(found[0]);
  }

  /** Waits until a process is gone. */
  async gone(pid: number): Promise<void> {
    for (let i = 0; nameOf(String(pid)) === "diaper-trace"; i++) {
      if (i === 500) throw new Error(`process ${pid} does not end`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** What the audit trail says of pinholes that were opened, oldest first. */
  opened(): Record<string, unknown>[] {
    return this.diaper.events().filter((e) => e.event_type === "pinhole.opened");
  }

  /**
   * Waits until no pinhole is open, going by the audit trail, which is written a little later.
   *
   * @param least pinholes that must have been opened by then, since the beginning.
   */
  async allClosed(least = 0): Promise<void> {
    const count = (type: string) =>
      this.diaper.events().filter((e) => e.event_type === type).length;
    await this.diaper.waitForEvent(() =>
      count("pinhole.opened") >= least && count("pinhole.opened") === count("pinhole.closed")
    );
  }
}

function nameOf(pid: string): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/comm`).trim();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

/** Runs a program to its end, and gives its exit code and output. */
export async function ended(
  process: LabProcess,
): Promise<{ readonly code: number; readonly lines: string[] }> {
  const { code } = await process.status;
  return { code, lines: process.output("stdout") };
}
