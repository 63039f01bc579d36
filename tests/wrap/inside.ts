/**
 * A broker, an installed wrapper, and users of a machine of their own (namespace.ts).
 *
 * @module
 */
import assert from "node:assert/strict";
import { Broker, type BrokerEvent } from "../../lib/broker/broker.ts";
import { ChannelLimits } from "../../lib/broker/limits.ts";
import { installWrapper, planWrapper } from "../../lib/broker/wrapper_install.ts";
import type { WrapperRecord } from "../../lib/broker/wrapper_record.ts";
import type { PinholeRequest } from "../../lib/pinhole/request.ts";
import { Poller } from "../../lib/sys/epoll.ts";
import { ownNamespace } from "../../lib/sys/socket_facts.ts";
import { listenUnix } from "../../lib/sys/unix_socket.ts";
import { ACCOUNTS } from "./namespace.ts";

/** The broker's socket. */
export const SOCKET = "/run/diaper/agent.sock";
/** Where the program of the tests is. */
export const TARGET = "/usr/local/libexec/client";
/** Where its wrapper is. */
export const WRAPPER = "/usr/local/bin/client";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/** How a program ended. */
export interface Outcome {
  readonly code: number;
  readonly lines: readonly string[];
  readonly stderr: string;
}

/** A program of a user; its input stays open until it is told to end. */
export class UserProgram {
  readonly pid: number;
  readonly #machine: Machine;
  readonly #child: Deno.ChildProcess;
  readonly #lines: string[] = [];
  #stderr = "";
  readonly #done: Promise<unknown>;
  #ended = false;

  /** Takes over a child whose three streams are piped. */
  constructor(machine: Machine, child: Deno.ChildProcess) {
    this.pid = child.pid;
    this.#machine = machine;
    this.#child = child;
    this.#done = Promise.all([this.#readLines(), this.#readErrors(), child.status])
      .then(() => this.#ended = true);
  }

  /** Waits for a line; those that came before count too. */
  async line(pattern: RegExp): Promise<RegExpExecArray> {
    const find = () => this.#lines.map((line) => pattern.exec(line)).find((m) => m !== null);
    await this.#machine.until(() => find() !== undefined || this.#ended);
    const found = find();
    assert.ok(found, `no line like ${pattern}: ${this.#lines.join(" | ")} ${this.#stderr}`);
    return found;
  }

  /** Writes a line to its input. */
  async write(line: string): Promise<void> {
    const writer = this.#child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(line + "\n"));
    writer.releaseLock();
  }

  /** Ends its input and waits for its end. */
  async end(): Promise<Outcome> {
    await this.#child.stdin.close().catch(() => undefined); // it may have ended by itself
    await this.#machine.until(() => this.#ended);
    await this.#done;
    const { code } = await this.#child.status;
    return { code, lines: this.#lines, stderr: this.#stderr };
  }

  async #readLines(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      this.#lines.push(...lines);
    }
  }

  async #readErrors(): Promise<void> {
    this.#stderr = await this.#child.stderr.text();
  }
}

/** The machine: programs built, wrapper installed, broker listening. */
export class Machine {
  /** Directory for files; alice and bob have one each in it. */
  readonly work: string;
  readonly requests: PinholeRequest[] = [];
  readonly events: BrokerEvent[] = [];
  readonly #poller = new Poller();
  readonly #broker: Broker;
  /** The outside host of the control connections; it need not say anything. */
  readonly #outside = Deno.listen({ hostname: "10.77.0.9", port: 2121 });

  private constructor(work: string) {
    this.work = work;
    const listener = listenUnix(SOCKET, "seqpacket");
    Deno.chmodSync(SOCKET, 0o666);
    this.#broker = new Broker(
      this.#poller,
      listener,
      {
        failBind: true,
        delegates: new Map(),
        namespace: ownNamespace(),
        isLocal: (address) => address.text === "10.77.0.1",
        openPorts: new Set(),
        limits: new ChannelLimits(1000, 100),
        recordStart: false,
      },
      (request, answer) => {
        this.requests.push(request);
        answer({ kind: "open", id: this.requests.length, why: "rule 1" });
      },
      (event) => this.events.push(event),
    );
  }

  /** Builds everything. */
  static async create(work: string): Promise<Machine> {
    const build = `${work}/build`;
    const programs = `${ROOT}tests/wrap/programs`;
    Deno.mkdirSync("/usr/local/libexec");
    const flags = ["-Wall", "-Wextra", "-Werror", "-std=gnu11", "-O1"];
    for (
      const [command, ...args] of [
        ["make", "-s", "-C", `${ROOT}agent`, `OUT=${build}`, "preload", `${build}/diaper-wrapper`],
        ["gcc", ...flags, "-o", TARGET, `${programs}/client.c`],
        ["musl-gcc", ...flags, "-Wl,--build-id", "-o", `${TARGET}-musl`, `${programs}/client.c`],
        ["gcc", ...flags, "-o", `${build}/attacker`, `${programs}/attacker.c`],
        ["gcc", ...flags, "-shared", "-fPIC", "-o", `${build}/thief.so`, `${programs}/thief.c`],
      ]
    ) {
      const { code, stderr } = await new Deno.Command(command as string, { args }).output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
    }
    const machine = new Machine(work);
    machine.install();
    return machine;
  }

  /** Installs the wrapper, or one with another agent inside. */
  install(agent = "libdiaper-agent.so", path = WRAPPER, program = TARGET): WrapperRecord {
    const read = (name: string) => Deno.readFileSync(`${this.work}/build/${name}`);
    const plan = planWrapper(
      { program, delegate: "ftpclient", path, socket: SOCKET },
      { wrapper: read("diaper-wrapper"), agent: read(agent) },
    );
    installWrapper(plan);
    return plan.record;
  }

  /** Path of the attacker's program. */
  get attacker(): string {
    return `${this.work}/build/attacker`;
  }

  /** Starts a program as a user. */
  start(
    user: keyof typeof ACCOUNTS | "root",
    command: readonly string[],
  ): UserProgram {
    const id = user === "root" ? 0 : ACCOUNTS[user];
    return new UserProgram(
      this,
      new Deno.Command("setpriv", {
        args: [`--reuid=${id}`, `--regid=${id}`, "--clear-groups", ...command],
        cwd: `${this.work}/alice`,
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
      }).spawn(),
    );
  }

  /** Runs a program as a user to its end; its input is empty. */
  async run(
    user: keyof typeof ACCOUNTS | "root",
    command: readonly string[],
  ): Promise<Outcome> {
    return await this.start(user, command).end();
  }

  /** Has the broker work until something holds. */
  async until(condition: () => boolean): Promise<void> {
    for (const end = Date.now() + 20_000; !condition();) {
      assert.ok(Date.now() < end, "it did not happen in 20 s");
      this.#poller.wait(2);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }

  /** What was refused since the last call, with who tried: `53002 why`. */
  async refusals(): Promise<string[]> {
    while (this.#poller.wait(0) > 0);
    await Promise.resolve();
    return this.events.splice(0).map((event) => `${event.uid} ${event.why}`);
  }

  /** The requests since the last call. */
  async asked(): Promise<PinholeRequest[]> {
    while (this.#poller.wait(0) > 0);
    await Promise.resolve();
    return this.requests.splice(0);
  }

  /** Ends the broker. */
  close(): void {
    this.#outside.close();
    this.#broker.close();
    this.#poller.close();
  }
}
