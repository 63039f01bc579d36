/**
 * `diaper alerts`: what NIs have found, as the console has it.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { consoleOption, consolePlace, readConsoleConfig } from "./console_config.ts";
import { askDaemon } from "./control_client.ts";
import { printJson, printLine, style, visible } from "./output.ts";

interface AlertsOptions {
  readonly config?: string;
  readonly follow?: boolean;
  readonly last: number;
  readonly ni?: string;
  readonly scanner?: string;
  readonly signature?: string;
  readonly severity?: string;
  readonly host?: string;
  readonly text?: string;
  readonly json?: boolean;
}

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("alerts")
    .description("Show what NIs have found.")
    .addOption(consoleOption())
    .option("-f, --follow", "go on with what comes")
    .option("--last <n>", "so many, before what comes", count, 20)
    .option("--ni <name>", "of one NI")
    .option("--scanner <name>", "of one scanner")
    .option("--signature <text>", "of one finding")
    .addOption(new Option("--severity <n>", "this grave or graver").choices(["1", "2", "3"]))
    .option("--host <address>", "from or to a host")
    .option("--text <word>", "with a word anywhere in it")
    .option("--json", "print JSON lines (EVE)")
    .action(alerts);
}

function count(text: string): number {
  if (/^[0-9]{1,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Write a number up to 99999.");
}

interface AlertItem {
  readonly timestamp?: string;
  readonly event_type: string;
  readonly count?: number;
  readonly scanner?: string;
  readonly src_ip?: string;
  readonly dest_ip?: string;
  readonly dest_port?: number;
  readonly alert?: {
    readonly signature?: string;
    readonly severity?: number;
    readonly action?: string;
  };
  readonly diaper?: { readonly ni: string };
}

async function alerts(options: AlertsOptions): Promise<void> {
  const { config: file, follow = false, json, severity, ...filter } = options;
  const place = consolePlace(readConsoleConfig(file).config);
  const answer = await askDaemon(place, {
    op: "alerts",
    follow,
    ...filter,
    ...(severity === undefined ? {} : { severity: Number(severity) }),
  }, follow ? 0 : undefined);
  for await (const item of answer) {
    if (json === true) printJson(item);
    else printLine(line(item as AlertItem));
  }
}

function line(item: AlertItem): string {
  if (item.event_type === "missed") return `... ${item.count} more, this reader was too slow`;
  const { alert } = item;
  const port = item.dest_port === undefined ? "" : `:${item.dest_port}`;
  const flow = item.src_ip === undefined ? "" : ` ${item.src_ip} > ${item.dest_ip}${port}`;
  const text = `${item.timestamp} ${item.diaper?.ni} ${item.scanner}${flow}: ` +
    `${alert?.signature} (${alert?.action})`;
  return style(
    alert?.severity === 1 ? "red" : alert?.severity === 2 ? "yellow" : "dim",
    visible(text),
  );
}
