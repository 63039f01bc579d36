/**
 * Frames made for tests of scanners and of the NI kernel.
 *
 * @module
 */
import { addWords, finishChecksum } from "../../lib/net/checksum.ts";
import { parseIp } from "../../lib/net/ip.ts";

/** What a TCP or UDP frame says. */
export interface FrameSpec {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort?: number;
  readonly destinationPort: number;
  /** TCP flags; without them the frame is UDP. */
  readonly flags?: number;
  readonly sequence?: number;
  readonly ttl?: number;
  /** Hardware addresses. */
  readonly sourceMac?: readonly number[];
  readonly destinationMac?: readonly number[];
  readonly payload?: Uint8Array;
}

/** Hardware addresses that frames have when none are told: of the network and of the host. */
export const NET_MAC: readonly number[] = [2, 0, 0, 0, 0, 1];
/** As {@link NET_MAC}. */
export const HOST_MAC: readonly number[] = [2, 0, 0, 0, 0, 2];

/** An Ethernet frame, with checksums as they should be. */
export function frame(spec: FrameSpec): Uint8Array<ArrayBuffer> {
  const source = bytesOf(spec.source);
  const destination = bytesOf(spec.destination);
  const payload = spec.payload ?? new Uint8Array(0);
  const protocol = spec.flags === undefined ? 17 : 6;
  const header = protocol === 6 ? 20 : 8;
  const length = header + payload.length;
  const six = source.length === 16;
  const network = 14 + (six ? 40 : 20);
  const out = new Uint8Array(network + length);
  const view = new DataView(out.buffer);
  out.set(spec.destinationMac ?? NET_MAC, 0);
  out.set(spec.sourceMac ?? HOST_MAC, 6);
  if (six) {
    view.setUint16(12, 0x86dd);
    out[14] = 0x60;
    view.setUint16(18, length);
    out[20] = protocol;
    out[21] = spec.ttl ?? 64;
    out.set(source, 22);
    out.set(destination, 38);
  } else {
    view.setUint16(12, 0x0800);
    out[14] = 0x45;
    view.setUint16(16, 20 + length);
    out[22] = spec.ttl ?? 64;
    out[23] = protocol;
    out.set(source, 26);
    out.set(destination, 30);
    view.setUint16(24, finishChecksum(addWords(0, out, 14, 34)));
  }
  view.setUint16(network, spec.sourcePort ?? 40000);
  view.setUint16(network + 2, spec.destinationPort);
  if (protocol === 6) {
    view.setUint32(network + 4, spec.sequence ?? 1);
    out[network + 12] = 0x50;
    out[network + 13] = spec.flags as number;
    view.setUint16(network + 14, 65535);
  } else view.setUint16(network + 4, length);
  out.set(payload, network + header);
  const pseudo = addWords(
    addWords(protocol + length, source, 0, source.length),
    destination,
    0,
    destination.length,
  );
  view.setUint16(
    network + (protocol === 6 ? 16 : 6),
    finishChecksum(addWords(pseudo, out, network, out.length)),
  );
  return out;
}

function bytesOf(text: string): Uint8Array {
  const address = parseIp(text);
  if (address === undefined) throw new Error(`${text} is not an address`);
  return address.bytes;
}

/** A DNS answer with addresses, each with its time to live. */
export function dnsAnswer(
  name: string,
  addresses: readonly [text: string, ttl: number][],
): Uint8Array {
  const question = [
    ...name.split(".").flatMap((label) => [label.length, ...new TextEncoder().encode(label)]),
    ...[0, 0, 1, 0, 1],
  ];
  const records = addresses.flatMap(([text, ttl]) => {
    const data = bytesOf(text);
    const time = new Uint8Array(4);
    new DataView(time.buffer).setUint32(0, ttl);
    return [0xc0, 12, 0, data.length === 4 ? 1 : 28, 0, 1, ...time, 0, data.length, ...data];
  });
  return Uint8Array.from([
    ...[0x12, 0x34, 0x81, 0x80, 0, 1, 0, addresses.length, 0, 0, 0, 0],
    ...question,
    ...records,
  ]);
}

/** Cuts an IPv4 frame into fragments at the offsets (in bytes of its payload). */
export function fragmentsOf(
  whole: Uint8Array,
  ranges: readonly (readonly [start: number, end: number])[],
  id = 7,
): Uint8Array<ArrayBuffer>[] {
  const size = whole.length - 34;
  return ranges.map(([start, end]) => {
    const out = new Uint8Array(34 + end - start);
    out.set(whole.subarray(0, 34));
    out.set(whole.subarray(34 + start, 34 + end), 34);
    const view = new DataView(out.buffer);
    view.setUint16(16, out.length - 14);
    view.setUint16(18, id);
    view.setUint16(20, (start >> 3) | (end < size ? 0x2000 : 0));
    view.setUint16(24, 0);
    view.setUint16(24, finishChecksum(addWords(0, out, 14, 34)));
    return out;
  });
}
