/**
 * `diaper doctor`: what this host offers, and how to mend what is missing. Changes nothing.
 *
 * @module
 */
import type { Command } from "commander";
import { type Config, parseConfig } from "../controller/config.ts";
import { ownMounts } from "../sys/mounts.ts";
import { configOption, readConfig } from "./config_option.ts";
import { askForOne } from "./control_client.ts";
import { readStatus } from "./daemon_data.ts";
import { type Check, type CheckResult, fail, messageOf, pass, warn } from "./doctor_check.ts";
import {
  agentCheck,
  cacheCheck,
  directoryChecks,
  groupCheck,
  policyCheck,
} from "./doctor_files.ts";
import { descriptorCheck, kernelChecks } from "./doctor_kernel.ts";
import { firewallCheck, interfaceChecks, sshCheck } from "./doctor_network.ts";
import { wrapperCheck } from "./doctor_wrappers.ts";
import { CliError, EXIT } from "./exit.ts";
import { printJson, printLine, type Style, style, visible } from "./output.ts";

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("doctor")
    .description("Check kernel, rights, libraries and files, and say how to mend what is missing.")
    .addOption(configOption())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      "\nExit codes: 0 nothing fails (there may be warnings), 1 something fails.",
    )
    .action(doctor);
}

async function doctor(options: { config?: string; json?: boolean }): Promise<void> {
  const checks = await allChecks(options.config);
  const count = (result: CheckResult) => checks.filter((c) => c.result === result).length;
  const ok = count("fail") === 0;
  if (options.json === true) {
    printJson({ ok, checks });
  } else {
    for (const line of checks.flatMap(checkLines)) printLine(line);
    printLine(`${count("pass")} pass, ${count("warn")} warn, ${count("fail")} fail`);
  }
  if (!ok) Deno.exitCode = EXIT.FAILED;
}

/** Does all checks, in the order in which things are needed. */
export async function allChecks(configFile: string | undefined): Promise<Check[]> {
  const { config, check } = configCheck(configFile);
  return [
    check,
    await policyCheck(config.policy),
    ...kernelChecks(),
    descriptorCheck(config),
    ...directoryChecks(config),
    groupCheck(config.control_group),
    ...cacheCheck(),
    await agentCheck(ownMounts()),
    wrapperCheck(ownMounts()),
    ...interfaceChecks(config),
    firewallCheck(config),
    ...sshCheck(config),
    await daemonCheck(config),
  ];
}

/** The configuration; where it is not valid, the other checks go by the defaults. */
function configCheck(path: string | undefined): { config: Config; check: Check } {
  const name = "configuration";
  try {
    const { config, file } = readConfig(path);
    const text = isThere(file) ? `${file} is in order` : `there is no ${file}: the defaults hold`;
    return { config, check: pass(name, text) };
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    const check = fail(
      name,
      error.message.replaceAll("\n", "; "),
      error.next ?? "see diaper.yaml(5)",
    );
    return { config: parseConfig("", "defaults"), check };
  }
}

/** True for a file that was read just before. */
function isThere(file: string): boolean {
  try {
    Deno.statSync(file);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function daemonCheck(config: Config): Promise<Check> {
  const name = "daemon";
  try {
    const { pid, started_at } = readStatus(await askForOne(config, { op: "status" }));
    return pass(name, `process ${pid} guards this host since ${started_at}`);
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    return warn(name, messageOf(error), error.next ?? "diaper status");
  }
}

const COLOURS: Readonly<Record<CheckResult, Style>> = {
  pass: "green",
  warn: "yellow",
  fail: "red",
};

function checkLines(check: Check): string[] {
  const line = `${style(COLOURS[check.result], check.result)}  ${check.name.padEnd(15)}  ${
    visible(check.text)
  }`;
  return check.mend === null ? [line] : [line, `      next: ${visible(check.mend)}`];
}
