/**
 * A host of a lab: a network namespace in which programs run.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import type { IpAddress } from "../../lib/net/ip.ts";
import { Capture, type CaptureOptions } from "./capture.ts";
import { type ExitStatus, LabProcess } from "./process.ts";
import { parseSockets, type SocketEntry } from "./sockets.ts";

/** How a program is to run. */
export interface ProgramOptions {
  /** Added to the small environment that every program of a lab gets. */
  readonly env?: Readonly<Record<string, string>>;
  /** Account to run as; root without it. */
  readonly user?: string;
  /** A file that it finds at /etc/hosts; nobody in a lab answers questions about names. */
  readonly hosts?: string;
  /** Directory to run in; the lab's own without it. */
  readonly cwd?: string;
}

/** How a program that is waited for is to run. */
export interface RunOptions extends ProgramOptions {
  /** Its standard input, empty without it. */
  readonly input?: string;
  /** Milliseconds after which it is killed; 60,000 without it. */
  readonly timeout?: number;
}

/** What a program printed and how it ended. */
export interface RunResult extends ExitStatus {
  /** What it printed. */
  readonly stdout: string;
  /** Its messages. */
  readonly stderr: string;
}

/** What became of a TCP connection attempt: made, answered by a reset or an ICMP error, or not answered. */
export type ConnectOutcome = "connected" | "refused" | "unanswered";

/** One host, or the perimeter's router. */
export class Host {
  /** Name within the lab. */
  readonly name: string;
  /** Name of its network namespace, as in `ip netns`. */
  readonly namespace: string;
  /** All its addresses. */
  readonly addresses: readonly IpAddress[];
  readonly #directory: string;
  readonly #environment: Readonly<Record<string, string>>;
  readonly #processes: LabProcess[] = [];

  /** Made by `Lab.create`; the namespace must exist. */
  constructor(name: string, lab: string, directory: string, addresses: readonly IpAddress[]) {
    this.name = name;
    this.namespace = `${lab}-${name}`;
    this.addresses = addresses;
    this.#directory = directory;
    this.#environment = {
      PATH: Deno.env.get("PATH") ?? "/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: directory,
      TMPDIR: directory,
      LC_ALL: "C.UTF-8",
      DIAPER_LAB: lab,
    };
  }

  /**
   * The host's address of a family, as text.
   *
   * @throws {Error} when it has none.
   */
  address(family: 4 | 6): string {
    const found = this.addresses.find((a) => a.family === family);
    if (found === undefined) throw new Error(`Host ${this.name} has no IPv${family} address`);
    return found.text;
  }

  /** Runs a program to its end. A code other than 0 is no error here. */
  async run(
    command: string,
    args: readonly string[],
    options: RunOptions = {},
  ): Promise<RunResult> {
    const process = this.spawn(command, args, options);
    const timeout = options.timeout ?? 60_000;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      process.kill("SIGKILL");
    }, timeout);
    try {
      // A program that ends without reading its input is no error: its exit code tells.
      if (options.input !== undefined) await process.write(options.input).catch(() => undefined);
      await process.closeInput().catch(() => undefined);
      const status = await process.status;
      if (late) throw new Error(`${process.title}: not done after ${timeout} ms`);
      const text = (stream: "stdout" | "stderr") =>
        process.output(stream).map((line) => line + "\n").join("");
      return { ...status, stdout: text("stdout"), stderr: text("stderr") };
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Runs a program that must succeed.
   *
   * @returns its standard output.
   * @throws {Error} with its messages, when its code is not 0.
   */
  async must(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
    const result = await this.run(command, args, options);
    if (result.code !== 0) {
      throw new Error(
        `${this.name}: ${command} ${args.join(" ")}: code ${result.code}\n` + result.stderr.trim(),
      );
    }
    return result.stdout;
  }

  /** Starts a program; it is killed at the latest when the lab is closed. */
  spawn(command: string, args: readonly string[], options: ProgramOptions = {}): LabProcess {
    const identity = options.user === undefined
      ? []
      : ["setpriv", ...identityOf(options.user), "--"];
    const mounted = options.hosts === undefined
      ? []
      : ["unshare", "--mount", "--", "sh", "-c", MOUNT_HOSTS, options.hosts];
    const child = new Deno.Command("nsenter", {
      args: [
        ...[`--net=/run/netns/${this.namespace}`, "--", ...mounted, ...identity],
        ...[command, ...args],
      ],
      clearEnv: true,
      env: { ...this.#environment, ...options.env },
      cwd: options.cwd ?? this.#directory,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const process = new LabProcess(`${this.name}: ${command}`, child);
    this.#processes.push(process);
    return process;
  }

  /** Starts a packet capture; packets that come after the promise resolves are in it. */
  async capture(
    device: string,
    filter: string,
    options: CaptureOptions = {},
  ): Promise<Capture> {
    return await Capture.start(this, device, filter, options);
  }

  /** The host's TCP or UDP sockets, of both address families. */
  async sockets(protocol: "tcp" | "udp"): Promise<SocketEntry[]> {
    const text = await this.must("cat", [`/proc/net/${protocol}`, `/proc/net/${protocol}6`]);
    return parseSockets(text);
  }

  /**
   * Waits until a program listens on a TCP port, or has bound a UDP port.
   *
   * @param timeout in milliseconds
   * @throws {Error} when it does not in time.
   */
  async waitForListener(protocol: "tcp" | "udp", port: number, timeout = 10_000): Promise<void> {
    const end = Date.now() + timeout;
    for (;;) {
      const sockets = await this.sockets(protocol);
      if (sockets.some((s) => s.localPort === port && (protocol === "udp" || s.listening))) return;
      if (Date.now() > end) {
        throw new Error(`${this.name}: nothing listens on ${protocol}/${port} after ${timeout} ms`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /**
   * Tries to make a TCP connection, and closes it at once.
   *
   * @param timeout in milliseconds; the kernel repeats an unanswered SYN after a second
   */
  async tryConnect(address: string, port: number, timeout = 1_500): Promise<ConnectOutcome> {
    // bash: a client that is on every Debian. timeout(1) ends with 124 when it had to stop it.
    const result = await this.run("timeout", [
      (timeout / 1000).toString(),
      "bash",
      "-c",
      'exec 3<>"/dev/tcp/$0/$1"',
      address,
      String(port),
    ]);
    if (result.code === 0) return "connected";
    return result.code === 124 ? "unanswered" : "refused";
  }

  /** Waits for the end of every program; the lab calls it after it has killed them. */
  async settle(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.status));
  }
}

const MOUNT_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"';

function identityOf(user: string): string[] {
  for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
    const [name, , uid, gid] = line.split(":");
    if (name === user && uid !== undefined && gid !== undefined) {
      return [`--reuid=${uid}`, `--regid=${gid}`, "--init-groups"];
    }
  }
  throw new Error(`Cannot run a program as "${user}": there is no such account in /etc/passwd`);
}
