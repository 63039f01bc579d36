/**
 * Changes of packets in the memory that they came in, with their checksums.
 *
 * @module
 */
import { addWords, finishChecksum, pseudoHeader, updateChecksum } from "../../net/checksum.ts";
import { Packet, PROTOCOL, TCP, u16 } from "../../net/packet.ts";
import { VNET_HEADER } from "../../sys/packet_socket.ts";
import { put16 } from "./segment_writer.ts";

/** The sender left the transport checksum to the interface: what is there is the pseudo-header's sum. */
const NEEDS_CSUM = 1;
/** The interface has checked it. */
const DATA_VALID = 2;

/** What the virtio-net header of a frame says of its checksum. */
export function checksumState(
  data: Uint8Array,
  start: number,
): "unfinished" | "checked" | "unknown" {
  const flags = start < VNET_HEADER ? 0 : data[start - VNET_HEADER] as number;
  if ((flags & NEEDS_CSUM) !== 0) return "unfinished";
  return (flags & DATA_VALID) !== 0 ? "checked" : "unknown";
}

/** Bytes of each segment that a frame will be cut into; 0 when it is one segment. */
export function segmentSize(data: Uint8Array, start: number): number {
  if (start < VNET_HEADER || (data[start - VNET_HEADER + 1] as number) === 0) return 0;
  return (data[start - VNET_HEADER + 4] as number) |
    ((data[start - VNET_HEADER + 5] as number) << 8);
}

/** The checksum is what a sender writes that leaves it to the interface, as in captures of the sender itself. */
export function isUnfinished(p: Packet): boolean {
  const sum = pseudoHeader(
    p.data,
    p.addresses,
    p.addressLength,
    PROTOCOL.TCP,
    p.networkEnd - p.transport,
  );
  return (finishChecksum(sum) ^ 0xffff) === u16(p.data, p.transport + 16);
}

/** Computes the transport checksum anew, unless the interface will. */
export function fixChecksum(p: Packet): void {
  if (checksumState(p.data, p.start) === "unfinished") return;
  put16(p.data, p.transport + 16, 0);
  const length = p.networkEnd - p.transport;
  const sum = pseudoHeader(p.data, p.addresses, p.addressLength, PROTOCOL.TCP, length);
  put16(
    p.data,
    p.transport + 16,
    finishChecksum(addWords(sum, p.data, p.transport, p.networkEnd)),
  );
}

/** Takes a packet's payload off. Returns where the frame ends now. */
export function removePayload(p: Packet): number {
  const { data, network } = p;
  const removed = p.networkEnd - p.payload;
  if (p.version === 4) {
    const at = network + 2;
    const before = u16(data, at);
    const after = p.payload - network;
    put16(data, network + 10, updateChecksum(u16(data, network + 10), before, after));
    put16(data, at, after);
  } else put16(data, network + 4, p.payload - network - 40);
  p.networkEnd -= removed;
  p.payloadEnd = p.payload;
  // One small segment: the interface need not cut it.
  if (p.start >= VNET_HEADER) data.fill(0, p.start - VNET_HEADER, p.start);
  fixChecksum(p);
  return p.payload;
}

/** Makes an urgent byte an ordinary one, so that it stays where scanners have seen it. */
export function clearUrgent(p: Packet): void {
  const { data, transport } = p;
  const before = u16(data, transport + 12) + u16(data, transport + 18);
  data[transport + 13] = (data[transport + 13] as number) & ~TCP.URG;
  put16(data, transport + 18, 0);
  p.tcpFlags &= ~TCP.URG;
  if (checksumState(data, p.start) === "unfinished") return;
  const sum = u16(data, transport + 16);
  put16(data, transport + 16, updateChecksum(sum, before, u16(data, transport + 12)));
}
