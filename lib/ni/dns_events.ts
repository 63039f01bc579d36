/**
 * DNS messages as events, as EVE has them (version 2): queries, and answers with their records.
 *
 * @module
 */
import {
  type DnsMessage,
  dnsRcodeName,
  type DnsRecord,
  dnsTypeName,
  dnsValues,
  parseDns,
} from "../net/dns.ts";
import { DnsStreams } from "../net/dns_stream.ts";
import type { Packet } from "../net/packet.ts";
import { packetFields } from "./event_fields.ts";
import { type FrameRef, timestamp } from "./frame.ts";

const PORT = 53;

/** Finds DNS in packets. */
export class DnsEvents {
  readonly #streams = new DnsStreams();
  readonly #event: (event: Readonly<Record<string, unknown>>) => void;

  /** @param event gets each message as an event. */
  constructor(event: (event: Readonly<Record<string, unknown>>) => void) {
    this.#event = event;
  }

  /** Looks at a decoded frame. */
  frame(p: Packet, frame: FrameRef): void {
    if (!p.hasPorts || (p.sourcePort !== PORT && p.destinationPort !== PORT)) return;
    const visit = (data: Uint8Array, start: number, end: number) => {
      const message = parseDns(data, start, end);
      if (message !== undefined) this.#message(message, data, start, p, frame);
    };
    if (p.isTcp) this.#streams.segment(p, visit);
    else if (p.isUdp) visit(p.data, p.payload, p.payloadEnd);
  }

  #message(m: DnsMessage, data: Uint8Array, start: number, p: Packet, frame: FrameRef): void {
    const front = {
      timestamp: timestamp(frame.seconds, frame.nanoseconds),
      ...packetFields(p),
      event_type: "dns",
    };
    if (!m.response) {
      for (const { name, type } of m.questions) {
        const dns = {
          version: 2,
          type: "query",
          id: m.id,
          rrname: name,
          rrtype: dnsTypeName(type),
          opcode: m.opcode,
        };
        this.#event({ ...front, dns });
      }
      return;
    }
    const [question] = m.questions;
    this.#event({
      ...front,
      dns: {
        version: 2,
        type: "answer",
        id: m.id,
        flags: flags(m),
        qr: true,
        ...(m.authoritative ? { aa: true } : {}),
        ...(m.truncated ? { tc: true } : {}),
        ...(m.recursionDesired ? { rd: true } : {}),
        ...(m.recursionAvailable ? { ra: true } : {}),
        opcode: m.opcode,
        ...(question === undefined
          ? {}
          : { rrname: question.name, rrtype: dnsTypeName(question.type) }),
        rcode: dnsRcodeName(m.rcode),
        answers: m.answers.flatMap((record) => records(data, start, record)),
        ...(m.malformed === undefined ? {} : { malformed: m.malformed }),
      },
    });
  }
}

/** One object for each value: TXT has one for each of its strings. */
function records(data: Uint8Array, start: number, record: DnsRecord): Record<string, unknown>[] {
  const rrtype = dnsTypeName(record.type);
  const front = { rrname: record.name, rrtype, ttl: record.ttl };
  const values = dnsValues(data, start, record);
  if (values.length === 0) return [front];
  return values.map((value) =>
    typeof value === "string"
      ? { ...front, rdata: value }
      : { ...front, [rrtype.toLowerCase()]: value }
  );
}

function flags(m: DnsMessage): string {
  const bits = 0x8000 | (m.opcode << 11) | (m.authoritative ? 0x400 : 0) |
    (m.truncated ? 0x200 : 0) |
    (m.recursionDesired ? 0x100 : 0) | (m.recursionAvailable ? 0x80 : 0) | (m.rcode & 15);
  return bits.toString(16);
}
