/**
 * An entry of a device's ACL as the device lists it, in terms that all kinds of devices share.
 *
 * @module
 */
import { type IpAddress, parseIp } from "../../lib/net/ip.ts";
import type { ListingEntry } from "../listing.ts";
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";

/** The entry. What a device does not tell is undefined. */
export interface AclEntry {
  /** The ACL's name or number. */
  readonly acl: string;
  readonly family: 4 | 6;
  readonly seq: number | undefined;
  readonly action: "permit" | "deny";
  readonly proto: string;
  /** A prefix (`192.0.2.1/32`, `0.0.0.0/0`), or as printed when it is none. */
  readonly source: string | undefined;
  /** A port; a text for what is more than one (`1000-2000`, `>1023`, `!=25`, `20,21`); undefined: any. */
  readonly sourcePort: number | string | undefined;
  readonly destination: string | undefined;
  readonly destinationPort: number | string | undefined;
  readonly packets: number | undefined;
  readonly bytes: number | undefined;
  /** The five-tuple when the entry lets in exactly that and nothing more or less. */
  readonly tuple: FiveTuple | undefined;
  /** Matches everything of its family. */
  readonly all: boolean;
  /** The entry as printed. */
  readonly text: string;
}

/** An entry as `diaper enforcer parse` prints it. */
export function listingEntry(entry: AclEntry, ours: boolean): ListingEntry {
  return {
    acl: entry.acl,
    seq: entry.seq ?? null,
    action: entry.action,
    proto: entry.proto,
    source: entry.source ?? null,
    source_port: entry.sourcePort ?? null,
    destination: entry.destination ?? null,
    destination_port: entry.destinationPort ?? null,
    packets: entry.packets ?? null,
    ours,
  };
}

/** `192.0.2.1/32`; undefined for no address. */
export function hostPrefix(text: string): string | undefined {
  const address = host(text);
  return address === undefined ? undefined : `${address.text}/${address.family === 4 ? 32 : 128}`;
}

/** The host of a prefix that has only one. */
export function prefixHost(prefix: string | undefined): IpAddress | undefined {
  if (prefix === undefined) return undefined;
  const slash = prefix.lastIndexOf("/");
  const length = prefix.slice(slash + 1);
  if (length !== "32" && length !== "128") return undefined;
  const address = host(prefix.slice(0, slash));
  return address?.family === (length === "32" ? 4 : 6) ? address : undefined;
}

/** Addresses that were read already: a listing has the same ones again and again. */
const HOSTS = new Map<string, IpAddress | undefined>();
const MOST_HOSTS = 16_384;

function host(text: string): IpAddress | undefined {
  const known = HOSTS.get(text);
  if (known !== undefined || HOSTS.has(text)) return known;
  if (HOSTS.size >= MOST_HOSTS) HOSTS.clear();
  const address = text.length > 64 ? undefined : parseIp(text);
  HOSTS.set(text, address);
  return address;
}

/** The tuple of a permitted host pair; undefined when it is not exactly one. */
export function tupleOf(
  proto: string,
  source: string | undefined,
  sourcePort: number | string | undefined,
  destination: string | undefined,
  destinationPort: number | string | undefined,
): FiveTuple | undefined {
  if (typeof sourcePort === "string" || typeof destinationPort === "string") return undefined;
  const from = prefixHost(source);
  const to = prefixHost(destination);
  if (proto !== "tcp" && proto !== "udp") return undefined;
  if (from === undefined || to === undefined || from.family !== to.family) return undefined;
  if (destinationPort === undefined || destinationPort === 0) return undefined;
  return {
    protocol: proto,
    source: from,
    sourcePort: sourcePort ?? 0,
    destination: to,
    destinationPort,
  };
}
