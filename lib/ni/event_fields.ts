/**
 * The fields that all events of a packet have, with EVE's names.
 *
 * @module
 */
import { type Packet, PROTOCOL } from "../net/packet.ts";
import { flowId, flowKey } from "./flow_id.ts";

const NAMES: ReadonlyMap<number, string> = new Map([
  [PROTOCOL.ICMP, "ICMP"],
  [PROTOCOL.TCP, "TCP"],
  [PROTOCOL.UDP, "UDP"],
  [PROTOCOL.ICMPV6, "IPv6-ICMP"],
]);

/** Flow, addresses, ports and protocol; nothing for a packet that is not IP. */
export function packetFields(p: Packet): Record<string, unknown> {
  if (p.version === 0) return {};
  return {
    flow_id: flowId(flowKey(p)),
    src_ip: p.source().text,
    ...(p.hasPorts ? { src_port: p.sourcePort } : {}),
    dest_ip: p.destination().text,
    ...(p.hasPorts ? { dest_port: p.destinationPort } : {}),
    proto: NAMES.get(p.protocol) ?? String(p.protocol),
  };
}
