/**
 * Diaper on a host of the lab: the daemon `diaper up` with a perimeter of its own, or another role, and
 * what it says.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Host, ProgramOptions, RunResult } from "./host.ts";
import type { Lab } from "./lab.ts";
import type { ExitStatus, LabProcess } from "./process.ts";

/** What the daemon is to do. */
export interface DiaperSpec {
  /** Rules of the site policy, one a line. */
  readonly policy: readonly string[];
  /** Ports that are always open, as `tcp/21`. */
  readonly openPorts: readonly string[];
  /** The program; the built binary without it. */
  readonly command?: string;
  /** More settings of the perimeter, as lines of YAML. */
  readonly perimeter?: readonly string[];
  /** More of the configuration, as lines of YAML. */
  readonly settings?: readonly string[];
}

/** A line of the audit trail. */
export interface AuditLine {
  /** Such as `pinhole.opened`. */
  readonly event_type: string;
  /** RFC 3339, UTC. */
  readonly timestamp: string;
  /** What belongs to this kind of event. */
  readonly [field: string]: unknown;
}

/** The binary that scripts/build makes. */
export const DIAPER_BINARY: string = fileURLToPath(
  new URL("../../dist/diaper", import.meta.url),
);

/** The daemon of one host. */
export class DiaperHost {
  /** Where it runs. */
  readonly host: Host;
  /** Its configuration file. */
  readonly config: string;
  /** The policy file. */
  readonly policy: string;
  readonly #base: string;
  readonly #command: string;
  readonly #role: readonly string[];
  #daemon: LabProcess;

  private constructor(host: Host, base: string, command: string, role: readonly string[]) {
    this.host = host;
    this.#base = base;
    this.#command = command;
    this.#role = role;
    this.config = `${base}/diaper.yaml`;
    this.policy = `${base}/site.policy`;
    this.#daemon = this.#spawnDaemon();
  }

  /**
   * Starts the daemon on a host and waits until it answers; its perimeter is closed then.
   *
   * @throws {Error} with its messages, when it does not start.
   */
  static async up(lab: Lab, host: Host, spec: DiaperSpec): Promise<DiaperHost> {
    const base = diaperDirectory(lab, host);
    writeFileSync(`${base}/site.policy`, spec.policy.map((rule) => rule + "\n").join(""));
    return await DiaperHost.role(lab, host, ["up"], [
      "perimeter:",
      "  hooks: [input]",
      `  open_ports: [${spec.openPorts.join(", ")}]`,
      ...(spec.perimeter ?? []).map((line) => `  ${line}`),
      ...(spec.settings ?? []),
    ], spec.command);
  }

  /**
   * Starts a role on a host and waits until it answers.
   *
   * @param words the verb and its arguments.
   * @param settings more lines of the configuration; files are below {@link diaperDirectory}.
   * @param start the daemon's name, when there are several on the host, and what it says when it is ready,
   *   when it does not answer then.
   * @throws {Error} with its messages, when it does not start.
   */
  static async role(
    lab: Lab,
    host: Host,
    words: readonly string[],
    settings: readonly string[],
    command = DIAPER_BINARY,
    start: { readonly name?: string; readonly ready?: RegExp } = {},
  ): Promise<DiaperHost> {
    if (!existsSync(command)) throw new Error(`There is no ${command}: run scripts/build first`);
    const base = diaperDirectory(lab, host, start.name);
    writeFileSync(`${base}/diaper.yaml`, [...ownSettings(base), ...settings, ""].join("\n"));
    const diaper = new DiaperHost(host, base, command, words);
    if (start.ready === undefined) await diaper.#ready();
    else await diaper.#daemon.waitForLine(start.ready, 30_000);
    return diaper;
  }

  /** The daemon's process. */
  get daemon(): LabProcess {
    return this.#daemon;
  }

  /** Runs a verb to its end. */
  async verb(name: string, ...args: string[]): Promise<RunResult> {
    const words = name.split(" ");
    return await this.host.run(this.#command, [...words, "--config", this.config, ...args]);
  }

  /**
   * Starts a program under the agent.
   *
   * @param options more options of `diaper run`
   * @param how environment and the like
   */
  run(
    delegate: string,
    command: string,
    args: readonly string[],
    options: readonly string[] = [],
    how: ProgramOptions = {},
  ): LabProcess {
    return this.host.spawn(this.#command, [
      ...["run", "--config", this.config, "--delegate", delegate, ...options],
      ...["--", command, ...args],
    ], how);
  }

  /** What `diaper run` sets in a program's environment, for programs that are started without it. */
  async agentEnvironment(delegate: string): Promise<Record<string, string>> {
    const args = [
      "run",
      "--config",
      this.config,
      "--delegate",
      delegate,
      "--dry-run",
      "--",
      "true",
    ];
    const lines = (await this.host.must(this.#command, args)).split("\n");
    return Object.fromEntries(
      lines.flatMap((line) => {
        const match = /^([A-Z_]+)=(.*)$/.exec(line);
        return match === null ? [] : [[match[1] as string, match[2] as string]];
      }),
    );
  }

  /**
   * The pinholes that `diaper pinhole list --json` tells of.
   *
   * @throws {Error} when the daemon does not answer.
   */
  async pinholes(): Promise<Record<string, unknown>[]> {
    const { code, stdout, stderr } = await this.verb("pinhole list", "--json");
    if (code !== 0) throw new Error(`diaper pinhole list: code ${code}\n${stderr}`);
    return stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
  }

  /** Pinholes in the kernel: elements of nftables sets whose key is a whole tuple. */
  async kernelPinholes(): Promise<unknown[]> {
    const { nftables } = JSON.parse(await this.host.must("nft", ["-j", "list", "ruleset"])) as {
      nftables: { set?: { elem?: unknown[] } }[];
    };
    return nftables.flatMap((object) => object.set?.elem ?? []).filter((element) =>
      tupleLength(element) >= 4
    );
  }

  /** The audit trail so far, as the daemon has written it. */
  events(): AuditLine[] {
    const path = `${this.#base}/log/audit.jsonl`;
    if (!existsSync(path)) return [];
    const lines = readFileSync(path, "utf8").split("\n");
    lines.pop(); // what follows the last line end: nothing, or a line that is being written
    return lines.map((line) => JSON.parse(line) as AuditLine);
  }

  /**
   * Waits for an event, among those that came already too.
   *
   * @param timeout in milliseconds
   * @throws {Error} when it does not come in time.
   */
  async waitForEvent(wanted: (event: AuditLine) => boolean, timeout = 10_000): Promise<AuditLine> {
    const end = Date.now() + timeout;
    for (;;) {
      const found = this.events().find(wanted);
      if (found !== undefined) return found;
      if (Date.now() > end) throw new Error(`diaper: no such audit event in ${timeout} ms`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Ends the daemon; the perimeter stays. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<ExitStatus> {
    return await this.#daemon.stop(signal);
  }

  /** Starts the daemon again, after it was stopped or killed. */
  async restart(): Promise<void> {
    await this.stop();
    this.#daemon = this.#spawnDaemon();
    await this.#ready();
  }

  #spawnDaemon(): LabProcess {
    return this.host.spawn(this.#command, [...this.#role, "--config", this.config]);
  }

  /** Waits until the daemon answers at its control socket. */
  async #ready(timeout = 30_000): Promise<void> {
    const end = Date.now() + timeout;
    for (;;) {
      if (!this.#daemon.running) {
        const said = this.#daemon.output().join("\n");
        throw new Error(
          `diaper ${this.#role[0]} ended with code ${(await this.#daemon.status).code}:\n${said}`,
        );
      }
      if (existsSync(`${this.#base}/run/control.sock`)) {
        const { code, stderr } = await this.verb("status", "--json");
        if (code === 0) return;
        if (Date.now() > end) throw new Error(`diaper status: code ${code}\n${stderr}`);
      } else if (Date.now() > end) {
        throw new Error(
          `diaper ${this.#role[0]} made no control socket:\n${this.#daemon.output().join("\n")}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** The directory of a host's daemon, made when it is not there. */
export function diaperDirectory(lab: Lab, host: Host, name = host.name): string {
  const base = lab.path(`diaper-${name}`);
  mkdirSync(base, { mode: 0o755, recursive: true });
  for (const [name, mode] of [["run", 0o755], ["state", 0o700], ["log", 0o750]] as const) {
    mkdirSync(`${base}/${name}`, { mode, recursive: true });
  }
  return base;
}

/** The configuration's lines that say where a daemon below `base` keeps its files. */
function ownSettings(base: string): string[] {
  return [
    `policy: ${base}/site.policy`,
    `run_dir: ${base}/run`,
    `state_dir: ${base}/state`,
    `log_dir: ${base}/log`,
    "control_group: root",
  ];
}

/** Number of fields in a set element's key: `{elem: {val: {concat: [...]}}}` or less of it. */
function tupleLength(element: unknown): number {
  const inner = (element as { elem?: { val?: unknown } }).elem?.val ?? element;
  const concat = (inner as { concat?: unknown[] }).concat;
  return Array.isArray(concat) ? concat.length : 1;
}
