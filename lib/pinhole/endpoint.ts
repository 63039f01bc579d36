/**
 * Reads what `endpointText` writes: an address with or without a port.
 *
 * @module
 */
import { type IpAddress, parseIp } from "../net/ip.ts";

/** An address and a port; port 0 when none was given. */
export interface Endpoint {
  /** The address. */
  readonly address: IpAddress;
  /** 1 to 65535, or 0 for none. */
  readonly port: number;
}

/**
 * Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`. Ports are 1
 * to 65535 without leading zeros.
 *
 * @returns the endpoint, or `undefined` when the text is none.
 */
export function parseEndpoint(text: string): Endpoint | undefined {
  const bare = parseIp(text);
  if (bare !== undefined) return { address: bare, port: 0 };
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::([1-9][0-9]{0,4}))?$/.exec(text);
  if (match === null) return undefined;
  const address = parseIp(match[1] ?? match[2] ?? "");
  if (address === undefined || address.family !== (match[1] === undefined ? 4 : 6)) {
    return undefined;
  }
  const port = Number(match[3] ?? 0);
  return port <= 65535 ? { address, port } : undefined;
}
