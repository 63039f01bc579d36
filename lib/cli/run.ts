/**
 * `diaper run`: runs a program under the interposition agent.
 *
 * @module
 */
import { type Command, Option } from "commander";
import type { Config } from "../controller/config.ts";
import { agentLibraryPath, traceHelperPath } from "../sys/assets.ts";
import { execute } from "../sys/execute.ts";
import { SystemError } from "../sys/libc.ts";
import { programKind } from "../sys/program_file.ts";
import { callerEnvironment } from "../sys/runtime.ts";
import { configOption, readConfig } from "./config_option.ts";
import { CliError, EXIT } from "./exit.ts";
import { natVariables } from "./run_nat.ts";
import { chooseWay, TRACE_CHOICES } from "./run_trace.ts";

interface RunOptions {
  readonly config?: string;
  readonly delegate?: string;
  readonly control?: string;
  readonly trace?: (typeof TRACE_CHOICES)[number];
  readonly natAware?: boolean;
  readonly dryRun?: boolean;
  readonly learn?: boolean;
}

/** What is executed: a program with its arguments, and variables that are set for it. */
interface Start {
  readonly path: string;
  readonly args: readonly string[];
  readonly added: Readonly<Record<string, string>>;
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
    .addOption(
      new Option("--trace <way>", "how its calls are seen (default: preload, where that works)")
        .choices(TRACE_CHOICES),
    )
    .option("--nat-aware", "have it announce the outside addresses of the configuration's nat")
    .option("-n, --dry-run", "print the environment and command, run nothing")
    .option("--learn", "at its end, print the policy rules that it would need")
    .passThroughOptions()
    .addHelpText(
      "after",
      `
The program takes the place of this process: same process number, same descriptors, its own exit
code. When the broker is not reachable it runs all the same, only without pinholes. With --learn it
is a child of this process, which looks on by the daemon's control socket.`,
    )
    .action(run);
}

function run(program: string, args: string[], options: RunOptions): Promise<void> {
  const { config, file } = readConfig(options.config);
  checkNames(options);
  const caller = callerEnvironment();
  const search = caller["PATH"] ?? "/usr/bin:/bin";
  const path = findProgram(program, search);
  if (path === undefined) {
    throw new CliError(EXIT.FAILED, `there is no program "${program}" in PATH`, "give its path");
  }
  const user = { uid: Deno.uid() ?? 0, gid: Deno.gid() ?? 0 };
  const kind = programKind(path, user, (name) => findProgram(name, search));
  const socket = `${config.run_dir}/agent.sock`;
  const way = chooseWay(options.trace, kind, user);
  const nat = options.natAware === true ? natVariables(config.nat, way, file) : {};
  const start = way === "seccomp"
    ? traced(path, args, socket, options)
    : preloaded(path, args, socket, options, caller["LD_PRELOAD"], nat);
  if (options.dryRun === true) return show(start);
  if (options.learn === true) return learn(start, caller, config);
  try {
    execute(start.path, start.args, { ...caller, ...start.added });
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new CliError(
      EXIT.FAILED,
      `cannot run ${start.path}: ${error.message}`,
      "is it a program?",
    );
  }
}

function preloaded(
  path: string,
  args: readonly string[],
  socket: string,
  options: RunOptions,
  preload: string | undefined,
  nat: Readonly<Record<string, string>>,
): Start {
  const agent = agentLibraryPath();
  const added = {
    LD_PRELOAD: preload === undefined ? agent : `${agent}:${preload}`,
    DIAPER_SOCKET: socket,
    ...(options.delegate === undefined ? {} : { DIAPER_DELEGATE: options.delegate }),
    ...(options.control === undefined ? {} : { DIAPER_CONTROL: options.control }),
    ...nat,
  };
  return { path, args, added };
}

function traced(
  path: string,
  args: readonly string[],
  socket: string,
  options: RunOptions,
): Start {
  const asked = [
    ...["--socket", socket],
    ...(options.delegate === undefined ? [] : ["--delegate", options.delegate]),
    ...(options.control === undefined ? [] : ["--control", options.control]),
  ];
  return { path: traceHelperPath(), args: [...asked, "--", path, ...args], added: {} };
}

async function learn(
  { path, args, added }: Start,
  caller: Readonly<Record<string, string>>,
  config: Config,
): Promise<void> {
  const { runAndLearn } = await import("./run_learn.ts");
  const environment = { ...caller, ...added };
  Deno.exitCode = await runAndLearn({ path, args, environment }, config);
}

async function show({ path, args, added }: Start): Promise<void> {
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
function findProgram(program: string, path: string): string | undefined {
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
  return undefined;
}
