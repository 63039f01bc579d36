/**
 * The NI's part of a perimeter, as eBPF programs: the gate decides about every frame that leaves the port to the host, whoever
 * forwarded it, and the watch notes what the host begins, at the port to the network.
 *
 * The rules are those of the other enforcers (docs/decisions/0004): a packet from outside needs a pinhole, an open port,
 * or a flow that began inside; a segment with FIN or RST also passes for a flow that came in by a pinhole.
 *
 * @module
 */
import { ALU, EbpfAssembler, HELPER, JUMP } from "../lib/net/ebpf.ts";
import {
  addAnyOutsidePort,
  addTcpFlags,
  addTuple,
  FRAGMENT_FIRST,
  FRAGMENT_KEY,
  PROTOCOL_REGISTER,
  TUPLE_KEY,
  TUPLE_PORTS,
} from "../lib/net/ebpf_tuple.ts";

/** Descriptors of the maps that the programs use. */
export interface GateMaps {
  /** Pinholes of each family: tuple to {@link PINHOLE_VALUE}. */
  readonly ph4: number;
  readonly ph6: number;
  /** Flows: tuple to where it began, and when it was used last. */
  readonly flows: number;
  /** Datagrams whose first fragment passed. */
  readonly frags: number;
  /** Open ports: protocol and port, both 16 bits. */
  readonly ports: number;
  /** Packets and bytes that were not let in; {@link COUNTER}. */
  readonly count: number;
}

/** Bytes of a pinhole's value: packets, bytes, and when its lease ends (CLOCK_MONOTONIC in ns; 0: never). */
export const PINHOLE_VALUE = 24;
/** Bytes of a flow's value. */
export const FLOW_VALUE = 16;
/** Where a flow began. */
export const BEGAN = { INSIDE: 0, OUTSIDE: 1 } as const;
/** Places in the counters. */
export const COUNTER = { DROPPED: 0, INVALID: 1 } as const;

/** What the next program shall see; there is none, and the frame goes on. */
const TC_ACT_UNSPEC = -1;
const TC_ACT_SHOT = 2;
const TCP = 6;
const UDP = 17;
const ICMP = 1;
const ICMP6 = 58;
/** Units of 2^30 ns (1.07 s) for which a flow may be quiet: TCP two hours (RFC 5382), others three minutes. */
const QUIET_TCP = 6984;
const QUIET_OTHER = 168;
/** ICMP types that pass by themselves: errors about what was sent; neighbour discovery and group membership. */
const ICMP_PASS = [3, 11, 12] as const;
const ICMP6_PASS = [1, 2, 3, 4, 130, 131, 132, 133, 134, 135, 136, 137, 143] as const;
/** To port 68 from 67, and for IPv6 to 546 from 547, as a little-endian processor reads both. */
const DHCP = [0x4300_4400, 0x2302_2202] as const;
const ECHO = { ICMP: 8, ICMP6: 128 } as const;
const SKB_LEN = 0;
const FLOW_FLAGS = 0x12; // SYN and ACK
const SYN = 0x02;
const FIN_RST = 0x05;

/** Below the frame pointer: where values are made, and a small key. */
const VALUE = -256;
const SMALL_KEY = -264;

/** What the host begins, so that answers are let in. To be attached where frames leave to the network. */
export function watchProgram(maps: GateMaps): Uint8Array<ArrayBuffer> {
  const out = new EbpfAssembler();
  out.aluRegister(ALU.MOV, 6, 1);
  addTuple(out, { prefix: "t", fromInside: true, tag: false, other: "pass", later: "pass" });
  lookup(out, maps.flows, TUPLE_KEY, "new");
  out.aluRegister(ALU.MOV, 9, 0).call(HELPER.KTIME);
  out.load(8, 1, 9, 0).jump(JUMP.NE, 1, BEGAN.INSIDE, "outside").store(8, 9, 8, 0).goto("pass");
  // What began outside stays so, until it is quiet for long or the host begins a connection itself.
  out.label("outside").load(8, 1, 9, 8).aluRegister(ALU.SUB, 0, 1).alu(ALU.RSH, 0, 30);
  out.jump(JUMP.GT, 0, QUIET_OTHER, "new").jump(JUMP.NE, PROTOCOL_REGISTER, TCP, "pass");
  addTcpFlags(out, "pass");
  out.alu(ALU.AND, 1, FLOW_FLAGS).jump(JUMP.NE, 1, SYN, "pass");
  out.label("new");
  storeFlow(out, maps, BEGAN.INSIDE);
  out.label("pass").alu(ALU.MOV, 0, TC_ACT_UNSPEC).exit();
  return out.bytes();
}

/** What is let in besides. */
export interface GateAllows {
  /** Pings. */
  readonly ping: boolean;
  /** Answers of DHCP servers, which come from other addresses than were asked. */
  readonly dhcp: boolean;
}

/** What is let in. To be attached where frames leave to the host. */
export function gateProgram(maps: GateMaps, allow: GateAllows): Uint8Array<ArrayBuffer> {
  const out = new EbpfAssembler();
  out.aluRegister(ALU.MOV, 6, 1);
  addTuple(out, {
    prefix: "t",
    fromInside: false,
    tag: false,
    other: "invalid",
    later: "later",
    arp: "pass",
  });
  for (const protocol of [TCP, UDP]) {
    out.jump(JUMP.EQ, PROTOCOL_REGISTER, protocol, "ports");
  }
  out.load(1, 1, 10, TUPLE_PORTS);
  out.jump(JUMP.EQ, PROTOCOL_REGISTER, ICMP, "icmp");
  out.jump(JUMP.NE, PROTOCOL_REGISTER, ICMP6, "flow");
  for (const type of [...ICMP6_PASS, ...(allow.ping ? [ECHO.ICMP6] : [])]) {
    out.jump(JUMP.EQ, 1, type, "pass");
  }
  out.jump(JUMP.EQ, 1, ECHO.ICMP6, "drop").goto("flow");
  out.label("icmp");
  for (const type of [...ICMP_PASS, ...(allow.ping ? [ECHO.ICMP] : [])]) {
    out.jump(JUMP.EQ, 1, type, "pass");
  }
  out.jump(JUMP.EQ, 1, ECHO.ICMP, "drop").goto("flow");

  // R9 keeps the outside port: pinholes for any have 0 in its place.
  out.label("ports").load(2, 9, 10, TUPLE_KEY + 34);
  if (allow.dhcp) {
    out.jump(JUMP.NE, PROTOCOL_REGISTER, UDP, "other").load(4, 1, 10, TUPLE_KEY + 32);
    for (const ports of DHCP) out.jump32(JUMP.EQ, 1, ports, "pass");
    out.label("other");
  }
  out.load(1, 1, 10, TUPLE_KEY + 37).jump(JUMP.EQ, 1, 4, "four");
  for (const [label, map] of [["six", maps.ph6], ["four", maps.ph4]] as const) {
    out.label(label);
    addPinhole(out, map, `${label}exact`, `${label}any`);
    out.label(`${label}any`);
    addAnyOutsidePort(out);
    addPinhole(out, map, `${label}wide`, `${label}none`);
    out.label(`${label}none`);
    if (label === "six") out.goto("open");
  }
  out.label("open").store(2, 10, TUPLE_KEY + 34, 9);
  out.store(2, 10, SMALL_KEY, PROTOCOL_REGISTER).load(2, 1, 10, TUPLE_KEY + 32);
  out.store(2, 10, SMALL_KEY + 2, 1);
  lookup(out, maps.ports, SMALL_KEY, "flow");
  out.goto("opened");

  out.label("flow");
  lookup(out, maps.flows, TUPLE_KEY, "drop");
  out.aluRegister(ALU.MOV, 9, 0).call(HELPER.KTIME);
  out.load(8, 1, 9, 8).aluRegister(ALU.MOV, 2, 0).aluRegister(ALU.SUB, 2, 1).alu(ALU.RSH, 2, 30);
  out.jump(JUMP.EQ, PROTOCOL_REGISTER, TCP, "tcp");
  out.jump(JUMP.GT, 2, QUIET_OTHER, "drop");
  out.load(8, 1, 9, 0).jump(JUMP.NE, 1, BEGAN.INSIDE, "drop").goto("used");
  out.label("tcp").jump(JUMP.GT, 2, QUIET_TCP, "drop");
  addTcpFlags(out, "invalid");
  out.load(8, 2, 9, 0).jump(JUMP.EQ, 2, BEGAN.INSIDE, "inside");
  out.alu(ALU.AND, 1, FIN_RST).jump(JUMP.EQ, 1, 0, "drop").goto("pass");
  // A SYN begins a connection of its own.
  out.label("inside").alu(ALU.AND, 1, FLOW_FLAGS).jump(JUMP.EQ, 1, SYN, "drop").goto("used");

  // A flow from outside: what the host answers must not look as if it had begun.
  out.label("pinhole").store(2, 10, TUPLE_KEY + 34, 9);
  out.label("opened");
  lookup(out, maps.flows, TUPLE_KEY, "strange");
  out.aluRegister(ALU.MOV, 9, 0).goto("used");
  out.label("strange");
  storeFlow(out, maps, BEGAN.OUTSIDE);
  out.goto("pass");
  out.label("used").call(HELPER.KTIME).store(8, 9, 8, 0).goto("pass");

  out.label("later");
  lookup(out, maps.frags, FRAGMENT_KEY, "drop");
  out.goto("through");
  out.label("pass").load(8, 1, 10, FRAGMENT_FIRST).jump(JUMP.EQ, 1, 0, "through");
  out.storeConstant(8, 10, VALUE, 1);
  update(out, maps.frags, FRAGMENT_KEY);
  out.label("through").alu(ALU.MOV, 0, TC_ACT_UNSPEC).exit();
  for (const [label, place] of [["drop", COUNTER.DROPPED], ["invalid", COUNTER.INVALID]] as const) {
    out.label(label).storeConstant(4, 10, SMALL_KEY, place);
    lookup(out, maps.count, SMALL_KEY, `${label}ped`);
    addTraffic(out, 0);
    out.label(`${label}ped`).alu(ALU.MOV, 0, TC_ACT_SHOT).exit();
  }
  return out.bytes();
}

/** On at `pinhole` when there is one for the key whose lease has not ended, with its traffic counted; else at `none`. */
function addPinhole(out: EbpfAssembler, map: number, prefix: string, none: string): void {
  lookup(out, map, TUPLE_KEY, none);
  out.load(8, 1, 0, 16).jump(JUMP.EQ, 1, 0, `${prefix}holds`);
  out.store(8, 10, VALUE, 0).call(HELPER.KTIME).aluRegister(ALU.MOV, 2, 0);
  out.load(8, 0, 10, VALUE).load(8, 1, 0, 16).jumpRegister(JUMP.GE, 2, 1, none);
  out.label(`${prefix}holds`);
  addTraffic(out, 0);
  out.goto("pinhole");
}

/** Counts the frame at what a register points to; without its link header, as other enforcers do. */
function addTraffic(out: EbpfAssembler, to: 0): void {
  out.alu(ALU.MOV, 1, 1).atomicAdd(to, 0, 1);
  out.load(4, 1, 6, SKB_LEN).alu(ALU.SUB, 1, 14).atomicAdd(to, 8, 1);
}

function lookup(out: EbpfAssembler, map: number, key: number, absent: string): void {
  out.loadMap(1, map).aluRegister(ALU.MOV, 2, 10).alu(ALU.ADD, 2, key);
  out.call(HELPER.MAP_LOOKUP).jump(JUMP.EQ, 0, 0, absent);
}

function update(out: EbpfAssembler, map: number, key: number): void {
  out.loadMap(1, map).aluRegister(ALU.MOV, 2, 10).alu(ALU.ADD, 2, key);
  out.aluRegister(ALU.MOV, 3, 10).alu(ALU.ADD, 3, VALUE).alu(ALU.MOV, 4, 0);
  out.call(HELPER.MAP_UPDATE);
}

function storeFlow(out: EbpfAssembler, maps: GateMaps, began: number): void {
  out.call(HELPER.KTIME).store(8, 10, VALUE + 8, 0).storeConstant(8, 10, VALUE, began);
  update(out, maps.flows, TUPLE_KEY);
}
