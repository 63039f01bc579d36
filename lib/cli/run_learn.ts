/**
 * `diaper run --learn`: runs a program, looks on at what is asked for it, and prints the rules that would allow
 * that. Nothing is allowed by it.
 *
 * @module
 */
import { z } from "zod";
import type { Config } from "../controller/config.ts";
import { parseIp } from "../net/ip.ts";
import { type LearnedRequest, learnedRules, type PortRange } from "../pinhole/learn.ts";
import { signalChild } from "../sys/child_signal.ts";
import { parentOf } from "../sys/process_facts.ts";
import { askDaemon, askForOne } from "./control_client.ts";
import { printLine, printMessage } from "./output.ts";

/** What is run. */
export interface LearnedProgram {
  readonly path: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** Milliseconds in which what lies in a socket of our own is read. */
const READ_MS = 100;

const requested = z.object({
  event_type: z.literal("pinhole.requested"),
  proto: z.enum(["tcp", "udp"]),
  source: z.string(),
  source_port: z.int().nullable(),
  destination: z.string(),
  destination_port: z.int(),
  delegate: z.string(),
  user: z.string(),
  pid: z.int().nullable(),
});

/**
 * Runs the program to its end, then prints rules for all that it and its children asked.
 *
 * @returns the program's exit code.
 * @throws {CliError} when there is no daemon that could tell.
 */
export async function runAndLearn(program: LearnedProgram, config: Config): Promise<number> {
  await using watch = await askDaemon(config, { op: "watch" });
  // The watch counts from here on: the daemon takes requests in their order.
  await askForOne(config, { op: "status" });
  const child = new Deno.Command(program.path, {
    args: [...program.args],
    clearEnv: true,
    env: { ...program.environment },
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  // Until the rules are printed: who ends the server may be a moment later than its own end.
  using _signals = new HandedSignals(child);
  const family = new Family(child.pid);
  const seen: LearnedRequest[] = [];
  const listening = listen(watch, (r) => {
    if (family.has(r.pid ?? 0)) seen.push(r);
  });
  const looking = setInterval(() => family.look(), 20);
  const { code } = await child.status;
  // With its answer the daemon has told of all that came before.
  await askForOne(config, { op: "status" });
  await new Promise((resolve) => setTimeout(resolve, READ_MS));
  clearInterval(looking);
  await watch[Symbol.asyncDispose]();
  await listening;
  const rules = learnedRules(seen, ephemeralPorts());
  printMessage(
    rules.length === 0
      ? `diaper: ${program.path} asked for nothing`
      : `diaper: ${program.path} asked ${seen.length} times; these rules would allow it:`,
  );
  for (const rule of rules) printLine(rule);
  return code;
}

async function listen(
  watch: AsyncIterable<unknown>,
  take: (request: LearnedRequest & { pid: number | null }) => void,
): Promise<void> {
  try {
    for await (const item of watch) {
      const event = requested.safeParse(item);
      if (!event.success) continue;
      const { proto, source, source_port, destination, destination_port, ...rest } = event.data;
      const [from, to] = [parseIp(source), parseIp(destination)];
      if (from === undefined || to === undefined) continue;
      take({
        ...rest,
        tuple: {
          protocol: proto,
          source: from,
          sourcePort: source_port ?? 0,
          destination: to,
          destinationPort: destination_port,
        },
      });
    }
  } catch (error) {
    // It ends with the program, when this side hangs up.
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

/** A process and all that come of it, also those that have ended or were orphaned since they were seen. */
class Family {
  readonly #known: Set<number>;
  /** Those that did not belong to it when they were looked at last. */
  #strangers = new Set<number>();

  constructor(root: number) {
    this.#known = new Set([root]);
  }

  /** It belongs to the family. */
  has(pid: number): boolean {
    if (this.#known.has(pid)) return true;
    const line = [pid];
    for (let at = parentOf(pid); at !== undefined && at > 1; at = parentOf(at)) {
      if (this.#known.has(at)) {
        for (const one of line) this.#known.add(one);
        return true;
      }
      line.push(at);
    }
    return false;
  }

  /** Gets to know those who have been born, before they end. */
  look(): void {
    const strangers = new Set<number>();
    for (const entry of Deno.readDirSync("/proc")) {
      const pid = Number(entry.name);
      if (!Number.isInteger(pid) || pid < 2) continue;
      if (this.#strangers.has(pid) || !this.has(pid)) strangers.add(pid);
    }
    this.#strangers = strangers;
  }
}

/** While it lives, what would end this process is handed on to a child, also to one that has ended. */
class HandedSignals implements Disposable {
  readonly #stop: () => void;

  constructor(child: Deno.ChildProcess) {
    this.#stop = () => signalChild(child, "SIGTERM");
    Deno.addSignalListener("SIGTERM", this.#stop);
    // A terminal tells the child as well.
    Deno.addSignalListener("SIGINT", nothing);
  }

  [Symbol.dispose](): void {
    Deno.removeSignalListener("SIGTERM", this.#stop);
    Deno.removeSignalListener("SIGINT", nothing);
  }
}

function nothing(): void {}

/** From what range the kernel takes ports for those who want any. */
function ephemeralPorts(): PortRange {
  const text = Deno.readTextFileSync("/proc/sys/net/ipv4/ip_local_port_range");
  const [first = 32_768, last = 60_999] = text.trim().split(/\s+/).map(Number);
  return { first, last };
}
