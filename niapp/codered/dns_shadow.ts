/**
 * Shadows the host's DNS table: every address that a reply gives to it, name servers' too (CMU-CS-02-144, section 5.3).
 *
 * @module
 */
import { DNS_TYPE, type DnsMessage, parseDns } from "../../lib/net/dns.ts";
import { u32 } from "../../lib/net/packet.ts";
import { AddressTable } from "./address_table.ts";

/** What a host asked that evades the shadow (paper: reverse look-ups, zone transfers). */
export interface DnsQuery {
  readonly kind: "reverse" | "transfer";
  readonly name: string;
}

/** Shortest time that an address is kept: programs look a name up, and connect a little later. Seconds. */
const LEAST_SECONDS = 60;

/** The table of translations, for both address families. */
export class DnsShadow {
  readonly ipv4: AddressTable;
  readonly ipv6: AddressTable;
  /** Messages that could not be read whole. */
  malformed = 0;

  /** @param capacity addresses kept at most, of each family. */
  constructor(capacity: number) {
    this.ipv4 = new AddressTable(1, capacity);
    this.ipv6 = new AddressTable(4, capacity);
  }

  /** Notes the addresses in a reply. `now` in seconds since the epoch. */
  reply(data: Uint8Array, start: number, end: number, now: number): void {
    const message = parseDns(data, start, end);
    if (message === undefined || !message.response) return;
    if (message.malformed !== undefined) this.malformed++;
    for (const section of [message.answers, message.authorities, message.additional]) {
      for (const record of section) {
        const at = record.dataStart;
        // A negative number is 0 (RFC 2181, section 8).
        const ttl = record.ttl > 0x7fffffff ? 0 : record.ttl;
        const until = now + Math.max(LEAST_SECONDS, ttl);
        if (record.type === DNS_TYPE.A && record.dataEnd - at === 4) {
          this.ipv4.add(until, now, u32(data, at));
        } else if (record.type === DNS_TYPE.AAAA && record.dataEnd - at === 16) {
          this.ipv6.add(until, now, ...words(data, at));
        }
      }
    }
  }

  /** What a query asks for, when it is one of those that evade the shadow. */
  query(data: Uint8Array, start: number, end: number): DnsQuery | undefined {
    const question = questionOf(parseDns(data, start, end));
    if (question === undefined) return undefined;
    const { name, type } = question;
    if (type === DNS_TYPE.AXFR || type === DNS_TYPE.IXFR) return { kind: "transfer", name };
    const reverse = type === DNS_TYPE.PTR && /\.(in-addr|ip6)\.arpa$/i.test(name);
    return reverse ? { kind: "reverse", name } : undefined;
  }
}

/** The four words of an IPv6 address. */
export function words(data: Uint8Array, at: number): [number, number, number, number] {
  return [u32(data, at), u32(data, at + 4), u32(data, at + 8), u32(data, at + 12)];
}

function questionOf(message: DnsMessage | undefined): DnsMessage["questions"][number] | undefined {
  return message === undefined || message.response ? undefined : message.questions[0];
}
