/**
 * The pattern with which a device is asked for the lines of a few pinholes among many.
 *
 * @module
 */
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";
import { hasName, type Vendor } from "./port_names.ts";

/** Command lines of network devices may be 254 characters long at the least. */
export const LONGEST_COMMAND = 250;
/** No device that we know of has names for ports from here on, other than those in our tables. */
const NAMELESS = 16_384;

/**
 * A regular expression for the lines of some pinholes, the ACL's heading and its guard. It fits more lines rather than fewer: an entry that is there must not be missed, in whatever way a
 * device writes it.
 *
 * @param guard the entry that keeps the ACL from being empty.
 */
export function lookPattern(
  acl: string,
  guard: string,
  tuples: readonly FiveTuple[],
  vendor: Vendor,
): string {
  const parts = new Set([acl, /[0-9a-f]*[.:][0-9a-f.:]+/.exec(guard)?.[0] ?? guard.trim()]);
  for (const { protocol, source, destination, destinationPort } of tuples) {
    const numbered = destinationPort >= NAMELESS && !hasName(destinationPort, protocol, vendor);
    parts.add(`${source.text}.*${destination.text}${numbered ? `.* eq ${destinationPort}` : ""}`);
  }
  return [...parts].join("|");
}
