/**
 * `diaper version`: what this is, how it was built, and on what it runs.
 *
 * @module
 */
import type { Command } from "commander";
import { type Backend, backend, buildInfo, VERSION } from "../sys/runtime.ts";
import { printJson, printLine } from "./output.ts";

/** What `diaper version --json` prints. */
export interface VersionReport {
  readonly name: "diaper";
  readonly version: string;
  readonly backend: Backend;
  readonly runtime: { readonly deno: string; readonly v8: string };
  readonly platform: { readonly arch: string; readonly os: string };
  readonly commit?: string;
}

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("version")
    .description("Print the version, the kind of binary and the runtime.")
    .option("--json", "print one JSON object")
    .action((options: { json?: boolean }) => {
      const report = versionReport();
      if (options.json === true) return printJson(report);
      const commit = report.commit === undefined ? "" : ` (${report.commit})`;
      printLine(`diaper ${report.version}${commit}`);
      printLine(`${report.backend}, Deno ${report.runtime.deno}, V8 ${report.runtime.v8}`);
    });
}

/** The facts about this process that the verb shows. */
export function versionReport(): VersionReport {
  const commit = buildInfo()?.commit;
  return {
    name: "diaper",
    version: VERSION,
    backend: backend(),
    runtime: { deno: Deno.version.deno, v8: Deno.version.v8 },
    platform: { arch: Deno.build.arch, os: Deno.build.os },
    ...(commit === undefined ? {} : { commit }),
  };
}
