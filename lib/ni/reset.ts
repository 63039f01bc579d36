/**
 * Resets of TCP connections, written from one packet of the connection (RFC 9293, section 3.10.7.1).
 *
 * @module
 */
import { type Packet, TCP } from "../net/packet.ts";
import { LEAD, SegmentWriter } from "./stream/segment_writer.ts";

/**
 * Writes the frame that resets a packet's connection.
 *
 * @param p a TCP packet.
 * @param back to its sender, in the name of its receiver; otherwise to its receiver, in the name of its sender.
 * @returns undefined when the packet is no TCP, or is a reset: those are not answered.
 */
export function resetFrame(p: Packet, back: boolean): Uint8Array<ArrayBuffer> | undefined {
  if (!p.isTcp || (p.tcpFlags & TCP.RST) !== 0) return undefined;
  const flags = p.tcpFlags;
  const counted = (flags & TCP.SYN ? 1 : 0) + (flags & TCP.FIN ? 1 : 0);
  const next = (p.sequence + p.payloadEnd - p.payload + counted) >>> 0;
  const acknowledges = (flags & TCP.ACK) !== 0;
  // Without a sequence number to go by, the acknowledgement makes the reset acceptable.
  const withAck = back && !acknowledges;
  const own = SegmentWriter.from(p);
  const writer = back ? own.reversed() : own;
  const out = new Uint8Array(LEAD + writer.size(0));
  writer.write(out, LEAD, {
    sequence: !back ? next : acknowledges ? p.acknowledgement : 0,
    acknowledgement: withAck ? next : 0,
    flags: withAck ? TCP.RST | TCP.ACK : TCP.RST,
    window: 0,
    options: new Uint8Array(0),
  }, 0);
  return out.subarray(LEAD);
}
