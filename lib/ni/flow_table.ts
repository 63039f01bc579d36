/**
 * Flows of which scanners have seen enough, in the kernel: a frame of one is not sent to user space for those scanners
 * any more. The kernel forgets flows that were quiet for long, and the oldest when there are too many.
 *
 * @module
 */
import { ALU, type EbpfAssembler, HELPER, JUMP } from "../net/ebpf.ts";
import {
  addTag,
  addTcpFlags,
  addTuple,
  NO_TAG,
  PROTOCOL_REGISTER,
  TUPLE_KEY,
  TUPLE_SIZE,
  tupleKeyBytes,
} from "../net/ebpf_tuple.ts";
import { type Packet, PROTOCOL, TCP } from "../net/packet.ts";
import { createMap, deleteFromMap, lookupMap, MAP_TYPE, updateMap } from "../sys/bpf.ts";
import { monotonicNanoseconds } from "../sys/clock.ts";
import { libc } from "../sys/libc.ts";
import type { Direction } from "./frame.ts";

/** Flows that are remembered. */
const MOST_FLOWS = 65_536;
/** Units of 2^30 ns (1.07 s) for which a flow may be quiet: five minutes. */
const QUIET = 280;
/** Scanners that flows can be finished for: bits of a number that an instruction can hold. */
export const MOST_SCANNERS = 31;
/** Value of an entry: a bit for each scanner, and when it was used last (CLOCK_MONOTONIC, ns). */
const VALUE = 16;

/** The table; both ports' programs look into it. */
export class FlowTable {
  readonly #map = createMap(MAP_TYPE.LRU_HASH, TUPLE_SIZE, VALUE, MOST_FLOWS);
  readonly #clock: () => bigint;

  /** @param clock when flows are finished: CLOCK_MONOTONIC, ns. */
  constructor(clock: () => bigint = monotonicNanoseconds) {
    this.#clock = clock;
  }

  /** A scanner has seen enough of a flow. */
  finish(p: Packet, direction: Direction, scanner: number): void {
    const key = flowKeyBytes(p, direction);
    if (key === undefined || scanner >= MOST_SCANNERS) return;
    const value = new DataView(new ArrayBuffer(VALUE));
    lookupMap(this.#map, key, new Uint8Array(value.buffer));
    value.setBigUint64(0, value.getBigUint64(0, true) | (1n << BigInt(scanner)), true);
    value.setBigUint64(8, this.#clock(), true);
    updateMap(this.#map, key, new Uint8Array(value.buffer));
  }

  /** A flow is another one from now on. */
  forget(p: Packet, direction: Direction): void {
    const key = flowKeyBytes(p, direction);
    if (key !== undefined) deleteFromMap(this.#map, key);
  }

  /**
   * Adds instructions for a frame that a rule of a scanner covers: on at `finished` when the scanner has seen enough of its
   * flow, at `scan` when not, or when the frame is one that begins a connection, is not a whole datagram, or cannot be
   * read.
   */
  addLookup(
    out: EbpfAssembler,
    scanner: number,
    options: { prefix: string; fromHost: boolean; scan: string; finished: string },
  ): void {
    const { prefix, fromHost, scan, finished } = options;
    addTuple(out, { prefix, fromInside: fromHost, tag: true, other: scan, later: scan });
    addTag(out, prefix);
    out.jump(JUMP.NE, PROTOCOL_REGISTER, PROTOCOL.TCP, `${prefix}look`);
    addTcpFlags(out, scan);
    out.alu(ALU.AND, 1, TCP.SYN | TCP.ACK).jump(JUMP.EQ, 1, TCP.SYN, scan);
    out.label(`${prefix}look`);
    out.loadMap(1, this.#map).aluRegister(ALU.MOV, 2, 10).alu(ALU.ADD, 2, TUPLE_KEY);
    out.call(HELPER.MAP_LOOKUP).jump(JUMP.EQ, 0, 0, scan);
    out.aluRegister(ALU.MOV, 9, 0).call(HELPER.KTIME);
    out.load(8, 1, 9, 8).aluRegister(ALU.MOV, 2, 0).aluRegister(ALU.SUB, 2, 1);
    out.alu(ALU.RSH, 2, 30).jump(JUMP.GT, 2, QUIET, scan);
    out.load(8, 1, 9, 0).jump(JUMP.SET, 1, 1 << scanner, `${prefix}is`).goto(scan);
    out.label(`${prefix}is`).store(8, 9, 8, 0).goto(finished);
  }

  /** Lets go of it. */
  close(): void {
    libc.close(this.#map);
  }
}

/** The kernel's key of a packet's flow; undefined for packets that the kernel does not look up. */
function flowKeyBytes(p: Packet, direction: Direction): Uint8Array<ArrayBuffer> | undefined {
  // What is inside of something else (PPPoE, labels, two tags) the kernel's part does not read.
  if (p.version === 0 || p.tags > 1 || p.network - p.start !== 14 + 4 * p.tags) return undefined;
  const fromHost = direction === "from-host";
  const [sourcePort, destinationPort] = p.hasPorts ? [p.sourcePort, p.destinationPort] : [0, 0];
  return tupleKeyBytes({
    inside: (fromHost ? p.source() : p.destination()).bytes,
    outside: (fromHost ? p.destination() : p.source()).bytes,
    insidePort: fromHost ? sourcePort : destinationPort,
    outsidePort: fromHost ? destinationPort : sourcePort,
    protocol: p.protocol,
    tag: p.tags === 0 ? NO_TAG : p.vlan & 0xfff,
  });
}
