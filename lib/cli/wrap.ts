/**
 * `diaper wrap`: which programs of users may ask for pinholes in a delegate's name.
 *
 * @module
 */
import type { Command } from "commander";
import {
  installWrapper,
  listWrappers,
  planWrapper,
  removeWrapper,
  wrapperFault,
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

interface RemoveOptions {
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
Users run the wrapper instead of the program. After an update of the program or of diaper the
wrapper refuses to run until it is added again. Wrap no program that runs code of its user inside
itself, such as an interpreter.`,
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
  mustBeRoot("add");
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
  if (options.dryRun !== true) installWrapper(plan);
  show(plan.record, options.json);
}

function list(options: { readonly json?: boolean }): void {
  const rows = listWrappers().map((record) => ({
    ...record,
    // Who is not root cannot read a wrapper, which is all right.
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
    { title: "STATE", cell: (r) => r.fault ?? (Deno.uid() === 0 ? "in order" : "not checked") },
  ];
  print(table(columns, rows));
}

function remove(wrapper: string, options: RemoveOptions): void {
  mustBeRoot("remove");
  if (options.dryRun !== true) return show(removeWrapper(wrapper), options.json);
  const record = listWrappers().find((r) => r.path === wrapper || r.path.endsWith(`/${wrapper}`));
  if (record === undefined) {
    throw new CliError(EXIT.FAILED, `There is no wrapper ${wrapper}`, "diaper wrap list");
  }
  show(record, options.json);
}

function show(record: WrapperRecord, json: boolean | undefined): void {
  if (json === true) return printJson(record);
  printLine(`${record.path} runs ${record.target} in the name of ${record.delegate}`);
}

function mustBeRoot(what: string): void {
  if (Deno.uid() === 0) return;
  throw new CliError(
    EXIT.NOT_PERMITTED,
    `wrap ${what} needs root, to give a file to another account`,
    `sudo diaper wrap ${what}`,
  );
}
