/**
 * `diaper scanners`: the scanners that there are, and bundles of them for NIs.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import {
  bundleDiff,
  BundleError,
  type BundleManifest,
  bundleScanner,
  makeBundle,
  readBundle,
} from "../admin/bundle.ts";
import type { PushNews } from "../admin/rollouts.ts";
import type { Rollout } from "../admin/state.ts";
import { ConfigError, parseYaml } from "../config/yaml.ts";
import { builtInScanners } from "../ni/catalogue.ts";
import { frameFilter } from "../ni/rights.ts";
import { FilterError } from "../sys/libpcap.ts";
import { publicKeyOf } from "../sys/ssh.ts";
import { consoleOption, consolePlace, readConsoleConfig } from "./console_config.ts";
import { askDaemon, askForOne } from "./control_client.ts";
import { CliError, EXIT } from "./exit.ts";
import { readSecret } from "./key_files.ts";
import { printJson, printLine, printMessage, table } from "./output.ts";

interface Common {
  readonly config?: string;
  readonly json?: boolean;
}

/** What an administrator writes: scanners with their rights, and where their code is. */
const source = z.strictObject({
  version: z.string(),
  scanners: z.record(
    z.string(),
    bundleScanner.omit({ name: true, code: true, injections: true }).extend({
      /** A module, beside this file; without it the scanner that comes with diaper. */
      code: z.string().nullable().default(null),
      /** Frames by name, as hexadecimal. */
      injections: z.record(z.string(), z.string().regex(/^([0-9a-fA-F]{2})+$/)).default({}),
    }),
  ),
  prevent: z.array(z.string()).default([]),
});

/** Adds the verb. */
export function register(parent: Command): void {
  const verb = parent.command("scanners")
    .description("Show scanners and their rights, and bring bundles of them to NIs.");
  verb.command("list").description("List the scanners that come with diaper.")
    .option("--json", "print JSON lines").action(list);
  verb.command("check <file>").description("Check a bundle's file, and say what is in it.")
    .addOption(consoleOption()).option("--json", "print one JSON object").action(check);
  verb.command("diff <file>").description("Show what a bundle changes.")
    .addOption(consoleOption()).action(diff);
  verb.command("push <file> [target...]")
    .description("Sign a bundle and bring it to NIs: names and groups; all without any.")
    .addOption(consoleOption())
    .option("--key <file>", "the signer's private key (default: the console's)")
    .option("--canary <target>", "who gets it first; the others when they are well")
    .option("--soak <seconds>", "how long those must stay well", seconds, 30)
    .option("--json", "print JSON lines")
    .action(push);
  verb.command("history").description("List what was pushed, to whom, and what came of it.")
    .addOption(consoleOption()).option("--json", "print JSON lines").action(history);
}

function seconds(text: string): number {
  if (/^[0-9]{1,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Write seconds.");
}

function list(options: Common): void {
  const rows = builtInScanners();
  if (options.json === true) return rows.forEach(printJson);
  printLine(
    table([
      { title: "NAME", cell: (s: typeof rows[number]) => s.name },
      { title: "FOR", cell: (s) => s.summary },
    ], rows).trimEnd(),
  );
}

/** Reads a bundle's file and what it names, and signs it. */
function build(file: string, privateKey: string): Uint8Array {
  let content: z.infer<typeof source>;
  try {
    content = parseYaml(source, Deno.readTextFileSync(file), file);
  } catch (error) {
    if (error instanceof ConfigError) throw new CliError(EXIT.INVALID, error.message);
    if (error instanceof Deno.errors.NotFound) {
      throw new CliError(EXIT.USAGE, `there is no ${file}`);
    }
    throw error;
  }
  const files = new Map<string, Uint8Array>();
  const scanners = Object.entries(content.scanners).map(([name, { code, injections, ...rest }]) => {
    for (const filter of [...rest.read, ...rest.contain]) checkFilter(filter, `${file}: ${name}`);
    const inside = code === null ? null : `${name}.js`;
    if (inside !== null) files.set(inside, Deno.readFileSync(resolve(dirname(file), code ?? "")));
    return {
      ...rest,
      name,
      code: inside,
      injections: Object.entries(injections).map(([injection, hex]) => ({
        name: injection,
        frame: Uint8Array.fromHex(hex).toBase64(),
      })),
    };
  });
  for (const filter of content.prevent) checkFilter(filter, `${file}: prevent`);
  const { version, prevent } = content;
  try {
    return makeBundle({ version, scanners, prevent }, files, privateKey);
  } catch (error) {
    if (!(error instanceof BundleError)) throw error;
    throw new CliError(EXIT.INVALID, error.message, error.next);
  }
}

function checkFilter(filter: string, where: string): void {
  try {
    frameFilter(filter, 1);
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    throw new CliError(EXIT.INVALID, `${where}: ${error.message}`, error.next);
  }
}

function signerKey(options: Common & { readonly key?: string }): string {
  const { config } = readConsoleConfig(options.config);
  return readSecret(options.key ?? config.key, "diaper console keygen");
}

function manifestOf(file: string, options: Common): BundleManifest {
  const key = signerKey(options);
  return readBundle(build(file, key), new Set([publicKeyOf(key)])).manifest;
}

function check(file: string, options: Common): void {
  const manifest = manifestOf(file, options);
  if (options.json === true) return printJson(manifest);
  for (const line of bundleDiff(undefined, manifest)) printLine(line);
}

async function diff(file: string, options: Common): Promise<void> {
  const place = consolePlace(readConsoleConfig(options.config).config);
  const before = await askForOne(place, { op: "bundle" }) as BundleManifest | null;
  const lines = bundleDiff(before ?? undefined, manifestOf(file, options));
  if (lines.length === 0) printMessage("nothing is different");
  for (const line of lines) printLine(line);
}

async function push(
  file: string,
  targets: string[],
  options: Common & { readonly key?: string; readonly canary?: string; readonly soak: number },
): Promise<void> {
  const place = consolePlace(readConsoleConfig(options.config).config);
  const bundle = build(file, signerKey(options)).toBase64();
  const answer = await askDaemon(place, {
    op: "push",
    bundle,
    targets,
    soak: options.soak,
    ...(options.canary === undefined ? {} : { canary: options.canary }),
  }, 0);
  let good = false;
  for await (const item of answer) {
    const news = item as PushNews;
    if (options.json === true) printJson(news);
    if ("done" in news) good = news.done;
    if (options.json === true) continue;
    if ("rollout" in news) printMessage(`bundle ${news.version} (${news.digest.slice(0, 12)})`);
    else if ("peer" in news) {
      printMessage(`${news.peer}: ${news.phase}${news.why === "" ? "" : `: ${news.why}`}`);
    } else {
      printMessage(
        `${news.healthy} have it` +
          (news.waiting > 0 ? `, ${news.waiting} get it when they come` : "") +
          (news.why === "" ? "" : `; stopped: ${news.why}`),
      );
    }
  }
  if (!good) Deno.exitCode = EXIT.FAILED;
}

async function history(options: Common): Promise<void> {
  const place = consolePlace(readConsoleConfig(options.config).config);
  const rows: Rollout[] = [];
  for await (const item of await askDaemon(place, { op: "rollouts", last: 100 })) {
    rows.push(item as Rollout);
  }
  if (options.json === true) return rows.forEach(printJson);
  const count = (r: Rollout, phase: string) =>
    String(r.placements.filter((p) => p.phase === phase).length);
  printLine(
    table<Rollout>([
      { title: "TIME", cell: (r) => new Date(r.started).toISOString() },
      { title: "VERSION", cell: (r) => r.version },
      { title: "TARGET", cell: (r) => r.target },
      { title: "BY", cell: (r) => r.who },
      { title: "STATE", cell: (r) => r.why === "" ? r.state : `${r.state}: ${r.why}` },
      { title: "HEALTHY", cell: (r) => count(r, "healthy"), align: "right" },
      { title: "BACK", cell: (r) => count(r, "rolled-back"), align: "right" },
      { title: "REFUSED", cell: (r) => count(r, "refused"), align: "right" },
    ], rows).trimEnd(),
  );
}
