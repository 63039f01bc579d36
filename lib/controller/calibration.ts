/**
 * Where the measurements of enforcers are kept (`diaper calibrate`), so that a controller works with the
 * batch that was found best on this very enforcer.
 *
 * @module
 */
import { z } from "zod";
import type { Calibration } from "../../drivers/calibration.ts";
import type { Enforcer } from "../../drivers/enforcer.ts";

const count = z.int().min(0);
const schema = z.object({
  enforcer: z.string(),
  optimal_batch: z.int().min(1).max(10_000_000),
  capacity: z.int().min(1),
  degrades_at: count.nullable(),
  sequential: z.array(z.object({ count, seconds: z.number() })),
  batched: z.array(z.object({
    batch: count,
    existing: count,
    seconds: z.number(),
    updates_per_second: z.number(),
  })),
});

/** The file that an enforcer's measurement is in. */
export function calibrationFile(stateDirectory: string, enforcer: string): string {
  return `${stateDirectory}/calibration/${enforcer}.json`;
}

/** Keeps a measurement; whoever reads it meanwhile finds the old one or the new one whole. */
export function storeCalibration(stateDirectory: string, measured: Calibration): string {
  const file = calibrationFile(stateDirectory, measured.enforcer);
  Deno.mkdirSync(`${stateDirectory}/calibration`, { recursive: true, mode: 0o700 });
  Deno.writeTextFileSync(`${file}.new`, JSON.stringify(measured) + "\n", { mode: 0o600 });
  Deno.renameSync(`${file}.new`, file);
  return file;
}

/**
 * The measurement of an enforcer; undefined when there is none.
 *
 * @throws {Error} when the file is there and cannot be used.
 */
export function loadCalibration(
  stateDirectory: string,
  enforcer: string,
): Calibration | undefined {
  const file = calibrationFile(stateDirectory, enforcer);
  let text: string;
  try {
    text = Deno.readTextFileSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return readCalibration(text, file);
}

/**
 * Reads what `diaper calibrate --json` printed.
 *
 * @throws {Error} when it is something else.
 */
export function readCalibration(text: string, file: string): Calibration {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    throw new Error(`${file} is not a measurement: make it anew with diaper calibrate`);
  }
}

/** The batch to use: as measured here, or as the driver thinks. */
export function optimalBatch(stateDirectory: string, enforcer: Enforcer): number {
  return loadCalibration(stateDirectory, enforcer.name)?.optimal_batch ??
    enforcer.capabilities.optimalBatch;
}
