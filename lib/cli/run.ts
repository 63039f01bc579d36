/**
 * `diaper run`: runs a program under the interposition agent.
 *
 * @module
 */
import type { Command } from "commander";
import { agentLibraryPath } from "../sys/assets.ts";
import { execute } from "../sys/execute.ts";
import { SystemError } from "../sys/libc.ts";
import { callerEnvironment } from "../sys/runtime.ts";
import { configOption, readConfig } from "./config_option.ts";
import { CliError, EXIT } from "./exit.ts";

interface RunOptions {
  readonly config?: string;
  readonly delegate?: string;
  readonly control?: string;
  readonly dryRun?: boolean;
}

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("run")
    .description("run a program under the agent: pinholes open as it binds ports")
    .argument("<program>", "the program; searched in PATH when it has no slash")
    .argument("[args...]", "its arguments")
    .addOption(configOption())
    .option("-d, --delegate <name>", "account in whose name it asks (default: the caller's own)")
    .option(
      "--control <ports>",
      "its control ports, such as tcp/21,udp/69 (default: the first port that it binds)",
    )
    .option("-n, --dry-run", "print the environment and command, run nothing")
    .passThroughOptions()
    .addHelpText(
      "after",
      `
The program takes the place of this process: same process number, same descriptors, its own exit
code. When the broker is not reachable it runs all the same, only without pinholes.`,
    )
    .action(run);
}

function run(program: string, args: string[], options: RunOptions): Promise<void> {
  const { config } = readConfig(options.config);
  checkNames(options);
  const caller = callerEnvironment();
  const path = findProgram(program, caller["PATH"] ?? "/usr/bin:/bin");
  const agent = agentLibraryPath();
  const added: Record<string, string> = {
    LD_PRELOAD: caller["LD_PRELOAD"] === undefined ? agent : `${agent}:${caller["LD_PRELOAD"]}`,
    DIAPER_SOCKET: `${config.run_dir}/agent.sock`,
    ...(options.delegate === undefined ? {} : { DIAPER_DELEGATE: options.delegate }),
    ...(options.control === undefined ? {} : { DIAPER_CONTROL: options.control }),
  };
  if (options.dryRun === true) return show(added, path, args);
  try {
    execute(path, [...args], { ...caller, ...added });
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new CliError(EXIT.FAILED, `cannot run ${path}: ${error.message}`, "is it a program?");
  }
}

async function show(
  added: Readonly<Record<string, string>>,
  path: string,
  args: readonly string[],
): Promise<void> {
  const { printLine } = await import("./output.ts");
  for (const [name, value] of Object.entries(added)) printLine(`${name}=${value}`);
  printLine([path, ...args].join(" "));
}

function checkNames(options: RunOptions): void {
  const { delegate, control } = options;
  if (delegate !== undefined && !/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$/.test(delegate)) {
    throw new CliError(EXIT.USAGE, `"${delegate}" is not the name of a delegate`, "give a name");
  }
  if (control === undefined) return;
  for (const item of control.split(",")) {
    const port = /^(?:tcp|udp)\/([1-9][0-9]{0,4})$/.exec(item)?.[1];
    if (port === undefined || Number(port) > 65535) {
      throw new CliError(
        EXIT.USAGE,
        `"${item}" is not a port such as tcp/21`,
        "give tcp/N or udp/N",
      );
    }
  }
}

/** The program's file, as a shell would find it. */
function findProgram(program: string, path: string): string {
  if (program.includes("/")) return program;
  for (const directory of path.split(":")) {
    const candidate = `${directory === "" ? "." : directory}/${program}`;
    try {
      const info = Deno.statSync(candidate);
      if (info.isFile && ((info.mode ?? 0) & 0o111) !== 0) return candidate;
    } catch (error) {
      if (
        !(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied)
      ) {
        throw error;
      }
    }
  }
  throw new CliError(EXIT.FAILED, `there is no program "${program}" in PATH`, "give its path");
}
