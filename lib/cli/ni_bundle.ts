/**
 * What an NI is to be with a console's bundle: the bundle's scanners in place of its own, and its prevent rules besides.
 *
 * @module
 */
import type { Bundle, BundleManifest } from "../admin/bundle.ts";
import {
  type ScannerPlaces,
  type ScannerProgram,
  USUAL_RIGHTS,
  usualRights,
} from "../ni/catalogue.ts";
import type { ScannerRights } from "../ni/rights.ts";
import { CliError, EXIT } from "./exit.ts";
import type { NiSettings } from "./ni_settings.ts";

type BundleScanner = BundleManifest["scanners"][number];

/**
 * The settings with a bundle; without one, those that the NI has itself.
 *
 * @param directory where the code of scanners is kept; only root can write there.
 * @throws {CliError} when the bundle names what is not there. @throws {AssetError} as places.command does.
 */
export function bundleSettings(
  own: NiSettings,
  bundle: Bundle | undefined,
  directory: string,
  places: ScannerPlaces,
): NiSettings {
  if (bundle === undefined) return own;
  const { manifest } = bundle;
  return {
    ...own,
    prevent: [
      ...own.prevent,
      ...manifest.prevent.map((filter, i) => ({ name: `bundle ${i + 1}`, filter })),
    ],
    scanners: new Map(manifest.scanners.map((scanner) => {
      const rights = rightsOf(scanner);
      const program = programOf(scanner, bundle, directory);
      return [scanner.name, { rights, command: places.command(scanner.name, program, rights) }];
    })),
  };
}

/**
 * Removes the code of bundles that nobody goes back to.
 *
 * @param kept what runs, and what ran before it.
 */
export function removeOldCode(directory: string, kept: readonly (Bundle | undefined)[]): void {
  const names = new Set(kept.flatMap((bundle) => bundle === undefined ? [] : [codeName(bundle)]));
  for (const { name, isDirectory } of Deno.readDirSync(directory)) {
    if (!isDirectory || !name.startsWith(CODE) || names.has(name)) continue;
    Deno.removeSync(`${directory}/${name}`, { recursive: true });
  }
}

const CODE = "code-";

function codeName({ digest }: Bundle): string {
  return `${CODE}${digest.replaceAll(/[^A-Za-z0-9]/g, "")}`;
}

function rightsOf(scanner: BundleScanner): ScannerRights {
  const { memory, cpu, alerts_per_minute: alertsPerMinute, on_failure: onFailure } = scanner;
  const told = Object.entries({ memory, cpu, alertsPerMinute, onFailure })
    .filter(([, value]) => value !== undefined);
  const usual = scanner.code === null ? usualRights(scanner.name) : undefined;
  return {
    ...(usual ?? USUAL_RIGHTS),
    ...Object.fromEntries(told) as Partial<ScannerRights>,
    read: scanner.read,
    contain: scanner.contain,
    injections: scanner.injections.map(({ name, frame }) => ({
      name,
      frame: Uint8Array.fromBase64(frame),
    })),
    options: scanner.options,
  };
}

function programOf(scanner: BundleScanner, bundle: Bundle, directory: string): ScannerProgram {
  if (scanner.code === null) {
    if (usualRights(scanner.name) !== undefined) return { builtIn: scanner.name };
    throw new CliError(
      EXIT.INVALID,
      `the bundle has no code for ${scanner.name}, and there is no scanner of that name`,
      "put its code in, or name one of Diaper's",
    );
  }
  const code = bundle.files.get(scanner.code);
  if (code === undefined) {
    throw new CliError(EXIT.INVALID, `the bundle has no file ${scanner.code}`, "make it again");
  }
  // By what it is, so that a process that still runs the other one keeps its own.
  const place = `${directory}/${codeName(bundle)}`;
  Deno.mkdirSync(place, { recursive: true, mode: 0o700 });
  const module = `${place}/${scanner.code}`;
  Deno.writeFileSync(module, code, { mode: 0o644 });
  return { module };
}
