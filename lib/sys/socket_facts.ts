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
const SO = { PROTOCOL: 38, COOKIE: 57, NETNS_COOKIE: 71 } as const;
const AF = { INET: 2, INET6: 10 } as const;
const PROTOCOL = { TCP: 6, UDP: 17 } as const;

const value = new DataView(new ArrayBuffer(8));
const length = new Uint32Array(1);
const name = new Uint8Array(128);

/** False when the socket has no such option. The value is in {@link value}. */
function read(fd: number, which: number, size: 4 | 8): boolean {
  length[0] = size;
  return libc.getsockopt(fd, SOL_SOCKET, which, value, length) >= 0;
}

/**
 * Reads the facts of a socket.
 *
 * @returns `undefined` when the descriptor is not a TCP or UDP socket over IPv4 or IPv6.
 */
export function socketFacts(fd: number): SocketFacts | undefined {
  length[0] = name.length;
  if (libc.getsockname(fd, name, length) < 0) return undefined;
  const family = (name[0] as number) | ((name[1] as number) << 8);
  // The family is that of the domain for these two, and no other domain has it.
  if (family !== AF.INET && family !== AF.INET6) return undefined;
  if (!read(fd, SO.PROTOCOL, 4)) return undefined;
  const protocol = value.getInt32(0, true);
  if (protocol !== PROTOCOL.TCP && protocol !== PROTOCOL.UDP) return undefined;
  if (!read(fd, SO.COOKIE, 8)) return undefined;
  const cookie = value.getBigUint64(0, true);
  return {
    protocol: protocol === PROTOCOL.TCP ? "tcp" : "udp",
    address: family === AF.INET ? address4() : ipFromBytes(name.subarray(8, 24)),
    port: ((name[2] as number) << 8) | (name[3] as number),
    cookie,
    namespace: read(fd, SO.NETNS_COOKIE, 8) ? value.getBigUint64(0, true) : 0n,
  };
}

/** The last address: a host's sockets have few different ones. */
let last = ipFromBytes(new Uint8Array(4));

function address4(): IpAddress {
  const { bytes } = last;
  if (
    bytes[0] !== name[4] || bytes[1] !== name[5] || bytes[2] !== name[6] || bytes[3] !== name[7]
  ) last = ipFromBytes(name.subarray(4, 8));
  return last;
}

/** The identity of the network namespace that this process is in; 0n where the kernel has none. */
export function ownNamespace(): bigint {
  const fd = libc.socket(AF.INET, 2 | 0o2000000, 0);
  if (fd < 0) return 0n;
  const cookie = read(fd, SO.NETNS_COOKIE, 8) ? value.getBigUint64(0, true) : 0n;
  libc.close(fd);
  return cookie;
}
