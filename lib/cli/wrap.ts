/**
 * `diaper wrap`: which programs of users may ask for pinholes in a delegate's name.
 *
 * @module
 */
import type { Command } from "commander";
import {
  findWrapper,
  installWrapper,
  listWrappers,
  planWrapper,
  removeWrapper,
  wrapperFault,
  wrapperToReplace,
} from "../broker/wrapper_install.ts";
import type { WrapperRecord } from "../broker/wrapper_record.ts";
import { configOption, readConfig } from "./config_option.ts";
import { CliError, EXIT } from "./exit.ts";
import { type Column, print, printJson, printLine, table } from "./output.ts";

interface AddOptions {
  readonly config?: string;
  readonly delegate: string;
  readonly path?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

interface ShowOptions {
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** Adds the verb. */
export function register(parent: Command): void {
  const wrap = parent.command("wrap")
    .description("Let programs of users ask for pinholes in a delegate's name.");
  wrap.command("add")
    .description("Install the setuid wrapper of a program.")
    .argument("<file>", "the program, such as /usr/bin/lftp")
    .requiredOption("-d, --delegate <name>", "account in whose name it asks, and that owns it")
    .option("--path <file>", "where to install it (default: /usr/local/bin, by the same name)")
    .addOption(configOption())
    .option("-n, --dry-run", "show what would be installed, change nothing")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Users run the wrapper instead of the program. After an update of the program the wrapper refuses to
run until it is added again; after an update of diaper, add it again to have the new agent. Wrap no
program that runs what its user writes.`,
    )
    .action(add);
  wrap.command("list")
    .description("Show the wrappers, and what is wrong with them.")
    .option("--json", "print a JSON object for each")
    .action(list);
  wrap.command("remove")
    .description("Remove a wrapper.")
    .argument("<wrapper>", "its path or its name")
    .option("-n, --dry-run", "show it, change nothing")
    .option("--json", "print one JSON object")
    .action(remove);
}

function add(file: string, options: AddOptions): void {
  if (options.dryRun !== true) mustBeRoot("add");
  const { config } = readConfig(options.config);
  for (const path of [file, options.path ?? "/"]) {
    if (!path.startsWith("/")) {
      throw new CliError(EXIT.USAGE, `"${path}" is not an absolute path`, "begin it with /");
    }
  }
  const plan = planWrapper({
    program: file,
    delegate: options.delegate,
    path: options.path ?? `/usr/local/bin/${file.slice(file.lastIndexOf("/") + 1)}`,
    socket: `${config.run_dir}/agent.sock`,
  });
  if (options.dryRun === true) wrapperToReplace(plan);
  else installWrapper(plan);
  show(plan.record, options, "runs", "would run");
}

function list(options: { readonly json?: boolean }): void {
  const rows = listWrappers().map((record) => ({
    ...record,
    // Only root can read a wrapper's file.
    checked: Deno.uid() === 0,
    fault: Deno.uid() === 0 ? wrapperFault(record) ?? null : null,
  }));
  if (options.json === true) {
    for (const row of rows) printJson(row);
    return;
  }
  const columns: Column<typeof rows[number]>[] = [
    { title: "WRAPPER", cell: (r) => r.path },
    { title: "DELEGATE", cell: (r) => r.delegate },
    { title: "PROGRAM", cell: (r) => r.target },
    { title: "STATE", cell: (r) => r.fault ?? (r.checked ? "in order" : "not checked") },
  ];
  print(table(columns, rows));
}

function remove(wrapper: string, options: ShowOptions): void {
  if (options.dryRun !== true) mustBeRoot("remove");
  const record = options.dryRun === true ? findWrapper(wrapper) : removeWrapper(wrapper);
  show(record, options, "no longer runs", "would no longer run");
}

function show(record: WrapperRecord, options: ShowOptions, done: string, dry: string): void {
  if (options.json === true) return printJson(record);
  const what = options.dryRun === true ? dry : done;
  printLine(`${record.path} ${what} ${record.target} in the name of ${record.delegate}`);
}

function mustBeRoot(what: string): void {
  if (Deno.uid() === 0) return;
  throw new CliError(
    EXIT.NOT_PERMITTED,
    `wrap ${what} needs root, to give a file to another account`,
    `sudo diaper wrap ${what}`,
  );
}
