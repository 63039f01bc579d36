/**
 * `diaper slow`, `filter`, `block` and `allow`: what a host may do at its NI and at the perimeter, ordered through the
 * console, each with a lifetime, a reason and an owner.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { parseIp } from "../net/ip.ts";
import { readRange, readSeconds } from "./arguments.ts";
import { consoleOption, consolePlace, readConsoleConfig } from "./console_config.ts";
import { askDaemon } from "./control_client.ts";
import { EXIT } from "./exit.ts";
import { printJson, printLine, visible } from "./output.ts";

interface ContainOptions {
  readonly config?: string;
  readonly for: number;
  readonly why: string;
  readonly at?: string[];
  readonly connections?: number;
  readonly bytes?: number;
  readonly to?: string[];
  readonly json?: boolean;
}

/** What a console answers, of each peer that was told. */
interface OrderItem {
  readonly peer: string;
  readonly state: "sent" | "done" | "refused" | "expired";
  readonly why: string;
  readonly until: number;
}

type OrderVerb = "slow" | "filter" | "block" | "allow";

/** Adds `slow`. */
export function registerSlow(parent: Command): void {
  verb(parent, "slow", "Let a host begin few connections, or send few bytes, a second.")
    .option("--connections <n>", "new connections a second", count, 1)
    .option("--bytes <n>", "bytes a second", count);
}

/** Adds `filter`. */
export function registerFilter(parent: Command): void {
  verb(parent, "filter", "Let a host reach named destinations alone.")
    .requiredOption("--to <prefix...>", "addresses and prefixes that it may reach", prefixes);
}

/** Adds `block`. */
export function registerBlock(parent: Command): void {
  verb(parent, "block", "Let a host reach nothing but the administrator's channel.");
}

/** Adds `allow`. */
export function registerAllow(parent: Command): void {
  verb(parent, "allow", "Let a host go: undo what was ordered about it.");
}

function verb(parent: Command, name: OrderVerb, description: string): Command {
  const command = parent.command(`${name} <host>`)
    .description(description)
    .addOption(consoleOption());
  if (name !== "allow") {
    command.requiredOption("--for <time>", "how long, such as 30m, 1h or 7d", readSeconds);
  }
  return command
    .requiredOption("--why <text>", "the reason, for everybody who looks at it")
    .option("--at <name...>", "NIs and controllers (default: those that the host is behind)")
    .option("--json", "print a JSON line for each peer")
    .addHelpText(
      "after",
      "\nExit codes: 0 all that were told have done it, or will when they come; 1 somebody has not.",
    )
    .action((host: string, options: ContainOptions) => contain(name, host, options));
}

function count(text: string): number {
  if (/^[0-9]{1,10}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Write a number.");
}

function prefixes(text: string, before: string[] | undefined): string[] {
  readRange(text);
  return [...before ?? [], text];
}

/** Seconds that undoing an order is tried for, at peers that are away. */
const UNDO = 86_400;

async function contain(name: OrderVerb, host: string, options: ContainOptions): Promise<void> {
  if (parseIp(host) === undefined) throw new InvalidArgumentError(`"${host}" is not an address.`);
  const place = consolePlace(readConsoleConfig(options.config).config);
  const answer = await askDaemon(place, {
    op: "order",
    verb: name,
    host,
    lifetime: options.for ?? UNDO,
    reason: options.why,
    ...(options.at === undefined ? {} : { peers: options.at }),
    ...(options.connections === undefined ? {} : { connections: options.connections }),
    ...(options.bytes === undefined ? {} : { bytes: options.bytes }),
    ...(options.to === undefined ? {} : { destinations: options.to }),
  });
  for await (const item of answer) {
    const { peer, state, why, until } = item as OrderItem;
    if (state === "refused" || state === "expired") Deno.exitCode = EXIT.FAILED;
    if (options.json === true) {
      printJson({ peer, host, verb: name, state, why, until: new Date(until).toISOString() });
      continue;
    }
    const words = state === "sent" ? "told when it comes" : state;
    const end = name === "allow" ? "" : `, until ${new Date(until).toISOString()}`;
    printLine(visible(`${peer}: ${name} ${host}: ${words}${why === "" ? "" : ` (${why})`}${end}`));
  }
}
