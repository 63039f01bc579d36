/**
 * Numbers that join the events of one flow, in both directions, as EVE's `flow_id`.
 *
 * @module
 */
import type { Packet } from "../net/packet.ts";

/** The flow of a packet as text, the same for both directions. Valid when the packet's version is not 0. */
export function flowKey(p: Packet): string {
  const source = `${p.source().text} ${p.hasPorts ? p.sourcePort : 0}`;
  const destination = `${p.destination().text} ${p.hasPorts ? p.destinationPort : 0}`;
  const [a, b] = source < destination ? [source, destination] : [destination, source];
  return `${p.protocol} ${a} ${b}`;
}

/** A number of 53 bits for a flow: two rounds of FNV-1a, enough to tell flows of one log apart. */
export function flowId(key: string): number {
  let low = 0x811c9dc5;
  let high = 0x01000193;
  for (let i = 0; i < key.length; i++) {
    low = Math.imul(low ^ key.charCodeAt(i), 0x01000193);
    high = Math.imul(high ^ key.charCodeAt(i) ^ (low >>> 13), 0x85ebca6b);
  }
  return (high >>> 11) * 0x100000000 + (low >>> 0);
}
