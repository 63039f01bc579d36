/**
 * Instructions that read a frame's addresses and ports into the key of a map, and the same key made here, so that the
 * kernel finds what was put in.
 *
 * @module
 */
import { ALU, type EbpfAssembler, HELPER, JUMP, type Register } from "./ebpf.ts";

/** Bytes of a key: two addresses of 16, two ports, protocol, family, tag. */
export const TUPLE_SIZE = 40;
/** Stands in a key for "no tag". */
export const NO_TAG = 0xffff;

/** Where things are in a key. */
const FIELD = { INSIDE: 0, OUTSIDE: 16, PORTS: 32, PROTOCOL: 36, FAMILY: 37, TAG: 38 } as const;

/** Below the frame pointer, under what {@link addClassic} uses: the key, ... */
export const TUPLE_KEY: number = -128;
/** ... the ports (for other protocols the first 4 bytes), ... */
export const TUPLE_PORTS: number = -136;
/** ... the IP header, ... */
const HEADER = -176;
/** ... and where fragments are looked up: addresses, identification, protocol, family. */
export const FRAGMENT_KEY: number = -224;
/** Bytes of a fragment's key. */
export const FRAGMENT_SIZE = 40;
/** 1 behind {@link addTuple} when the frame is a first fragment, otherwise 0. 8 bytes. */
export const FRAGMENT_FIRST: number = -232;

/** What the instructions leave behind: protocol, offset of the transport header, offset of the IP header. */
export const PROTOCOL_REGISTER: Register = 7;
const TRANSPORT: Register = 8;
const NETWORK: Register = 9;
const CONTEXT: Register = 6;

const SKB = { VLAN_PRESENT: 20, VLAN_TCI: 24 } as const;
/** IPv6 extension headers that are looked through, one after the other. */
const MOST_EXTENSIONS = 6;
const MOST_TAGS = 2;

/** How a frame is read, and where control goes on. */
export interface TupleOptions {
  /** Of labels, different each time. */
  readonly prefix: string;
  /** The frame comes from inside: its source is the inside address. */
  readonly fromInside: boolean;
  /** The tag is part of the key; frames with more than one go to `other`. Without it, tags are looked through. */
  readonly tag: boolean;
  /** Where frames go that are not IP, broken, or that nobody could read. */
  readonly other: string;
  /** Where ARP goes, when not there too. */
  readonly arp?: string;
  /**
   * Where later fragments go: they have no ports. {@link FRAGMENT_KEY} holds the datagram's key; first fragments go on
   * like whole datagrams.
   */
  readonly later: string;
}

/** Adds the instructions; R6 must hold the context. Behind them the key is at {@link TUPLE_KEY}. R0 to R5 are used. */
export function addTuple(out: EbpfAssembler, options: TupleOptions): void {
  const { prefix: p, fromInside, other, later } = options;
  addEtherType(out, options);
  if (options.arp !== undefined) out.jump(JUMP.EQ, 1, 0x0806, options.arp);
  for (let at = 0; at < TUPLE_SIZE; at += 8) out.storeConstant(8, 10, TUPLE_KEY + at, 0);
  for (let at = 0; at < FRAGMENT_SIZE; at += 8) out.storeConstant(8, 10, FRAGMENT_KEY + at, 0);
  out.storeConstant(8, 10, FRAGMENT_FIRST, 0);
  out.jump(JUMP.EQ, 1, 0x0800, `${p}v4`).jump(JUMP.NE, 1, 0x86dd, other);

  // IPv6: the addresses, then the chain of headers.
  loadBytes(out, NETWORK, HEADER, 40, other);
  const [source, destination] = fromInside
    ? [FIELD.INSIDE, FIELD.OUTSIDE]
    : [FIELD.OUTSIDE, FIELD.INSIDE];
  for (let at = 0; at < 16; at += 8) {
    out.load(8, 1, 10, HEADER + 8 + at).store(8, 10, TUPLE_KEY + source + at, 1);
    out.store(8, 10, FRAGMENT_KEY + at, 1);
    out.load(8, 1, 10, HEADER + 24 + at).store(8, 10, TUPLE_KEY + destination + at, 1);
    out.store(8, 10, FRAGMENT_KEY + 16 + at, 1);
  }
  out.storeConstant(1, 10, TUPLE_KEY + FIELD.FAMILY, 6);
  out.storeConstant(1, 10, FRAGMENT_KEY + 37, 6);
  out.load(1, PROTOCOL_REGISTER, 10, HEADER + 6);
  out.aluRegister(ALU.MOV, TRANSPORT, NETWORK).alu(ALU.ADD, TRANSPORT, 40);
  for (let i = 0; i < MOST_EXTENSIONS; i++) addExtension(out, `${p}x${i}`, `${p}ports`, options);
  for (const header of [0, 43, 44, 51, 60]) out.jump(JUMP.EQ, PROTOCOL_REGISTER, header, other);
  out.goto(`${p}ports`);

  out.label(`${p}v4`);
  loadBytes(out, NETWORK, HEADER, 20, other);
  out.load(4, 1, 10, HEADER + 12).store(4, 10, TUPLE_KEY + source, 1);
  out.store(4, 10, FRAGMENT_KEY, 1);
  out.load(4, 1, 10, HEADER + 16).store(4, 10, TUPLE_KEY + destination, 1);
  out.store(4, 10, FRAGMENT_KEY + 16, 1);
  out.storeConstant(1, 10, TUPLE_KEY + FIELD.FAMILY, 4);
  out.storeConstant(1, 10, FRAGMENT_KEY + 37, 4);
  out.load(1, PROTOCOL_REGISTER, 10, HEADER + 9);
  out.load(1, 1, 10, HEADER).aluRegister(ALU.MOV, 2, 1).alu(ALU.RSH, 2, 4);
  out.jump(JUMP.NE, 2, 4, other).alu(ALU.AND, 1, 15).jump(JUMP.LT, 1, 5, other).alu(ALU.LSH, 1, 2);
  out.aluRegister(ALU.MOV, TRANSPORT, NETWORK).aluRegister(ALU.ADD, TRANSPORT, 1);
  out.load(2, 1, 10, HEADER + 6).fromNetwork(1, 16).alu(ALU.AND, 1, 0x3fff);
  out.jump(JUMP.EQ, 1, 0, `${p}ports`);
  out.load(2, 2, 10, HEADER + 4).store(4, 10, FRAGMENT_KEY + 32, 2);
  out.store(1, 10, FRAGMENT_KEY + 36, PROTOCOL_REGISTER);
  out.alu(ALU.AND, 1, 0x1fff).jump(JUMP.NE, 1, 0, later);
  out.storeConstant(8, 10, FRAGMENT_FIRST, 1);

  out.label(`${p}ports`);
  out.store(1, 10, TUPLE_KEY + FIELD.PROTOCOL, PROTOCOL_REGISTER);
  out.storeConstant(8, 10, TUPLE_PORTS, 0);
  out.jump(JUMP.EQ, PROTOCOL_REGISTER, 6, `${p}read`).jump(
    JUMP.EQ,
    PROTOCOL_REGISTER,
    17,
    `${p}read`,
  );
  // Of ICMP the type and code are read; what has less than 4 bytes has none.
  loadBytes(out, TRANSPORT, TUPLE_PORTS, 4, `${p}done`);
  out.goto(`${p}done`);
  out.label(`${p}read`);
  loadBytes(out, TRANSPORT, TUPLE_PORTS, 4, other);
  out.load(2, 1, 10, TUPLE_PORTS).load(2, 2, 10, TUPLE_PORTS + 2);
  out.store(2, 10, TUPLE_KEY + FIELD.PORTS + (fromInside ? 0 : 2), 1);
  out.store(2, 10, TUPLE_KEY + FIELD.PORTS + (fromInside ? 2 : 0), 2);
  out.label(`${p}done`);
}

/** The byte of TCP's flags to R1; R7 must be TCP. */
export function addTcpFlags(out: EbpfAssembler, missing: string): void {
  out.aluRegister(ALU.MOV, 2, TRANSPORT).alu(ALU.ADD, 2, 13);
  out.aluRegister(ALU.MOV, 1, CONTEXT).aluRegister(ALU.MOV, 3, 10).alu(ALU.ADD, 3, TUPLE_PORTS + 4);
  out.alu(ALU.MOV, 4, 1).call(HELPER.SKB_LOAD_BYTES).jump(JUMP.NE, 0, 0, missing);
  out.load(1, 1, 10, TUPLE_PORTS + 4);
}

/** A key, as {@link addTuple} makes it. */
export interface Tuple {
  /** 4 or 16 bytes. */
  readonly inside: Uint8Array;
  readonly outside: Uint8Array;
  readonly insidePort: number;
  readonly outsidePort: number;
  readonly protocol: number;
  /** VLAN, or {@link NO_TAG}; 0 where tags are no part of keys. */
  readonly tag: number;
}

/** The key of a tuple. */
export function tupleKeyBytes(tuple: Tuple): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(TUPLE_SIZE);
  const view = new DataView(key.buffer);
  key.set(tuple.inside, FIELD.INSIDE);
  key.set(tuple.outside, FIELD.OUTSIDE);
  view.setUint16(FIELD.PORTS, tuple.insidePort);
  view.setUint16(FIELD.PORTS + 2, tuple.outsidePort);
  key[FIELD.PROTOCOL] = tuple.protocol;
  key[FIELD.FAMILY] = tuple.inside.length === 4 ? 4 : 6;
  view.setUint16(FIELD.TAG, tuple.tag, true);
  return key;
}

/** What a key says. */
export function readTupleKey(key: Uint8Array<ArrayBuffer>, at = 0): Tuple {
  const view = new DataView(key.buffer, key.byteOffset + at);
  const length = key[at + FIELD.FAMILY] === 4 ? 4 : 16;
  return {
    inside: key.slice(at, at + length),
    outside: key.slice(at + 16, at + 16 + length),
    insidePort: view.getUint16(FIELD.PORTS),
    outsidePort: view.getUint16(FIELD.PORTS + 2),
    protocol: key[at + FIELD.PROTOCOL] as number,
    tag: view.getUint16(FIELD.TAG, true),
  };
}

/** Writes a port of 0 for the outside one: "any". */
export function addAnyOutsidePort(out: EbpfAssembler): void {
  out.storeConstant(2, 10, TUPLE_KEY + FIELD.PORTS + 2, 0);
}

/** R1 = the EtherType behind tags, R9 = the offset behind it. */
function addEtherType(out: EbpfAssembler, { prefix: p, tag, other }: TupleOptions): void {
  out.alu(ALU.MOV, NETWORK, 12);
  for (let i = 0; i <= MOST_TAGS; i++) {
    loadBytes(out, NETWORK, TUPLE_PORTS, 2, `${p}none`);
    out.alu(ALU.ADD, NETWORK, 2).load(2, 1, 10, TUPLE_PORTS).fromNetwork(1, 16);
    if (tag || i === MOST_TAGS) break;
    out.jump(JUMP.EQ, 1, 0x8100, `${p}tag${i}`).jump(JUMP.NE, 1, 0x88a8, `${p}type`);
    out.label(`${p}tag${i}`).alu(ALU.ADD, NETWORK, 2);
  }
  out.goto(`${p}type`);
  out.label(`${p}none`).goto(other);
  out.label(`${p}type`);
}

/** Looks through one extension header; R7 becomes the next one's type. */
function addExtension(
  out: EbpfAssembler,
  label: string,
  ports: string,
  options: TupleOptions,
): void {
  const next = `${label}next`;
  out.jump(JUMP.EQ, PROTOCOL_REGISTER, 44, `${label}fragment`);
  for (const header of [0, 43, 60]) out.jump(JUMP.EQ, PROTOCOL_REGISTER, header, `${label}long`);
  out.jump(JUMP.NE, PROTOCOL_REGISTER, 51, ports);
  loadBytes(out, TRANSPORT, TUPLE_PORTS, 2, options.other);
  out.load(1, 1, 10, TUPLE_PORTS + 1).alu(ALU.ADD, 1, 2).alu(ALU.LSH, 1, 2);
  out.aluRegister(ALU.ADD, TRANSPORT, 1).load(1, PROTOCOL_REGISTER, 10, TUPLE_PORTS).goto(next);
  out.label(`${label}long`);
  loadBytes(out, TRANSPORT, TUPLE_PORTS, 2, options.other);
  out.load(1, 1, 10, TUPLE_PORTS + 1).alu(ALU.ADD, 1, 1).alu(ALU.LSH, 1, 3);
  out.aluRegister(ALU.ADD, TRANSPORT, 1).load(1, PROTOCOL_REGISTER, 10, TUPLE_PORTS).goto(next);
  out.label(`${label}fragment`);
  loadBytes(out, TRANSPORT, TUPLE_PORTS, 8, options.other);
  out.load(1, PROTOCOL_REGISTER, 10, TUPLE_PORTS).alu(ALU.ADD, TRANSPORT, 8);
  out.load(4, 2, 10, TUPLE_PORTS + 4).store(4, 10, FRAGMENT_KEY + 32, 2);
  out.load(2, 1, 10, TUPLE_PORTS + 2).fromNetwork(1, 16);
  out.aluRegister(ALU.MOV, 2, 1).alu(ALU.AND, 2, 0xfff9).jump(JUMP.EQ, 2, 0, next); // atomic
  out.alu(ALU.AND, 1, 0xfff8).jump(JUMP.NE, 1, 0, options.later);
  out.storeConstant(8, 10, FRAGMENT_FIRST, 1);
  out.label(next);
}

/** Copies bytes of the frame at a register's offset to the stack. */
function loadBytes(
  out: EbpfAssembler,
  offset: Register,
  to: number,
  length: number,
  missing: string,
): void {
  out.aluRegister(ALU.MOV, 1, CONTEXT).aluRegister(ALU.MOV, 2, offset);
  out.aluRegister(ALU.MOV, 3, 10).alu(ALU.ADD, 3, to).alu(ALU.MOV, 4, length);
  out.call(HELPER.SKB_LOAD_BYTES).jump(JUMP.NE, 0, 0, missing);
}

/** R1 = the outer tag as keys have it, which the kernel has taken out of the frame. */
export function addTag(out: EbpfAssembler, prefix: string): void {
  out.alu(ALU.MOV, 1, NO_TAG).load(4, 2, CONTEXT, SKB.VLAN_PRESENT);
  out.jump(JUMP.EQ, 2, 0, `${prefix}untagged`);
  out.load(4, 1, CONTEXT, SKB.VLAN_TCI).alu(ALU.AND, 1, 0xfff);
  out.label(`${prefix}untagged`).store(2, 10, TUPLE_KEY + FIELD.TAG, 1);
}
