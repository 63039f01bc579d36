/**
 * The domain's central values: what a pinhole is, who asked for it, and what becomes of it.
 *
 * @module
 */
import type { IpAddress } from "../net/ip.ts";

/** Transport protocols that a pinhole can be for. */
export type Protocol = "tcp" | "udp";

/**
 * What an enforcer is told: the traffic that one pinhole lets in (paper, section 3). The source is
 * the external host, the destination the internal one. `sourcePort` 0 means any.
 */
export interface FiveTuple {
  readonly protocol: Protocol;
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
}

/**
 * Life of a pinhole: `opening` is in the ledger and perhaps at the enforcer, `open` is confirmed by
 * the enforcer, `closing` is wanted closed and perhaps still at the enforcer, `closed` is gone.
 */
export type PinholeState = "opening" | "open" | "closing" | "closed";

/** Why a pinhole was closed; part of the ledger and of the audit trail. */
export type CloseReason =
  | "socket-closed"
  | "process-exited"
  | "expired"
  | "by-hand"
  | "policy"
  | "idle"
  | "stale"
  | "enforcer-refused"
  | "reboot"
  | "broker-lost";

/** Who asks for a pinhole, as proven by the kernel and not as claimed. */
export interface Requester {
  /** The account in whose name the program may ask. */
  readonly delegate: string;
  /** The account that the asking process runs as. */
  readonly user: string;
  readonly uid: number;
  readonly pid: number;
  /** Start time of the process in clock ticks after boot, so that a reused pid is noticed. */
  readonly pidStart: bigint;
  /** Path of the program's executable, or "" when it cannot be read. */
  readonly program: string;
  /** It takes a look at the process to read {@link program}: better done after the answer. */
  readonly programIsLate?: boolean;
}

/** Which request of which broker a pinhole came of, when it came over the network. */
export interface PinholeOrigin {
  /** The remote delegate and the broker, as `delegate/broker`. */
  readonly broker: string;
  /** The boot of the broker's host. */
  readonly boot: string;
  /** The request's identity at its broker: the same again is the same request. */
  readonly key: string;
  /** SO_COOKIE of the bound socket on the broker's host. */
  readonly cookie: bigint;
}

/** One pinhole with owner, cause, lifetime and counters. Times are milliseconds since the epoch. */
export interface Pinhole {
  readonly id: number;
  readonly tuple: FiveTuple;
  readonly requester: Requester;
  /** SO_COOKIE of the bound socket on this host, 0n when it is on another or there is none. */
  readonly cookie: bigint;
  /** Absent for pinholes of this host's own programs, and for those opened by hand. */
  readonly origin?: PinholeOrigin | undefined;
  /** The rule that allowed it, as `file:line`. */
  readonly rule: string;
  state: PinholeState;
  readonly requestedAt: number;
  openedAt: number | undefined;
  expiresAt: number | undefined;
  /** Seconds without traffic after which it is closed; undefined: traffic does not matter. */
  readonly idle: number | undefined;
  packets: number;
  bytes: number;
  /** When its counters were last seen to grow, on the clock of `performance.now`. */
  activeAt: number;
  /** Until when the enforcer keeps it without being asked again. */
  leasedUntil: number;
}

/** The text of an address and port: `192.0.2.1:80`, `[2001:db8::1]:80`; port 0 is left out. */
export function endpointText(address: IpAddress, port: number): string {
  if (port === 0) return address.text;
  return address.family === 6 ? `[${address.text}]:${port}` : `${address.text}:${port}`;
}

/** A tuple for people: `tcp 192.0.2.1 > 198.51.100.7:50000`. */
export function tupleText(t: FiveTuple): string {
  return `${t.protocol} ${endpointText(t.source, t.sourcePort)} > ` +
    endpointText(t.destination, t.destinationPort);
}

/** A tuple as a key of maps: equal for equal tuples and for no others. */
export function tupleKey(t: FiveTuple): string {
  if (t === lastTuple) return lastKey;
  lastTuple = t;
  return lastKey =
    `${t.protocol}|${t.source.text}|${t.sourcePort}|${t.destination.text}|${t.destinationPort}`;
}

/** Table and enforcer ask one after the other for the key of one tuple. */
let lastTuple: FiveTuple | undefined;
let lastKey = "";
