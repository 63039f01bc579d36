/**
 * DNS messages (RFC 1035 and its successors), read from hostile bytes: nothing throws, nothing is read beyond
 * the message, and compression cannot make it work for long.
 *
 * @module
 */
import { u16, u32 } from "./packet.ts";
import { ipFromBytes } from "./ip.ts";

/** What a question asks for. */
export interface DnsQuestion {
  /** Without the final dot; bytes that are not printable as `\DDD` (RFC 4343). The root is empty. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

/** A resource record. Offsets count within the bytes that were parsed. */
export interface DnsRecord extends DnsQuestion {
  /** Seconds. */
  readonly ttl: number;
  /** Where its data is. */
  readonly dataStart: number;
  readonly dataEnd: number;
}

/** A message, as far as it could be read. */
export interface DnsMessage {
  readonly id: number;
  readonly response: boolean;
  readonly opcode: number;
  readonly authoritative: boolean;
  readonly truncated: boolean;
  readonly recursionDesired: boolean;
  readonly recursionAvailable: boolean;
  /** With the upper bits that EDNS carries (RFC 6891). */
  readonly rcode: number;
  readonly questions: readonly DnsQuestion[];
  readonly answers: readonly DnsRecord[];
  readonly authorities: readonly DnsRecord[];
  readonly additional: readonly DnsRecord[];
  /** What is wrong with it; records before it are there. */
  readonly malformed: string | undefined;
}

/** Record types that are looked into. */
export const DNS_TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  NULL: 10,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  LOC: 29,
  SRV: 33,
  NAPTR: 35,
  DNAME: 39,
  OPT: 41,
  DS: 43,
  SSHFP: 44,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  NSEC3: 50,
  SVCB: 64,
  HTTPS: 65,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
  CAA: 257,
} as const;

const TYPE_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(DNS_TYPE).map(([name, number]) => [number, name]),
);

const RCODES = [
  ..."NOERROR FORMERR SERVFAIL NXDOMAIN NOTIMP REFUSED YXDOMAIN YXRRSET NXRRSET NOTAUTH NOTZONE"
    .split(
      " ",
    ),
];

/** A type's name, or `TYPE123` (RFC 3597) for one without. */
export function dnsTypeName(type: number): string {
  return TYPE_NAMES.get(type) ?? `TYPE${type}`;
}

/** A response code's name. */
export function dnsRcodeName(rcode: number): string {
  return RCODES[rcode] ?? (rcode === 16 ? "BADVERS" : `RCODE${rcode}`);
}

const HEADER = 12;
/** Longest name on the wire (RFC 1035 3.1). */
const MAX_NAME = 255;
/** Pointers followed in one name. */
const MAX_POINTERS = 64;
/** Records read of one message: more than any zone transfer's message holds. */
const MAX_RECORDS = 8192;

/**
 * Reads a message.
 *
 * @returns undefined when not even its header is there.
 */
export function parseDns(data: Uint8Array, start: number, end: number): DnsMessage | undefined {
  if (end - start < HEADER) return undefined;
  return new Reader(data, start, end).message();
}

/** Whether the bytes look like a DNS message: for ports that may carry anything. */
export function looksLikeDns(data: Uint8Array, start: number, end: number): boolean {
  const message = parseDns(data, start, end);
  return message !== undefined && message.malformed === undefined && message.opcode <= 6 &&
    message.questions.length <= 1;
}

/** The address in an A or AAAA record, as text; undefined when its length is wrong. */
export function dnsAddress(data: Uint8Array, record: DnsRecord): string | undefined {
  const wanted = record.type === DNS_TYPE.A ? 4 : record.type === DNS_TYPE.AAAA ? 16 : 0;
  if (wanted === 0 || record.dataEnd - record.dataStart !== wanted) return undefined;
  return ipFromBytes(data.subarray(record.dataStart, record.dataEnd)).text;
}

/** A value in a record: text, or an object where EVE has one (SOA, SRV, SSHFP, CAA). */
export type DnsValue = string | Readonly<Record<string, unknown>>;

/**
 * A record's data for people and logs: one value, or one for each string of TXT. None for types that have no
 * agreed form and for data that is cut off.
 *
 * @param start where the message begins, for names in the data that point back into it.
 */
export function dnsValues(data: Uint8Array, start: number, record: DnsRecord): DnsValue[] {
  if (record.type === DNS_TYPE.TXT) return strings(data, record.dataStart, record.dataEnd) ?? [];
  const value = dnsValue(data, start, record);
  return value === undefined ? [] : [value];
}

function dnsValue(data: Uint8Array, start: number, record: DnsRecord): DnsValue | undefined {
  const { dataStart: at, dataEnd: end } = record;
  const length = end - at;
  const name = (from: number): string | undefined =>
    new Reader(data, start, end).nameAt(from)?.name;
  switch (record.type) {
    case DNS_TYPE.A:
    case DNS_TYPE.AAAA:
      return dnsAddress(data, record);
    case DNS_TYPE.NS:
    case DNS_TYPE.CNAME:
    case DNS_TYPE.PTR:
    case DNS_TYPE.DNAME:
      return name(at);
    case DNS_TYPE.MX:
      return length < 3 ? undefined : name(at + 2);
    case DNS_TYPE.HINFO:
      return strings(data, at, end)?.join(" ");
    case DNS_TYPE.SOA:
      return soa(data, start, at, end);
    case DNS_TYPE.SRV: {
      const target = length < 7 ? undefined : name(at + 6);
      return target === undefined ? undefined : {
        priority: u16(data, at),
        weight: u16(data, at + 2),
        port: u16(data, at + 4),
        name: target,
      };
    }
    case DNS_TYPE.SSHFP:
      return length < 3 ? undefined : {
        fingerprint: hex(data.subarray(at + 2, end), ":"),
        algo: data[at],
        type: data[at + 1],
      };
    case DNS_TYPE.CAA: {
      const tag = length < 2 ? 0 : data[at + 1] as number;
      return tag === 0 || tag + 2 > length ? undefined : {
        flags: data[at],
        tag: printable(data, at + 2, at + 2 + tag),
        value: printable(data, at + 2 + tag, end),
      };
    }
    default:
      return undefined;
  }
}

function soa(
  data: Uint8Array,
  start: number,
  at: number,
  end: number,
): DnsValue | undefined {
  const reader = new Reader(data, start, end);
  const mname = reader.nameAt(at);
  const rname = mname === undefined ? undefined : reader.nameAt(mname.next);
  if (mname === undefined || rname === undefined || rname.next + 20 > end) return undefined;
  const fields = ["serial", "refresh", "retry", "expire", "minimum"];
  return {
    mname: mname.name,
    rname: rname.name,
    ...Object.fromEntries(fields.map((field, i) => [field, u32(data, rname.next + i * 4)])),
  };
}

/** Character strings (RFC 1035 3.3.14), or undefined when one is cut off. */
function strings(data: Uint8Array, at: number, end: number): string[] | undefined {
  const out: string[] = [];
  while (at < end) {
    const length = data[at] as number;
    if (at + 1 + length > end) return undefined;
    out.push(printable(data, at + 1, at + 1 + length));
    at += 1 + length;
  }
  return out;
}

function printable(data: Uint8Array, at: number, end: number): string {
  let out = "";
  for (let i = at; i < end; i++) out += character(data[i] as number, "");
  return out;
}

function character(byte: number, special: string): string {
  const text = String.fromCharCode(byte);
  if (byte < 0x20 || byte > 0x7e) return `\\${String(byte).padStart(3, "0")}`;
  return text === "\\" || special.includes(text) ? `\\${text}` : text;
}

function hex(data: Uint8Array, between: string): string {
  return [...data].map((byte) => byte.toString(16).padStart(2, "0")).join(between);
}

class Reader {
  readonly #data: Uint8Array;
  readonly #start: number;
  readonly #end: number;
  #problem: string | undefined;

  constructor(data: Uint8Array, start: number, end: number) {
    this.#data = data;
    this.#start = start;
    this.#end = end;
  }

  message(): DnsMessage {
    const data = this.#data;
    const start = this.#start;
    const flags = u16(data, start + 2);
    const questions: DnsQuestion[] = [];
    let at: number | undefined = start + HEADER;
    for (let i = u16(data, start + 4); i > 0 && at !== undefined; i--) {
      at = this.#question(at, questions);
    }
    const sections: DnsRecord[][] = [[], [], []];
    let budget = MAX_RECORDS;
    for (const [i, section] of sections.entries()) {
      for (let n = u16(data, start + 6 + i * 2); n > 0 && at !== undefined; n--) {
        if (budget-- === 0) {
          this.#problem ??= "too many records";
          at = undefined;
        } else at = this.#record(at, section);
      }
    }
    const [answers, authorities, additional] = sections as [DnsRecord[], DnsRecord[], DnsRecord[]];
    const edns = additional.find((record) => record.type === DNS_TYPE.OPT);
    return {
      id: u16(data, start),
      response: (flags & 0x8000) !== 0,
      opcode: (flags >> 11) & 15,
      authoritative: (flags & 0x0400) !== 0,
      truncated: (flags & 0x0200) !== 0,
      recursionDesired: (flags & 0x0100) !== 0,
      recursionAvailable: (flags & 0x0080) !== 0,
      rcode: (flags & 15) | (edns === undefined ? 0 : (edns.ttl >>> 24) << 4),
      questions,
      answers,
      authorities,
      additional,
      malformed: this.#problem,
    };
  }

  /** A name, and where what follows it begins. Undefined when it is malformed. */
  nameAt(at: number): { name: string; next: number } | undefined {
    const data = this.#data;
    let name = "";
    let next = -1;
    let length = 0;
    let pointers = 0;
    for (;;) {
      if (at >= this.#end) return this.#bad("a name is cut off");
      const size = data[at] as number;
      if (size === 0) return { name, next: next === -1 ? at + 1 : next };
      if (size >= 0xc0) {
        if (at + 2 > this.#end) return this.#bad("a name is cut off");
        if (next === -1) next = at + 2;
        if (++pointers > MAX_POINTERS) return this.#bad("a compressed name goes in circles");
        // Forward as well: resolvers follow such pointers, so who shadows them must.
        at = this.#start + (u16(data, at) & 0x3fff);
        continue;
      }
      if (size > 63) return this.#bad("a label has a type that is not known");
      length += size + 1;
      if (length > MAX_NAME - 1) return this.#bad("a name is too long");
      if (at + 1 + size > this.#end) return this.#bad("a name is cut off");
      if (name !== "") name += ".";
      for (let i = at + 1; i <= at + size; i++) name += character(data[i] as number, ".");
      at += 1 + size;
    }
  }

  #question(at: number, into: DnsQuestion[]): number | undefined {
    const name = this.nameAt(at);
    if (name === undefined) return undefined;
    if (name.next + 4 > this.#end) return this.#bad("a question is cut off");
    into.push({
      name: name.name,
      type: u16(this.#data, name.next),
      class: u16(this.#data, name.next + 2),
    });
    return name.next + 4;
  }

  #record(at: number, into: DnsRecord[]): number | undefined {
    const name = this.nameAt(at);
    if (name === undefined) return undefined;
    const fixed = name.next;
    if (fixed + 10 > this.#end) return this.#bad("a record is cut off");
    const dataEnd = fixed + 10 + u16(this.#data, fixed + 8);
    if (dataEnd > this.#end) return this.#bad("a record's data is cut off");
    into.push({
      name: name.name,
      type: u16(this.#data, fixed),
      class: u16(this.#data, fixed + 2),
      ttl: u32(this.#data, fixed + 4),
      dataStart: fixed + 10,
      dataEnd,
    });
    return dataEnd;
  }

  #bad(problem: string): undefined {
    this.#problem ??= problem;
    return undefined;
  }
}
