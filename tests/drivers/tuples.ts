/**
 * Five-tuples for tests.
 *
 * @module
 */
import type { EnforcerChange } from "../../drivers/enforcer.ts";
import { type IpAddress, parseIp } from "../../lib/net/ip.ts";
import type { FiveTuple, Protocol } from "../../lib/pinhole/pinhole.ts";

/** An address of its text. */
export function ip(text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined) throw new Error(`not an address: ${text}`);
  return address;
}

/** A tuple; source port 0 is any. */
export function tuple(
  protocol: Protocol,
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
): FiveTuple {
  return {
    protocol,
    source: ip(source),
    sourcePort,
    destination: ip(destination),
    destinationPort,
  };
}

/** The change that opens a pinhole, by default without a lease. */
export function open(t: FiveTuple, lease = 0): EnforcerChange {
  return { action: "open", tuple: t, id: 1, lease };
}

/** The change that closes a pinhole. */
export function close(t: FiveTuple): EnforcerChange {
  return { action: "close", tuple: t, id: 1, lease: 0 };
}
