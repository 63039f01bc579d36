/**
 * The packets of an alert: out of the NI's event into a capture file, and out of that into words.
 *
 * @module
 */
import {
  CaptureError,
  captureFrame,
  captureHeader,
  CaptureParser,
  CaptureRecord,
} from "../net/capture.ts";
import { LINKTYPE, Packet, PROTOCOL, TCP } from "../net/packet.ts";

const FORMAT = { linkType: LINKTYPE.ETHERNET, precision: "ns", format: "pcap" } as const;
/** Octets of a capture; frames that do not fit are left out. */
const LARGEST_CAPTURE = 256 * 1024;

/**
 * Parts an event into itself, without the octets of frames, and a capture file with them.
 *
 * @param event as the NI kernel makes it.
 */
export function partEvent(
  event: Readonly<Record<string, unknown>>,
): { readonly event: Record<string, unknown>; readonly capture: Uint8Array } {
  const { frames, ...rest } = event;
  if (!Array.isArray(frames) || frames.length === 0) return { event: rest, capture: NOTHING };
  const parts: Uint8Array[] = [captureHeader(FORMAT)];
  let size = 24;
  const kept: unknown[] = [];
  for (const frame of frames as Record<string, unknown>[]) {
    const { bytes, ...about } = frame;
    kept.push(about);
    if (typeof bytes !== "string" || size + bytes.length > LARGEST_CAPTURE) continue;
    const [seconds, nanoseconds] = timeOf(String(about["timestamp"]));
    const wire = about["wire_length"];
    const record = captureFrame(
      FORMAT,
      Uint8Array.fromBase64(bytes),
      seconds,
      nanoseconds,
      typeof wire === "number" ? wire : undefined,
    );
    parts.push(record);
    size += record.length;
  }
  const capture = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    capture.set(part, at);
    at += part.length;
  }
  return { event: { ...rest, frames: kept }, capture };
}

const NOTHING = new Uint8Array();

/** RFC 3339 with any number of digits after the second. */
function timeOf(text: string): [seconds: number, nanoseconds: number] {
  const seconds = Math.floor(Date.parse(text.replace(/\.\d+/, "")) / 1000);
  const fraction = /\.(\d{1,9})/.exec(text)?.[1] ?? "";
  return [Number.isFinite(seconds) ? seconds : 0, Number(fraction.padEnd(9, "0"))];
}

/** A packet for people. */
export interface DecodedPacket {
  /** RFC 3339, with nanoseconds. */
  readonly time: string;
  readonly length: number;
  /** One line, as tcpdump would say it. */
  readonly summary: string;
  /** Layer by layer. */
  readonly layers: readonly { readonly name: string; readonly fields: readonly string[] }[];
  /** Octets in hexadecimal, 16 a line, with their text. */
  readonly dump: readonly string[];
}

/** Packets that are shown. */
const MOST_PACKETS = 50;
/** Octets of a packet that are shown. */
const MOST_OCTETS = 1024;

/**
 * Reads the packets of a capture file. It comes from an NI, which may be hostile: what cannot be read is said in words.
 */
export function decodeCapture(
  capture: Uint8Array,
): { readonly packets: DecodedPacket[]; readonly problem: string | undefined } {
  const packets: DecodedPacket[] = [];
  const parser = new CaptureParser();
  const record = new CaptureRecord();
  const packet = new Packet();
  try {
    parser.push(capture);
    while (packets.length < MOST_PACKETS && parser.read(record)) {
      const { data: bytes, start, end, linkType } = record;
      packet.decode(bytes, start, end, linkType);
      packets.push({
        time: timeText(record.seconds, record.nanoseconds),
        length: record.wireLength,
        summary: summary(packet, end - start),
        layers: layers(packet, bytes.subarray(start, end), linkType),
        dump: dump(bytes.subarray(start, Math.min(end, start + MOST_OCTETS))),
      });
    }
    return { packets, problem: undefined };
  } catch (error) {
    if (!(error instanceof CaptureError || error instanceof RangeError)) throw error;
    return { packets, problem: error.message };
  }
}

function timeText(seconds: number, nanoseconds: number): string {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return "-";
  return date.toISOString().replace(/\.\d+Z/, `.${String(nanoseconds).padStart(9, "0")}Z`);
}

const NAMES: Readonly<Record<number, string>> = {
  [PROTOCOL.ICMP]: "ICMP",
  [PROTOCOL.TCP]: "TCP",
  [PROTOCOL.UDP]: "UDP",
  [PROTOCOL.ICMPV6]: "ICMPv6",
};

function flags(p: Packet): string {
  return Object.entries(TCP).filter(([, bit]) => (p.tcpFlags & bit) !== 0).map(([name]) => name)
    .join(" ");
}

function summary(p: Packet, length: number): string {
  if (p.version === 0) return `${length} octets, not IP`;
  const protocol = NAMES[p.protocol] ?? `protocol ${p.protocol}`;
  const at = (address: string, port: number) =>
    !p.hasPorts ? address : p.version === 6 ? `[${address}]:${port}` : `${address}:${port}`;
  const ends = `${at(p.source().text, p.sourcePort)} > ${
    at(p.destination().text, p.destinationPort)
  }`;
  const more = p.protocol === PROTOCOL.TCP && p.hasPorts ? ` ${flags(p)}` : "";
  const wrong = p.malformed === "none" ? "" : ` (${p.malformed})`;
  return `${protocol} ${ends}${more}${wrong}`;
}

function layers(p: Packet, bytes: Uint8Array, linkType: number): DecodedPacket["layers"] {
  const out: { name: string; fields: string[] }[] = [];
  if (linkType === LINKTYPE.ETHERNET && bytes.length >= 14) {
    const mac = (at: number) =>
      [...bytes.subarray(at, at + 6)].map((b) => b.toString(16).padStart(2, "0")).join(":");
    const type = ((bytes[12] as number) << 8) | (bytes[13] as number);
    out.push({
      name: "Ethernet",
      fields: [`from ${mac(6)}`, `to ${mac(0)}`, `type 0x${type.toString(16).padStart(4, "0")}`],
    });
  }
  if (p.version !== 0) {
    out.push({
      name: `IPv${p.version}`,
      fields: [
        `from ${p.source().text}`,
        `to ${p.destination().text}`,
        `protocol ${NAMES[p.protocol] ?? p.protocol}`,
      ],
    });
  }
  if (p.hasPorts) {
    out.push({
      name: NAMES[p.protocol] ?? "ports",
      fields: [
        `from port ${p.sourcePort}`,
        `to port ${p.destinationPort}`,
        ...(p.protocol === PROTOCOL.TCP ? [`flags ${flags(p) || "none"}`] : []),
      ],
    });
  }
  if (p.malformed !== "none") out.push({ name: "Malformed", fields: [p.malformed] });
  return out;
}

function dump(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = [...bytes.subarray(at, at + 16)];
    const hex = part.map((b) => b.toString(16).padStart(2, "0")).join(" ").padEnd(47);
    const text = part.map((b) => b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : ".").join("");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${hex}  ${text}`);
  }
  return lines;
}
