/**
 * Pinholes and requests for tests.
 *
 * @module
 */
import { type IpAddress, parseIp } from "../../lib/net/ip.ts";
import type { Pinhole } from "../../lib/pinhole/pinhole.ts";
import type { PinholeRequest } from "../../lib/pinhole/request.ts";

/** An address that must be one. */
export function ip(text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined) throw new TypeError(`Cannot use "${text}": not an address`);
  return address;
}

/** A request of the FTP server for a port, by default from one outside host. */
export function makeRequest(port: number, change: Partial<PinholeRequest> = {}): PinholeRequest {
  return {
    tuple: {
      protocol: "tcp",
      source: ip("198.51.100.7"),
      sourcePort: 0,
      destination: ip("192.0.2.1"),
      destinationPort: port,
    },
    requester: {
      delegate: "ftpd",
      user: "nobody",
      uid: 65534,
      pid: 4321,
      pidStart: 99n,
      program: "/usr/sbin/vsftpd",
    },
    cookie: BigInt(port),
    boundAt: undefined,
    ttl: undefined,
    ...change,
  };
}

/** A pinhole of that request. */
export function makePinhole(id: number, port: number, change: Partial<Pinhole> = {}): Pinhole {
  const { tuple, requester, cookie } = makeRequest(port);
  return {
    id,
    tuple,
    requester,
    cookie,
    rule: "site.policy:3",
    state: "opening",
    requestedAt: 1_700_000_000_000,
    openedAt: undefined,
    expiresAt: undefined,
    idle: undefined,
    packets: 0,
    bytes: 0,
    activeAt: 1_700_000_000_000,
    leasedUntil: 0,
    ...change,
  };
}
