/**
 * The kernel's part of forwarding: one eBPF program on each port decides about every frame, once. What a prevent rule
 * covers is dropped, what a scanner subscribed to goes to user space through a virtual cable, everything else goes
 * straight to the other port. A new program takes the old one's place between two frames, so that none is forwarded
 * twice or lost.
 *
 * The program is gone with the process, however that ends; what is underneath it then decides (`on_exit`).
 *
 * @module
 */
import { addClassic, ALU, EbpfAssembler, HELPER, JUMP } from "../net/ebpf.ts";
import {
  createMap,
  linkIngress,
  loadClassifier,
  lookupMap,
  MAP_TYPE,
  replaceLinked,
} from "../sys/bpf.ts";
import { libc } from "../sys/libc.ts";
import type { BpfInstruction } from "../net/bpf.ts";

/** Frames that go to user space: those that `asked` and one of `within` match. */
export interface ScanRule {
  readonly asked: readonly BpfInstruction[];
  readonly within: readonly (readonly BpfInstruction[])[];
}

/** What the programs do. */
export interface FastPathRules {
  readonly prevent: readonly (readonly BpfInstruction[])[];
  readonly scan: readonly ScanRule[];
}

/** One port: its interface, the other port's, and the cable to user space. */
export interface FastPathPort {
  readonly index: number;
  readonly peer: number;
  readonly cable: number;
}

/** Frames and bytes. */
export interface Count {
  readonly frames: number;
  readonly bytes: number;
}

const TC_ACT_SHOT = 2;
/** Entries of the counters: forwarded, to user space, then one for each prevent rule. */
const FORWARDED = 0;
const SCANNED = 1;
const PREVENTED = 2;
/** Offset of `len` in struct __sk_buff. */
const SKB_LEN = 0;
const KEY = -80;

/** The program of one port. */
export class FastPath {
  readonly #port: FastPathPort;
  readonly #counters: number;
  readonly #rules: number;
  readonly #link: number;
  #program: number;

  /**
   * @throws {SystemError} in kernels that cannot attach programs so (before 6.6), or without the right to.
   * @throws {ProgramRefused} when the rules make a program that the kernel does not take.
   */
  constructor(port: FastPathPort, rules: FastPathRules) {
    this.#port = port;
    this.#rules = rules.prevent.length;
    this.#counters = createMap(MAP_TYPE.ARRAY, 4, 16, PREVENTED + rules.prevent.length);
    try {
      this.#program = loadClassifier(this.#build(rules));
    } catch (error) {
      libc.close(this.#counters);
      throw error;
    }
    try {
      this.#link = linkIngress(this.#program, port.index);
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  /** Puts other rules in force. The number of prevent rules stays. @throws as the constructor. */
  replace(rules: FastPathRules): void {
    if (rules.prevent.length !== this.#rules) {
      throw new RangeError(`Cannot change ${this.#rules} prevent rules to ${rules.prevent.length}`);
    }
    const program = loadClassifier(this.#build(rules));
    try {
      replaceLinked(this.#link, program);
    } catch (error) {
      libc.close(program);
      throw error;
    }
    libc.close(this.#program);
    this.#program = program;
  }

  /** Frames that went straight to the other port. */
  forwarded(): Count {
    return this.#count(FORWARDED);
  }

  /** Frames that went to user space. */
  scanned(): Count {
    return this.#count(SCANNED);
  }

  /** Frames that a prevent rule dropped. */
  prevented(rule: number): Count {
    return this.#count(PREVENTED + rule);
  }

  /** Takes the program away. */
  close(): void {
    libc.close(this.#link);
    this.#release();
  }

  #release(): void {
    libc.close(this.#program);
    libc.close(this.#counters);
  }

  #count(entry: number): Count {
    const key = new Uint8Array(4);
    new DataView(key.buffer).setUint32(0, entry, true);
    const value = new DataView(new ArrayBuffer(16));
    lookupMap(this.#counters, key, new Uint8Array(value.buffer));
    return {
      frames: Number(value.getBigUint64(0, true)),
      bytes: Number(value.getBigUint64(8, true)),
    };
  }

  #build(rules: FastPathRules): Uint8Array<ArrayBuffer> {
    const out = new EbpfAssembler();
    out.aluRegister(ALU.MOV, 6, 1);
    rules.prevent.forEach((program, i) => {
      addClassic(out, program, `p${i}_`, `drop${i}`, `prevent${i + 1}`);
      out.label(`prevent${i + 1}`);
    });
    rules.scan.forEach(({ asked, within }, i) => {
      addClassic(out, asked, `a${i}_`, `within${i}_0`, `scan${i + 1}`);
      within.forEach((program, j) => {
        out.label(`within${i}_${j}`);
        const next = j + 1 < within.length ? `within${i}_${j + 1}` : `scan${i + 1}`;
        addClassic(out, program, `w${i}_${j}_`, "scan", next);
      });
      if (within.length === 0) out.label(`within${i}_0`);
      out.label(`scan${i + 1}`);
    });
    this.#redirect(out, FORWARDED, this.#port.peer);
    out.label("scan");
    this.#redirect(out, SCANNED, this.#port.cable);
    rules.prevent.forEach((_, i) => {
      out.label(`drop${i}`);
      this.#addCount(out, PREVENTED + i);
      out.alu(ALU.MOV, 0, TC_ACT_SHOT).exit();
    });
    return out.bytes();
  }

  #redirect(out: EbpfAssembler, counter: number, index: number): void {
    this.#addCount(out, counter);
    out.alu(ALU.MOV, 1, index).alu(ALU.MOV, 2, 0).call(HELPER.REDIRECT).exit();
  }

  #addCount(out: EbpfAssembler, counter: number): void {
    out.storeConstant(4, 10, KEY, counter);
    out.loadMap(1, this.#counters).aluRegister(ALU.MOV, 2, 10).alu(ALU.ADD, 2, KEY);
    out.call(HELPER.MAP_LOOKUP).jump(JUMP.EQ, 0, 0, `counted${counter}`);
    out.alu(ALU.MOV, 1, 1).atomicAdd(0, 0, 1);
    out.load(4, 1, 6, SKB_LEN).atomicAdd(0, 8, 1);
    out.label(`counted${counter}`);
  }
}
