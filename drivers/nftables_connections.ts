/**
 * Ends connections that came in by pinholes which are closed by now.
 *
 * @module
 */
import { unmapIp } from "../lib/net/ip.ts";
import { type FiveTuple, tupleKey } from "../lib/pinhole/pinhole.ts";
import type { Conntrack } from "../lib/sys/conntrack.ts";
import { E } from "../lib/sys/libc.ts";
import { NetlinkError } from "../lib/sys/netlink.ts";
import type { ConnectionId, SockDiag } from "../lib/sys/sock_diag.ts";

/** What is needed to end connections. `local`: the perimeter guards this host's own addresses. */
export interface ConnectionHandles {
  readonly sockets: SockDiag;
  readonly conntrack: Conntrack;
  readonly local: boolean;
}

/**
 * Ends the connections that came in by these tuples. The pinholes must be closed already.
 *
 * Forgetting a TCP flow in conntrack is not enough: with nf_conntrack_tcp_loose (the default) the next
 * packet that the inside sends makes it a new flow that seems begun inside, and its answers are let
 * in. So a local socket is reset first (the kernel tells both ends), and where the socket is not here
 * the forward chain resets such take-overs. Where sockets cannot be reset (no
 * CONFIG_INET_DIAG_DESTROY), the flow is not forgotten: known as begun outside, it stays blocked.
 *
 * @throws {NetlinkError} when the kernel refuses.
 */
export function endConnections(tuples: readonly FiveTuple[], handles: ConnectionHandles): void {
  const tcp = tuples.filter((t) => t.protocol === "tcp");
  const reset = !handles.local || tcp.length === 0 || resetSockets(tcp, handles.sockets);
  const forget = reset ? tuples : tuples.filter((t) => t.protocol === "udp");
  handles.conntrack.forget(forget.map((t) => ({
    protocol: t.protocol,
    source: t.source.bytes,
    sourcePort: t.sourcePort,
    destination: t.destination.bytes,
    destinationPort: t.destinationPort,
  })));
}

/** Resets the local sockets of the tuples' connections; false when this kernel cannot. */
function resetSockets(tuples: readonly FiveTuple[], sockets: SockDiag): boolean {
  const closed = new Set(tuples.map(tupleKey));
  const found: { id: ConnectionId; cookie: bigint }[] = [];
  sockets.connections(new Set(tuples.map((t) => t.destinationPort)), (socket) => {
    const id = {
      localAddress: socket.localAddress(),
      localPort: socket.localPort,
      remoteAddress: socket.remoteAddress(),
      remotePort: socket.remotePort,
      interface: socket.interface,
    };
    const tuple: FiveTuple = {
      protocol: "tcp",
      source: unmapIp(id.remoteAddress),
      sourcePort: id.remotePort,
      destination: unmapIp(id.localAddress),
      destinationPort: id.localPort,
    };
    if (closed.has(tupleKey(tuple)) || closed.has(tupleKey({ ...tuple, sourcePort: 0 }))) {
      found.push({ id, cookie: socket.cookie });
    }
  });
  for (const { id, cookie } of found) {
    try {
      sockets.destroy(id, cookie);
    } catch (error) {
      if (error instanceof NetlinkError && error.code === E.OPNOTSUPP) return false;
      throw error;
    }
  }
  return true;
}
