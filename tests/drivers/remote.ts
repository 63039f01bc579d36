/**
 * Programs of this folder that run on a lab's host and do what a test tells them, a JSON line for
 * each call and one for its answer.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type {
  ChangeResult,
  Counters,
  Enforcer,
  EnforcerCapabilities,
  EnforcerChange,
  ListedEntry,
} from "../../drivers/enforcer.ts";
import type { NftablesOptions } from "../../drivers/nftables.ts";
import type { KernelFeatures } from "../../drivers/nftables_pinholes.ts";
import type { OpenPort } from "../../drivers/nftables_rules.ts";
import { type IpAddress, parseIp } from "../../lib/net/ip.ts";
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";
import type { Host } from "../lab/host.ts";
import type { LabProcess } from "../lab/process.ts";

/** One call: what to do, with which values. */
export interface Call {
  readonly id: number;
  readonly method: string;
  readonly parameters: readonly unknown[];
}

/** A program that takes calls. */
export class RemoteProgram {
  readonly process: LabProcess;
  #calls = 0;

  private constructor(process: LabProcess) {
    this.process = process;
  }

  /** Starts a program of this folder on the host. */
  static async start(
    host: Host,
    file: string,
    args: readonly string[] = [],
  ): Promise<RemoteProgram> {
    const path = fileURLToPath(new URL(file, import.meta.url));
    const flags = ["run", "--no-check", "--cached-only", "--unstable-net", "-A"];
    const process = host.spawn(Deno.execPath(), [...flags, path, ...args]);
    await process.waitForLine(/^ready$/, 30_000);
    return new RemoteProgram(process);
  }

  /**
   * Makes a call and gives its result.
   *
   * @throws {Error} with the message that the program's error had.
   */
  async call(method: string, ...parameters: readonly unknown[]): Promise<unknown> {
    const id = ++this.#calls;
    const call: Call = { id, method, parameters };
    await this.process.write(`${JSON.stringify(call, writeValue)}\n`);
    const [, text] = await this.process.waitForLine(new RegExp(`^${id} (.*)$`), 60_000);
    const answer = JSON.parse(text as string, readValue) as { result?: unknown; error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.result;
  }

  /** Ends it at once. */
  async stop(): Promise<void> {
    await this.process.stop("SIGKILL");
  }
}

/** Takes calls from standard input until it ends, and answers them in order. */
export async function serve(
  methods: Record<string, (...parameters: never[]) => unknown>,
): Promise<void> {
  const write = (line: string) => Deno.stdout.write(new TextEncoder().encode(`${line}\n`));
  await write("ready");
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of Deno.stdin.readable) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const { id, method, parameters } = JSON.parse(line, readValue) as Call;
      let answer: { result?: unknown; error?: string };
      try {
        answer = { result: await methods[method]?.(...parameters as never[]) };
      } catch (error) {
        answer = { error: String(error) };
      }
      await write(`${id} ${JSON.stringify(answer, writeValue)}`);
    }
  }
}

/** A driver that runs on a host of the lab. */
export class RemoteEnforcer implements Enforcer {
  readonly name: string;
  readonly capabilities: EnforcerCapabilities;
  readonly program: RemoteProgram;

  private constructor(name: string, program: RemoteProgram, capabilities: EnforcerCapabilities) {
    this.name = name;
    this.program = program;
    this.capabilities = capabilities;
  }

  /** Starts the nftables driver, not connected yet. `features` pretends an older kernel. */
  static async start(
    host: Host,
    options: NftablesOptions = {},
    features?: KernelFeatures,
  ): Promise<RemoteEnforcer> {
    return await RemoteEnforcer.startDriver(host, "nftables", options, features);
  }

  /** Starts the driver of a name, not connected yet. */
  static async startDriver(
    host: Host,
    name: string,
    options: object = {},
    features?: KernelFeatures,
  ): Promise<RemoteEnforcer> {
    const program = await RemoteProgram.start(host, "driver_program.ts", [
      name,
      JSON.stringify(options),
      ...(features === undefined ? [] : [JSON.stringify(features)]),
    ]);
    const capabilities = await program.call("capabilities") as EnforcerCapabilities;
    return new RemoteEnforcer(name, program, capabilities);
  }

  async connect(): Promise<void> {
    await this.program.call("connect");
  }
  async apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    return await this.program.call("apply", batch) as ChangeResult[];
  }
  async counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]> {
    const found = await this.program.call("counters", tuples) as (Counters | null)[];
    return found.map((counters) => counters ?? undefined);
  }
  async list(): Promise<ListedEntry[]> {
    const found = await this.program.call("list") as ListedEntry[];
    return found.map((entry) => ({ ...entry, expires: entry.expires }));
  }
  async inspect(): Promise<ListedEntry[]> {
    const found = await this.program.call("inspect") as ListedEntry[];
    return found.map((entry) => ({ ...entry, expires: entry.expires }));
  }
  async endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    await this.program.call("endConnections", tuples);
  }
  plan(): string {
    throw new Error("A plan is not asked for from afar");
  }
  async check(batch: readonly EnforcerChange[]): Promise<string | undefined> {
    return await this.program.call("check", batch) as string | undefined;
  }
  async close(): Promise<void> {
    await this.program.call("close");
  }
  async remove(): Promise<void> {
    await this.program.call("remove");
  }
  async setOpenPorts(ports: readonly OpenPort[]): Promise<void> {
    await this.program.call("setOpenPorts", ports);
  }
  async countHeld(): Promise<number | undefined> {
    return await this.program.call("held") as number | undefined;
  }
  async isIntact(): Promise<boolean> {
    return await this.program.call("intact") as boolean;
  }
  async readStatistics(): Promise<{ dropped: Counters; invalid: Counters }> {
    return await this.program.call("statistics") as { dropped: Counters; invalid: Counters };
  }
}

function writeValue(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || !("family" in value) || !("text" in value)) {
    return value;
  }
  return { ip: (value as IpAddress).text };
}

function readValue(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || !("ip" in value)) return value;
  return parseIp((value as { ip: string }).ip);
}
