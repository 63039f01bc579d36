/**
 * The debug enforcer's entry in the registry.
 *
 * @module
 */
import { z } from "zod";
import { createDebug, type DebugOptions } from "./debug.ts";
import type { Driver } from "./registry.ts";

const options = z.strictObject({ capacity: z.int().min(1).max(100_000_000).optional() });

/** What the registry knows of it. */
export const driver: Driver = {
  options,
  create: (checked) => createDebug(checked as DebugOptions),
  capabilities: createDebug().capabilities,
};
