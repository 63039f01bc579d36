/**
 * What the tests of the interposition agent share: they build the agent and the programs into a
 * directory of their own, and run programs with and without the agent in a network namespace, next
 * to a broker that prints what it is told.
 */
import assert from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url).pathname;
const PROGRAMS = `${ROOT}tests/agent/programs`;
const HAZARDS = [
  "main",
  "support",
  "descriptors",
  "processes",
  "sockets",
  "datagrams",
  "waiting",
  "multiplexed",
  "mixed",
];

/** The C library that a test program is linked with. */
export type Libc = "glibc" | "musl";

const COMPILERS: Record<Libc, string> = { glibc: "gcc", musl: "musl-gcc" };

/** Files that a test file's build made. */
export interface Build {
  readonly directory: string;
  readonly agent: string;
  readonly broker: string;
  readonly hazard: Record<Libc, string>;
}

/** One line of the test broker; fields as in tests/agent/programs/broker.c. */
export interface BrokerEvent {
  readonly event: "ready" | "channel" | "hello" | "open" | "error" | "end";
  readonly channel: number;
  readonly by?: "connect" | "passed";
  readonly pid?: number;
  readonly channel_pid?: number;
  readonly uid?: number;
  readonly delegate?: string;
  readonly proto?: "tcp" | "udp";
  readonly local?: string;
  readonly port?: number;
  readonly cookie?: string;
  readonly source?: string;
  readonly source_port?: number;
  readonly control?: string;
  readonly control_port?: number;
  /** 1: the ways to tell the peer disagreed, `other` is the one not taken; 2: it is not clear. */
  readonly flags?: number;
  readonly other?: string;
  readonly why?: string;
}

/** How a program ended. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end; its input is empty. */
export async function execute(command: string, args: string[]): Promise<Outcome> {
  const result = await new Deno.Command(command, { args, stdin: "null", cwd: ROOT }).output();
  const decoder = new TextDecoder();
  return {
    code: result.code,
    stdout: decoder.decode(result.stdout),
    stderr: decoder.decode(result.stderr),
  };
}

async function succeed(command: string, args: string[]): Promise<void> {
  const { code, stdout, stderr } = await execute(command, args);
  assert.equal(code, 0, `${command} ${args.join(" ")}\n${stdout}${stderr}`);
}

/** Builds agent, broker and hazards into a new directory. */
async function make(): Promise<Build> {
  const directory = await Deno.makeTempDir({ prefix: "diaper-agent-" });
  addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));
  await Deno.chmod(directory, 0o755);
  const build: Build = {
    directory,
    agent: `${directory}/libdiaper-agent.so`,
    broker: `${directory}/broker`,
    hazard: { glibc: `${directory}/hazard-glibc`, musl: `${directory}/hazard-musl` },
  };
  const flags = ["-Wall", "-Wextra", "-Werror", "-std=gnu11", "-O1", "-pthread"];
  const sources = HAZARDS.map((name) => `${PROGRAMS}/${name}.c`);
  await makeAgent(directory);
  await Promise.all([
    succeed("gcc", [...flags, "-o", build.broker, `${PROGRAMS}/broker.c`]),
    succeed(COMPILERS.glibc, [...flags, "-o", build.hazard.glibc, ...sources]),
    succeed(COMPILERS.musl, [...flags, "-o", build.hazard.musl, ...sources]),
  ]);
  return build;
}

/** Builds the agent alone into a directory. */
export async function makeAgent(directory: string): Promise<void> {
  await succeed("make", ["-s", "-C", `${ROOT}agent`, "preload", `OUT=${directory}`]);
}

let made: Promise<Build> | undefined;

/** Gives agent, broker and hazards, which a test file builds once, to `use`. */
export async function withBuild(use: (build: Build) => Promise<void>): Promise<void> {
  await use(await (made ??= make()));
}

/** A running test broker. */
export class Broker {
  readonly path: string;
  readonly events: BrokerEvent[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #wake: () => void = () => {};

  private constructor(path: string, child: Deno.ChildProcess) {
    this.path = path;
    this.#child = child;
    this.#reading = this.#read();
  }

  /** Starts one at a path; returns when it listens. */
  static async start(build: Build, options: string[] = [], path?: string): Promise<Broker> {
    const at = path ?? `${build.directory}/${crypto.randomUUID()}.sock`;
    const child = new Deno.Command(build.broker, {
      args: [at, ...options],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const broker = new Broker(at, child);
    await broker.until(({ event }) => event === "ready");
    await Deno.chmod(at, 0o666);
    return broker;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.events.push(JSON.parse(line));
      this.#wake();
    }
    this.#wake();
  }

  /** Waits until an event of this kind has come. */
  async until(wanted: (event: BrokerEvent) => boolean): Promise<BrokerEvent> {
    let ended = false;
    this.#reading?.then(() => ended = true);
    for (;;) {
      const found = this.events.find(wanted);
      if (found !== undefined) return found;
      assert.ok(!ended, "the broker ended before the event came");
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Ends the broker; all events are there afterwards. */
  async stop(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#reading;
  }

  /**
   * The pinholes that were asked for, as `proto local:port for source by control:port`; with `not other`
   * where the agent was not sure, and for nobody where it could not tell.
   */
  opens(): string[] {
    return this.events.filter(({ event }) => event === "open").map((open) => {
      const bound = `${open.proto} ${open.local} ${open.port} for`;
      if (open.flags === 2) return `${bound} nobody`;
      const disputed = open.flags === 1 ? ` not ${open.other}` : "";
      return `${bound} ${open.source} by ${open.control} ${open.control_port}${disputed}`;
    });
  }
}

const NAMESPACE = [
  "ip link set lo up",
  "for i in 1 2 3 4 5 9 $(seq 10 29); do ip addr add 10.77.0.$i/24 dev lo; done",
  "for i in 1 2; do ip addr add fd77::$i/64 dev lo nodad; done",
  // The kernel adds routes to new IPv6 addresses in the background.
  "until [ $(ip -6 route show table local | grep -c '^local fd77::[12] ') = 2 ]; do :; done",
  "until ip route get fd77::1 from fd77::2 >/dev/null 2>&1; do :; done",
  'exec "$@"',
].join("; ");

/**
 * Arguments that run a command in a network namespace of its own, in which 10.77.0.1 is the host.
 * With its own process namespace too, whose end, or 60 seconds, or the end of this process ends all in it.
 */
export function inNamespace(command: string[]): { command: string; args: string[] } {
  return {
    command: "timeout",
    args: [
      ...["-k", "1", "60", "setpriv", "--pdeathsig", "KILL"],
      ...["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"],
      ...["sh", "-euc", NAMESPACE, "sh", ...command],
    ],
  };
}

/** What goes before a program to have it run under the agent. */
export function underAgent(build: Build, broker: string, variables: string[] = []): string[] {
  return ["env", `LD_PRELOAD=${build.agent}`, `DIAPER_SOCKET=${broker}`, ...variables];
}

/** Runs a program in a namespace without an agent. */
export function runPlain(program: string[]): Promise<Outcome> {
  const { command, args } = inNamespace(program);
  return execute(command, args);
}

/** Runs a program in a namespace under the agent, next to a broker. */
export async function runWatched(
  build: Build,
  program: string[],
  settings: { broker?: string[]; variables?: string[] } = {},
): Promise<Outcome & { broker: Broker }> {
  const broker = await Broker.start(build, settings.broker);
  try {
    const watched = [...underAgent(build, broker.path, settings.variables), ...program];
    const { command, args } = inNamespace(watched);
    return { ...await execute(command, args), broker };
  } finally {
    await broker.stop();
  }
}
