/**
 * One case under way: its daemon, its two ends, and what is seen of them.
 *
 * @module
 */
import { type AuditLine, DiaperHost } from "../lab/diaper.ts";
import type { Host, RunResult } from "../lab/host.ts";
import type { LabProcess } from "../lab/process.ts";
import { RemoteSite } from "../lab/remote.ts";
import type { Command, MatrixCase, Play } from "./case.ts";
import type { Field, Flow } from "./field.ts";
import { Neighbour } from "./neighbour.ts";

/** What happened with a number of clients. */
export interface Phase {
  /** Clients at once, each at a host of its own. */
  readonly clients: number;
  /** From the start of the first to the end of the last. */
  readonly seconds: number;
  /** Pinholes that were opened. */
  readonly opened: number;
  /** Those that their own host has used. */
  readonly used: number;
  /** Median of their opening times, from the request to the enforcer's answer; milliseconds. */
  readonly openMs: number | undefined;
  /** Everything that is not as it must be, in words. */
  readonly problems: readonly string[];
}

/** What the neighbour could do. */
export interface NeighbourResult {
  /** Pinholes of others that it tried while they were open. */
  readonly tried: number;
  /** Its packets that the perimeter let in. */
  readonly passed: number;
}

/** Milliseconds in which a session without the agent must not succeed. */
const DENIED_AFTER = 2_500;
const PATIENCE = 60_000;

/** A case under way; it must have begun in its field. */
export class CaseRun {
  readonly #field: Field;
  readonly #case: MatrixCase;
  readonly #play: Play;
  #diaper: DiaperHost | undefined;
  /** Where the perimeter is kept, when that is elsewhere than the programs. */
  #site: RemoteSite | undefined;
  #neighbour: Neighbour | undefined;
  #listeners: LabProcess[] = [];
  /** When the last transfer ended, on the clock of `performance.now`. */
  #lastEnd = -Infinity;

  constructor(field: Field, matrixCase: MatrixCase, play: Play) {
    this.#field = field;
    this.#case = matrixCase;
    this.#play = play;
  }

  /**
   * The daemon.
   *
   * @throws {Error} before it was started.
   */
  get daemon(): DiaperHost {
    if (this.#diaper === undefined) throw new Error("The daemon was not started");
    return this.#diaper;
  }

  /** Closes the perimeter. */
  async close(): Promise<void> {
    const { lab, inside, outside, neighbour, address, prefix, network } = this.#field;
    const range = (protocol: string) =>
      `allow matrix * ${protocol} ${prefix} * ${address} 20,1024-65535`;
    const policy = [range("tcp"), range("udp")];
    const openPorts = this.#case.open;
    if (network !== "router") {
      this.#diaper = await DiaperHost.up(lab, inside, { policy, openPorts });
      return;
    }
    const devices = [...outside, neighbour].map((host) => host.name);
    const delegates = ["matrix"];
    this.#site = await RemoteSite.start(
      lab,
      { server: "embedded", policy, openPorts, delegates },
      devices,
    );
    this.#diaper = await this.#site.broker(inside, "matrix");
  }

  /** Closes the perimeter, and has the neighbour ready. */
  async start(): Promise<void> {
    await this.close();
    this.#neighbour = await Neighbour.start(this.#field.neighbour, this.#field.address);
  }

  /** Starts the listening ends with neither agent nor perimeter. */
  async listenNatively(clients: number): Promise<void> {
    await this.#listen(clients, false);
  }

  /** Starts a session of a host; `result` is there when it has ended. */
  begin(host: number): { process: LabProcess; result: Promise<RunResult> } {
    const watched = this.#case.inside === "client";
    const process = this.#spawn(this.#play.session(host), this.#sessionHost(host), watched);
    return { process, result: this.#finish(process, host) };
  }

  /**
   * Runs one session and checks what arrived, not before the server has had its rest.
   *
   * @param environment of a client inside: the agent's, so that starting `diaper run` is not in the time
   * @returns milliseconds from the start of the session's program to its end.
   * @throws {Error} when it failed.
   */
  async transfer(host: number, environment: Readonly<Record<string, string>>): Promise<number> {
    const { program, args, input: _, ...options } = this.#play.session(host);
    const from = this.#sessionHost(host);
    // By env, so that the agent is in the program alone, and not in what enters the namespace for it.
    const set = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    const rest = (this.#case.rest ?? 0) - (performance.now() - this.#lastEnd);
    if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
    const started = performance.now();
    const process = from.spawn("env", [...set, program, ...args], options);
    const result = await resultOf(process);
    this.#lastEnd = performance.now();
    const milliseconds = this.#lastEnd - started;
    const problem = await verified(this.#play, host, result);
    if (problem !== undefined) throw new Error(`${this.#case.name}: ${problem}`);
    return milliseconds;
  }

  /** Runs a session without the agent; true when the perimeter stopped it. */
  async withoutAgent(): Promise<boolean | undefined> {
    if (!this.#case.needed) return undefined;
    const before = await this.#field.dropped();
    await this.#listen(1, false);
    const session = this.#spawn(this.#play.session(0), this.#sessionHost(0), false);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      session.kill("SIGKILL");
    }, DENIED_AFTER);
    const result = await this.#finish(session, 0);
    clearTimeout(timer);
    const arrived = !late && await verified(this.#play, 0, result) === undefined;
    await this.#stopListeners();
    if (!arrived && await this.#field.dropped() === before) {
      throw new Error(`Without the agent nothing came to the perimeter: ${tail(session.output())}`);
    }
    return !arrived;
  }

  /** Runs sessions with neither agent nor perimeter. */
  async natively(clients: number): Promise<{ seconds: number; problems: string[] }> {
    await this.#listen(clients, false);
    const { results, seconds } = await this.#sessions(clients, false);
    const problems = await this.#verifyAll(results);
    await this.#stopListeners();
    return { seconds, problems };
  }

  /** Starts the listening ends: the server under the agent, or plain ones at the outside hosts. */
  async listen(clients: number): Promise<void> {
    await this.#listen(clients, this.#case.inside === "server");
  }

  /** Sessions from hosts 0 to `clients` - 1 at once. */
  async phase(clients: number): Promise<Phase> {
    await this.#field.forgetFlows();
    const from = this.daemon.events().length;
    let running = true;
    const probing = this.#probe(from, () => running);
    const { results, seconds } = await this.#sessions(clients, this.#case.inside === "client");
    const problems = await this.#verifyAll(results);
    problems.push(...await this.#allClosed(from, this.#case.lasting ?? 0));
    running = false;
    await probing;
    const events = this.daemon.events().slice(from);
    const opened = events.filter((e) => e.event_type === "pinhole.opened");
    const flows = await this.#field.flows();
    problems.push(...this.#judge(clients, events, opened, flows));
    return {
      ...{ clients, seconds, problems, opened: opened.length },
      used: opened.filter((e) => flows.some((flow) => belongs(flow, e))).length,
      openMs: median(opened.map((e) => Number(e["open_ms"]))),
    };
  }

  /** Ends the inside program; nothing may be open afterwards. */
  async end(): Promise<string[]> {
    await this.#stopListeners();
    const problems = await this.#allClosed(0);
    const listed = await this.daemon.pinholes();
    const guard = this.#site?.controller ?? this.daemon;
    const kernel = await guard.kernelPinholes();
    if (listed.length > 0) problems.push(`${listed.length} pinholes are listed after the end`);
    if (kernel.length > 0) problems.push(`the kernel has ${kernel.length} pinholes after the end`);
    const events = [...this.daemon.events(), ...guard.events()];
    const faults = events.filter((e) => /fault|failed|damaged/.test(e.event_type));
    problems.push(...faults.map((e) => JSON.stringify(e)));
    await this.daemon.stop();
    await this.#site?.controller.stop();
    return problems;
  }

  /** How many pinholes the neighbour tried while they were open, and whether it got through. */
  async neighbourResult(): Promise<NeighbourResult> {
    const attempts = this.#neighbour?.attempts() ?? [];
    const events = this.#diaper?.events() ?? [];
    const tried =
      attempts.filter((attempt) =>
        events.some((opened) =>
          opened.event_type === "pinhole.opened" && isPort(opened, attempt) &&
          Date.parse(opened.timestamp) <= attempt.at &&
          !events.some((closed) =>
            closed.event_type === "pinhole.closed" && closed["id"] === opened["id"] &&
            Date.parse(closed.timestamp) <= attempt.at
          )
        )
      ).length;
    const { passed } = await this.#field.neighbourPackets();
    await this.#neighbour?.stop();
    return { tried, passed };
  }

  async #listen(clients: number, watched: boolean): Promise<void> {
    const inside = this.#case.inside === "server";
    const count = inside && this.#case.serverEach !== true ? 1 : clients;
    await Promise.all(Array.from({ length: count }, async (_, i) => {
      const host = inside ? this.#field.inside : this.#field.host(i);
      const { protocol, port } = this.#play.ready(i);
      const listener = this.#spawn(this.#play.listen(i), host, watched);
      this.#listeners.push(listener);
      const ready = host.waitForListener(protocol, port, 60_000);
      const ended = listener.status.then(async ({ code }) => {
        if (code !== 0) {
          throw new Error(`${listener.title}: code ${code}\n${tail(listener.output())}`);
        }
        await ready; // it went to the background
      });
      await Promise.race([ready, ended]);
      ended.catch(() => undefined); // killed later
    }));
  }

  async #stopListeners(): Promise<void> {
    const { inside, outside } = this.#field;
    const daemon = this.#diaper?.daemon.pid;
    await this.#field.kill(
      this.#case.inside === "server" ? [inside] : outside,
      daemon === undefined ? [] : [daemon],
    );
    await Promise.all(this.#listeners.map((listener) => listener.status));
    this.#listeners = [];
  }

  #sessionHost(i: number): Host {
    return this.#case.inside === "server" ? this.#field.host(i) : this.#field.inside;
  }

  #spawn(command: Command, host: Host, watched: boolean): LabProcess {
    const { program, args, input, ...options } = command;
    const process = watched
      ? this.daemon.run("matrix", program, args, this.#case.run ?? [], options)
      : host.spawn(program, args, options);
    // A program that ends without reading its input is no error: its exit code tells.
    if (input !== undefined) process.write(input).then(() => process.closeInput()).catch(() => {});
    return process;
  }

  async #sessions(
    clients: number,
    watched: boolean,
  ): Promise<{ results: RunResult[]; seconds: number }> {
    const started = performance.now();
    const sessions = Array.from(
      { length: clients },
      (_, i) => this.#spawn(this.#play.session(i), this.#sessionHost(i), watched),
    );
    const timer = setTimeout(() => {
      for (const session of sessions) session.kill("SIGKILL");
    }, this.#case.patience ?? PATIENCE);
    try {
      const results = await Promise.all(sessions.map((session, i) => this.#finish(session, i)));
      return { results, seconds: (performance.now() - started) / 1000 };
    } finally {
      clearTimeout(timer);
    }
  }

  /** The session's result, or that of an outside host which uses a program that does not end by itself. */
  async #finish(session: LabProcess, host: number): Promise<RunResult> {
    if (this.#play.use === undefined) return await resultOf(session);
    const user = this.#spawn(this.#play.use(host), this.#field.host(host), false);
    session.status.then(() => user.kill("SIGKILL")); // it was late
    const result = await resultOf(user);
    await session.stop();
    return result.code === 0
      ? result
      : { ...result, stderr: result.stderr + tail(session.output()) };
  }

  async #verifyAll(results: readonly RunResult[]): Promise<string[]> {
    const problems: string[] = [];
    for (const [host, result] of results.entries()) {
      const problem = await verified(this.#play, host, result);
      if (problem !== undefined) {
        problems.push(`client ${host + 1} of ${results.length}: ${problem}`);
      }
    }
    return problems;
  }

  /** Has the neighbour try each pinhole as soon as it is known. */
  async #probe(from: number, running: () => boolean): Promise<void> {
    for (let next = from; running();) {
      const events = this.daemon.events();
      for (; next < events.length; next++) {
        const event = events[next] as AuditLine;
        if (event.event_type !== "pinhole.opened") continue;
        await this.#neighbour?.attempt({
          protocol: event["proto"] as "tcp" | "udp",
          port: Number(event["destination_port"]),
        });
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Waits until every pinhole since an event is closed, but some that last; says which are not. */
  async #allClosed(from: number, lasting = 0): Promise<string[]> {
    const left = () => {
      const events = this.daemon.events().slice(from);
      const closed = new Set(
        events.filter((e) => e.event_type === "pinhole.closed").map((e) => e["id"]),
      );
      return events.filter((e) => e.event_type === "pinhole.opened" && !closed.has(e["id"]));
    };
    const end = Date.now() + 10_000;
    while (left().length > lasting && Date.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return left().slice(lasting).map((e) => `not closed: ${describe(e)}`);
  }

  /** Every pinhole for the right host, every flow from outside by a pinhole of its own. */
  #judge(clients: number, events: AuditLine[], opened: AuditLine[], flows: Flow[]): string[] {
    const problems: string[] = [];
    for (const event of events) {
      const refused = /^(pinhole\.(refused|failed)|request\.refused)$/.test(event.event_type);
      if (refused && this.#case.refused !== event["why"]) {
        problems.push(`${event.event_type}: ${JSON.stringify(event)}`);
      }
    }
    const { pinholes } = this.#case;
    const [low, high] = typeof pinholes === "number" ? [pinholes, pinholes] : pinholes;
    const sources = Array.from({ length: clients }, (_, i) => this.#field.source(i));
    for (const source of sources) {
      const count = opened.filter((e) => e["source"] === source).length;
      if (count < low || count > high) {
        problems.push(
          `${source} has had ${count} pinholes, not ${low}` +
            (low === high ? "" : ` to ${high}`),
        );
      }
    }
    for (const e of opened) {
      const right = sources.includes(String(e["source"])) &&
        e["destination"] === this.#field.address;
      if (!right) problems.push(`for a wrong host: ${describe(e)}`);
    }
    const every = this.daemon.events().filter((e) => e.event_type === "pinhole.opened");
    for (const flow of flows) {
      if (!sources.includes(flow.source) || this.#isOpen(flow)) continue;
      if (!every.some((e) => belongs(flow, e))) {
        problems.push(`${flow.source} went to ${flow.protocol}/${flow.port} without a pinhole`);
      }
    }
    return problems;
  }

  #isOpen({ protocol, port }: Flow): boolean {
    return this.#case.open.includes(`${protocol}/${port}`);
  }
}

async function resultOf(process: LabProcess): Promise<RunResult> {
  const status = await process.status;
  const text = (stream: "stdout" | "stderr") => process.output(stream).join("\n");
  return { ...status, stdout: text("stdout"), stderr: text("stderr") };
}

/** What is wrong with a session; undefined when nothing is. */
async function verified(play: Play, host: number, result: RunResult): Promise<string | undefined> {
  try {
    await play.verify(host, result);
    return undefined;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return `${why} (code ${result.code}) ${tail(`${result.stdout}\n${result.stderr}`.split("\n"))}`;
  }
}

function isPort(event: AuditLine, port: { protocol: string; port: number }): boolean {
  return event["proto"] === port.protocol && event["destination_port"] === port.port;
}

function belongs(flow: Flow, event: AuditLine): boolean {
  return isPort(event, flow) && event["source"] === flow.source;
}

function describe(e: AuditLine): string {
  return `${e["proto"]} ${e["source"]} > ${e["destination"]}:${e["destination_port"]}`;
}

function tail(lines: readonly string[]): string {
  return lines.filter((line) => line !== "").slice(-4).join(" | ").slice(-600);
}

function median(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
