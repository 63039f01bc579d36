/**
 * What a receiver throws away for what it is, wherever in the stream it belongs.
 *
 * @module
 */
import { type Packet, TCP } from "../../net/packet.ts";
import type { StreamContext } from "./context.ts";
import type { Flow } from "./flow.ts";
import type { TcpOptions } from "./tcp_options.ts";

/** PAWS: older than this, a time stamp cannot be compared with (RFC 7323, 5.5). Milliseconds. */
const PAWS_LIMIT = 24 * 24 * 3600 * 1000;
/** Hops by which a route may change. */
const TTL_CHANGE = 8;

/** Why a packet will not be taken; undefined when nothing speaks against it. */
export function whyThrownAway(
  p: Packet,
  options: TcpOptions,
  flow: Flow,
  { settings, now }: StreamContext,
): string | undefined {
  if (flow.ttl === 0) flow.ttl = p.ttl;
  if (p.ttl < settings.leastTtl && p.ttl < flow.ttl - TTL_CHANGE) {
    return "hop limit too low to arrive";
  }
  if (!options.hasTimestamps || !flow.hasTimestamps) return undefined;
  const older = (flow.recent - options.timestamp) | 0;
  if (older <= 1 || now - flow.recentAt >= PAWS_LIMIT) return undefined;
  // Packets that only acknowledge may be overtaken by others.
  const bare = p.payloadEnd === p.payload && (p.tcpFlags & TCP.FIN) === 0;
  return bare ? undefined : "time stamp of the past";
}

/**
 * Keeps a packet's time stamp.
 *
 * @param inOrder it begins with what the receiver expects, or before, so that the receiver keeps it too.
 */
export function noteTimestamp(
  flow: Flow,
  options: TcpOptions,
  inOrder: boolean,
  now: number,
): void {
  if (!flow.hasTimestamps || ((options.timestamp - flow.timestamp) | 0) > 0) {
    flow.timestamp = options.timestamp;
  }
  if (inOrder && (!flow.hasTimestamps || ((options.timestamp - flow.recent) | 0) >= 0)) {
    flow.recent = options.timestamp;
    flow.recentAt = now;
  }
  flow.hasTimestamps = true;
}
