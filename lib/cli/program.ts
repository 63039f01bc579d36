/**
 * The command line as a whole: finds the verb, loads its module and no other, runs it, and turns what
 * goes wrong into a message, advice and an exit code.
 *
 * @module
 */
import { Command, CommanderError } from "commander";
import { VERSION } from "../sys/runtime.ts";
import { CliError, EXIT, type ExitCode, hasNext } from "./exit.ts";
import { print, printMessage, style, visible } from "./output.ts";

/** What a verb's module exports. */
export interface VerbModule {
  /** Adds the verb's command, with its options and subcommands, to the program. */
  register(parent: Command): void;
}

/** A row of the table in main.ts. */
export interface Verb {
  readonly name: string;
  /** One line for `diaper --help`. */
  readonly summary: string;
  /** True for verbs that only programs call. */
  readonly hidden?: boolean;
  readonly load: () => Promise<VerbModule>;
}

/** What bare `diaper` does. */
const DEFAULT_VERB = "status";

/**
 * Runs the verb that the arguments name. Does not throw: errors are shown on stderr.
 *
 * A verb that found out that the answer is no (`policy explain`) sets Deno.exitCode and returns.
 */
export async function runProgram(
  verbs: readonly Verb[],
  args: readonly string[],
): Promise<ExitCode> {
  const words = args.length === 0 ? [DEFAULT_VERB] : [...args];
  const chosen = words[0] === "help" ? words[1] : words[0];
  try {
    const program = await buildProgram(verbs, chosen);
    await program.parseAsync(words, { from: "user" });
    return Deno.exitCode as ExitCode;
  } catch (error) {
    return report(error, verbs.find((verb) => verb.name === chosen && verb.hidden !== true)?.name);
  }
}

/**
 * The program with every verb by name, and one of them whole: only `chosen`'s module is loaded, since
 * modules of verbs may need libraries that are not installed here.
 */
export async function buildProgram(
  verbs: readonly Verb[],
  chosen: string | undefined,
): Promise<Command> {
  const program = new Command("diaper")
    .description(
      "Pinholes in a closed perimeter, for exactly who needs them and as long as needed.",
    )
    .version(`diaper ${VERSION}`, "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .helpCommand("help [verb]", "show help for a verb")
    .addHelpText(
      "after",
      "\nWithout a verb: status. Exit codes: 0 done, 1 failed, 2 usage,\n" +
        "3 configuration or policy invalid, 4 daemon not reachable, 5 not permitted.",
    )
    .enablePositionalOptions()
    .showSuggestionAfterError(true)
    .configureHelp({ styleTitle: (text) => style("bold", text) })
    .configureOutput({
      writeOut: print,
      writeErr: () => {}, // what commander has to say arrives as an error and is shown by report()
      getOutHelpWidth: () => helpWidth(),
      getOutHasColors: () => true, // style() decides
      getErrHasColors: () => false,
    })
    .exitOverride();
  for (const verb of verbs) {
    if (verb.name === chosen) (await verb.load()).register(program);
    else program.command(verb.name, { hidden: verb.hidden ?? false }).description(verb.summary);
  }
  return program;
}

/**
 * Shows an error as a message with advice, and gives the exit code that it stands for.
 *
 * @param verb the verb that it comes from, for advice on its usage.
 */
export function report(error: unknown, verb?: string): ExitCode {
  if (error instanceof Deno.errors.BrokenPipe) return EXIT.BROKEN_PIPE;
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT.DONE;
    // `diaper help` without a verb, and a verb that needs a subcommand, end here after their help.
    const message = error.code === "commander.help"
      ? "a subcommand is missing"
      : error.message.replace(/^error: /, "").replaceAll("\n", " ");
    const help = verb === undefined ? "diaper --help" : `diaper ${verb} --help`;
    return show(EXIT.USAGE, message, `${help} shows what is possible`);
  }
  if (error instanceof CliError) return show(error.code, error.message, error.next);
  if (hasNext(error)) return show(EXIT.FAILED, error.message, error.next);
  if (error instanceof Deno.errors.PermissionDenied) {
    return show(EXIT.NOT_PERMITTED, error.message, "run it as root, or as the owner of the file");
  }
  const text = error instanceof Error ? error.message : String(error);
  const code = show(
    EXIT.FAILED,
    text,
    "this may be a fault of diaper itself; DIAPER_TRACE=1 shows where it happened",
  );
  if (error instanceof Error && Deno.env.get("DIAPER_TRACE") === "1") {
    printMessage(error.stack ?? "");
  }
  return code;
}

function show(code: ExitCode, message: string, next: string | undefined): ExitCode {
  const lines = message.split("\n").map(visible).join("\n  ");
  try {
    printMessage(`${style("red", "diaper:", Deno.stderr)} ${lines}`);
    if (next !== undefined) printMessage(`  next: ${next}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
  return code;
}

function helpWidth(): number {
  return Deno.stdout.isTerminal() ? Math.min(Deno.consoleSize().columns, 100) : 80;
}
