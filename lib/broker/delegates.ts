/**
 * In whose name a host asks at its controllers (paper, section 4.1: each local delegate is mapped to a
 * remote one).
 *
 * @module
 */
import type { Config } from "../controller/config.ts";

/** The remote delegate of a local one. */
export function remoteDelegate(config: Config["remote"], local: string): string {
  const named = Object.hasOwn(config.delegates, local) ? config.delegates[local] : undefined;
  return named ?? config.delegate ?? Deno.hostname();
}

/** All remote delegates that a host may ask in the name of. */
export function remoteDelegates(config: Config["remote"]): string[] {
  return [
    ...new Set([config.delegate ?? Deno.hostname(), ...Object.values(config.delegates)]),
  ];
}
