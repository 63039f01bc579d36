/**
 * What the kernel says about a socket, read from a descriptor of it (socket(7)).
 *
 * @module
 */
import { type IpAddress, ipFromBytes } from "../net/ip.ts";
import { libc } from "./libc.ts";

/** The facts that a pinhole depends on. */
export interface SocketFacts {
  readonly protocol: "tcp" | "udp";
  readonly address: IpAddress;
  /** 0 when the socket is not bound to a port. */
  readonly port: number;
  /** The socket's identity for as long as it lives, the same in all its duplicates (SO_COOKIE). */
  readonly cookie: bigint;
  /** The network namespace's identity (SO_NETNS_COOKIE, Linux 5.14); 0n where the kernel has none. */
  readonly namespace: bigint;
}

const SOL_SOCKET = 1;
const SO = { TYPE: 3, PROTOCOL: 38, DOMAIN: 39, COOKIE: 57, NETNS_COOKIE: 71 } as const;
const AF = { INET: 2, INET6: 10 } as const;
const PROTOCOL = { TCP: 6, UDP: 17 } as const;

const value = new DataView(new ArrayBuffer(8));
const length = new Uint32Array(1);
const name = new Uint8Array(128);

function option(fd: number, which: number, size: 4 | 8): bigint | undefined {
  length[0] = size;
  if (libc.getsockopt(fd, SOL_SOCKET, which, value, length) < 0) return undefined;
  return size === 4 ? BigInt(value.getInt32(0, true)) : value.getBigUint64(0, true);
}

/**
 * Reads the facts of a socket.
 *
 * @returns `undefined` when the descriptor is not a TCP or UDP socket over IPv4 or IPv6.
 */
export function socketFacts(fd: number): SocketFacts | undefined {
  const domain = Number(option(fd, SO.DOMAIN, 4) ?? -1n);
  const protocol = Number(option(fd, SO.PROTOCOL, 4) ?? -1n);
  if (domain !== AF.INET && domain !== AF.INET6) return undefined;
  if (protocol !== PROTOCOL.TCP && protocol !== PROTOCOL.UDP) return undefined;
  length[0] = name.length;
  if (libc.getsockname(fd, name, length) < 0) return undefined;
  const cookie = option(fd, SO.COOKIE, 8);
  if (cookie === undefined) return undefined;
  return {
    protocol: protocol === PROTOCOL.TCP ? "tcp" : "udp",
    address: ipFromBytes(domain === AF.INET ? name.subarray(4, 8) : name.subarray(8, 24)),
    port: ((name[2] as number) << 8) | (name[3] as number),
    cookie,
    namespace: option(fd, SO.NETNS_COOKIE, 8) ?? 0n,
  };
}

/** The identity of the network namespace that this process is in; 0n where the kernel has none. */
export function ownNamespace(): bigint {
  const fd = libc.socket(AF.INET, 2 | 0o2000000, 0);
  if (fd < 0) return 0n;
  const cookie = option(fd, SO.NETNS_COOKIE, 8) ?? 0n;
  libc.close(fd);
  return cookie;
}
