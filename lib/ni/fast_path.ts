/**
 * The kernel's part of forwarding: one eBPF program on each port decides about every frame, once. What a prevent rule
 * covers is dropped, what a scanner may hold goes to user space through a virtual cable, everything else goes
 * straight to the other port; of what scanners only read a copy goes through a cable of its own. A new program takes the old one's place between two frames, so that none is forwarded
 * twice or lost.
 *
 * The program is gone with the process, however that ends; what is underneath it then decides (`on_exit`).
 *
 * @module
 */
import { addClassic, ALU, EbpfAssembler, HELPER, JUMP } from "../net/ebpf.ts";
import { addTuple, FRAGMENT_FIRST, FRAGMENT_KEY, FRAGMENT_SIZE } from "../net/ebpf_tuple.ts";
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
import { type FlowTable, MOST_SCANNERS } from "./flow_table.ts";

/** Frames that go to user space: those that `asked` and one of `within` match. */
export interface ScanRule {
  readonly asked: readonly BpfInstruction[];
  readonly within: readonly (readonly BpfInstruction[])[];
  /** The scanner's number: flows that it has finished are not sent to it. Without one all are. */
  readonly scanner?: number;
  /** A copy is enough: the frame itself goes on at once, when no other rule has it go to user space. */
  readonly copy?: boolean;
}

/** What the programs do. */
export interface FastPathRules {
  readonly prevent: readonly (readonly BpfInstruction[])[];
  readonly scan: readonly ScanRule[];
  /** Frames that go their own way meet no other filter of traffic control (see tap_ports.ts). */
  readonly last?: boolean;
}

/** One port: its interface, where its frames go on, and the cable to user space. */
export interface FastPathPort {
  readonly index: number;
  /** The other port's interface; "own": their own way, from which the program has not taken them. */
  readonly peer: number | "own";
  readonly cable: number;
  /** The cable for copies. */
  readonly copies: number;
  /** User space takes all frames from the interface itself, which sees them before the program: it stops them there. */
  readonly stop?: boolean;
  /** Frames come from the host here, not from the network. */
  readonly fromHost: boolean;
  /** Flows that scanners have finished, the same for both ports. */
  readonly flows?: FlowTable | undefined;
  /** Frames that the interface receives, or those that it sends. */
  readonly hook?: "ingress" | "egress";
  /** Frames with this mark have been decided about and go their own way, without it. */
  readonly mark?: number;
}

/** Frames and bytes. */
export interface Count {
  readonly frames: number;
  readonly bytes: number;
}

/** Rules that are ready to be put in force, or not. */
export interface PreparedRules {
  commit(): void;
  discard(): void;
}

const TC_ACT_SHOT = 2;
/** What a program answers for frames that go their own way: to the next filter, or past all of them. */
const TCX_NEXT = -1;
const TCX_PASS = 0;
/** Entries of the counters: forwarded, to user space, forwarded with a copy to user space, then one for each prevent rule. */
const FORWARDED = 0;
const SCANNED = 1;
const COPIED = 2;
const PREVENTED = 3;
/** Offset of `len` in struct __sk_buff. */
const SKB_LEN = 0;
const SKB_MARK = 8;
const SKB_DATA = 76;
const SKB_DATA_END = 80;
const KEY = -80;
/** Datagrams in fragments that are remembered. */
const MOST_FRAGMENTED = 4096;
/** What becomes of a fragmented datagram's later fragments; from {@link PREVENTED} on: dropped by a rule. */
const DECISION = -240;
/** An EtherType as two bytes in memory read by a little-endian processor. */
const swapped = (type: number) => ((type & 0xff) << 8) | (type >> 8);

/** The program of one port. */
export class FastPath {
  readonly #port: FastPathPort;
  #counters: number;
  readonly #fragments: number;
  #rules: readonly (readonly BpfInstruction[])[];
  readonly #link: number;
  #program: number;
  /** What was counted before the counters were made anew, by their entry. */
  readonly #before = new Map<number, Count>();

  /**
   * @throws {SystemError} in kernels that cannot attach programs so (before 6.6), or without the right to.
   * @throws {ProgramRefused} when the rules make a program that the kernel does not take.
   */
  constructor(port: FastPathPort, rules: FastPathRules) {
    this.#port = port;
    this.#rules = rules.prevent;
    this.#counters = countersFor(rules);
    try {
      this.#fragments = createMap(MAP_TYPE.LRU_HASH, FRAGMENT_SIZE, 8, MOST_FRAGMENTED);
    } catch (error) {
      libc.close(this.#counters);
      throw error;
    }
    try {
      this.#program = loadClassifier(this.#build(rules, this.#counters));
    } catch (error) {
      libc.close(this.#counters);
      libc.close(this.#fragments);
      throw error;
    }
    try {
      this.#link = linkIngress(this.#program, port.index, port.hook);
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  /** Puts other rules in force. @throws as {@link prepare}. */
  replace(rules: FastPathRules): void {
    this.prepare(rules).commit();
  }

  /**
   * Gets other rules ready, and changes nothing yet. Counters of prevent rules begin anew when there are others.
   *
   * @throws {ProgramRefused} when they make a program that the kernel does not take.
   */
  prepare(rules: FastPathRules): PreparedRules {
    const anew = rules.prevent !== this.#rules;
    const counters = anew ? countersFor(rules) : this.#counters;
    let program: number;
    try {
      program = loadClassifier(this.#build(rules, counters));
    } catch (error) {
      if (anew) libc.close(counters);
      throw error;
    }
    const discard = () => {
      libc.close(program);
      if (anew) libc.close(counters);
    };
    return {
      discard,
      commit: () => {
        try {
          replaceLinked(this.#link, program);
        } catch (error) {
          discard();
          throw error;
        }
        libc.close(this.#program);
        this.#program = program;
        if (!anew) return;
        // Nobody counts there any more.
        for (const entry of [FORWARDED, SCANNED, COPIED]) {
          this.#before.set(entry, this.#count(entry));
        }
        libc.close(this.#counters);
        this.#counters = counters;
        this.#rules = rules.prevent;
      },
    };
  }

  /** Frames that went straight to the other port. */
  forwarded(): Count {
    return this.#count(FORWARDED);
  }

  /** Frames that went to user space. */
  scanned(): Count {
    return this.#count(SCANNED);
  }

  /** Frames that went to the other port and of which a copy went to user space; they are among those {@link forwarded}. */
  copied(): Count {
    return this.#count(COPIED);
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
    libc.close(this.#fragments);
  }

  #count(entry: number): Count {
    const key = new Uint8Array(4);
    new DataView(key.buffer).setUint32(0, entry, true);
    const value = new DataView(new ArrayBuffer(16));
    lookupMap(this.#counters, key, new Uint8Array(value.buffer));
    const before = this.#before.get(entry);
    return {
      frames: Number(value.getBigUint64(0, true)) + (before?.frames ?? 0),
      bytes: Number(value.getBigUint64(8, true)) + (before?.bytes ?? 0),
    };
  }

  #build(rules: FastPathRules, counters: number): Uint8Array<ArrayBuffer> {
    const out = new EbpfAssembler();
    out.aluRegister(ALU.MOV, 6, 1);
    const { mark, peer, cable } = this.#port;
    if (mark !== undefined) out.load(4, 1, 6, SKB_MARK).jump32(JUMP.EQ, 1, mark, "decided");
    const { stop = false } = this.#port;
    const fragments = !stop && rules.prevent.length + rules.scan.length > 0;
    if (fragments) {
      this.#addFragments(out, rules.prevent.length, rules.scan.some(({ copy }) => copy === true));
    }
    rules.prevent.forEach((program, i) => {
      addClassic(out, program, `p${i}_`, `drop${i}`, `prevent${i + 1}`);
      out.label(`prevent${i + 1}`);
    });
    // Who may hold a frame decides where it goes; only then copies matter.
    const held = rules.scan.filter(({ copy }) => copy !== true);
    const copied = rules.scan.filter(({ copy }) => copy === true);
    [...held, ...copied].forEach(({ asked, within, scanner }, i) => {
      const scan = i < held.length ? "scan" : "copy";
      addClassic(out, asked, `a${i}_`, `within${i}_0`, `scan${i + 1}`);
      within.forEach((program, j) => {
        out.label(`within${i}_${j}`);
        const next = j + 1 < within.length ? `within${i}_${j + 1}` : `scan${i + 1}`;
        addClassic(out, program, `w${i}_${j}_`, `match${i}`, next);
      });
      if (within.length === 0) out.label(`within${i}_0`).goto(`scan${i + 1}`);
      out.label(`match${i}`);
      if (scanner === undefined || this.#port.flows === undefined || scanner >= MOST_SCANNERS) {
        out.goto(scan);
      } else {
        this.#port.flows.addLookup(out, scanner, {
          prefix: `f${i}_`,
          fromHost: this.#port.fromHost,
          scan,
          finished: `scan${i + 1}`,
        });
      }
      out.label(`scan${i + 1}`);
    });
    if (fragments) this.#addDecision(out, FORWARDED, "forward");
    out.label("forward");
    if (peer === "own") {
      this.#addCount(out, counters, FORWARDED);
      out.alu(ALU.MOV, 0, rules.last === true ? TCX_PASS : TCX_NEXT).exit();
    } else this.#redirect(out, counters, FORWARDED, peer);
    if (copied.length > 0) {
      out.label("copy");
      if (fragments) this.#addDecision(out, COPIED, "copying");
      out.label("copying");
      this.#addCount(out, counters, COPIED);
      out.aluRegister(ALU.MOV, 1, 6).alu(ALU.MOV, 2, this.#port.copies).alu(ALU.MOV, 3, 0);
      out.call(HELPER.CLONE_REDIRECT).goto("forward");
    }
    out.label("scan");
    if (fragments) this.#addDecision(out, SCANNED, "cable");
    out.label("cable");
    if (stop) {
      this.#addCount(out, counters, SCANNED);
      out.alu(ALU.MOV, 0, TC_ACT_SHOT).exit();
    } else this.#redirect(out, counters, SCANNED, cable);
    if (mark !== undefined) {
      out.label("decided").alu(ALU.MOV, 1, 0).store(4, 6, SKB_MARK, 1);
      out.alu(ALU.MOV, 0, rules.last === true ? TCX_PASS : TCX_NEXT).exit();
    }
    rules.prevent.forEach((_, i) => {
      out.label(`drop${i}`);
      this.#addDecision(out, PREVENTED + i, `dropped${i}`);
      out.label(`dropped${i}`);
      this.#addCount(out, counters, PREVENTED + i);
      out.alu(ALU.MOV, 0, TC_ACT_SHOT).exit();
    });
    return out.bytes();
  }

  /**
   * Later fragments have no ports: what was decided about the first one holds for all. When one comes before the first, the
   * whole datagram goes to user space, where it waits. So does all of IPv6 that has extension headers.
   */
  #addFragments(out: EbpfAssembler, rules: number, copies: boolean): void {
    out.storeConstant(8, 10, FRAGMENT_FIRST, 0);
    // Almost no frame is one: a look at the packet itself, where it is in one piece.
    out.load(4, 1, 6, SKB_DATA).load(4, 2, 6, SKB_DATA_END);
    out.aluRegister(ALU.MOV, 3, 1).alu(ALU.ADD, 3, 34);
    out.jumpRegister(JUMP.GT, 3, 2, "fragmented");
    out.load(2, 3, 1, 12).jump(JUMP.EQ, 3, swapped(0x86dd), "extended");
    for (const type of [0x8100, 0x88a8]) out.jump(JUMP.EQ, 3, swapped(type), "fragmented");
    out.jump(JUMP.NE, 3, swapped(0x0800), "whole");
    out.load(2, 3, 1, 20).alu(ALU.AND, 3, swapped(0x3fff)).jump(JUMP.EQ, 3, 0, "whole");
    out.goto("fragmented");
    out.label("extended").load(1, 3, 1, 20);
    // No filter looks through a chain of headers to find ports: user space does.
    for (const header of [0, 43, 44, 51, 60]) out.jump(JUMP.EQ, 3, header, "cable");
    out.goto("whole");
    out.label("fragmented");
    const { fromHost } = this.#port;
    addTuple(out, {
      prefix: "g_",
      fromInside: fromHost,
      tag: false,
      other: "whole",
      later: "later",
    });
    out.load(8, 1, 10, FRAGMENT_FIRST).jump(JUMP.EQ, 1, 0, "whole");
    // A later one may have come before this one, and waits.
    this.#findFragment(out, "whole");
    out.load(8, 1, 0, 0).jump(JUMP.NE, 1, SCANNED, "whole");
    out.storeConstant(8, 10, FRAGMENT_FIRST, 2).goto("whole");
    out.label("later");
    this.#findFragment(out, "early");
    out.load(8, 1, 0, 0).jump(JUMP.EQ, 1, FORWARDED, "forward");
    if (copies) out.jump(JUMP.EQ, 1, COPIED, "copying");
    for (let i = 0; i < rules; i++) out.jump(JUMP.EQ, 1, PREVENTED + i, `dropped${i}`);
    out.goto("cable");
    out.label("early").storeConstant(8, 10, DECISION, SCANNED);
    this.#storeFragment(out);
    out.goto("cable");
    out.label("whole");
  }

  #findFragment(out: EbpfAssembler, absent: string): void {
    out.loadMap(1, this.#fragments).aluRegister(ALU.MOV, 2, 10).alu(ALU.ADD, 2, FRAGMENT_KEY);
    out.call(HELPER.MAP_LOOKUP).jump(JUMP.EQ, 0, 0, absent);
  }

  #storeFragment(out: EbpfAssembler): void {
    out.loadMap(1, this.#fragments).aluRegister(ALU.MOV, 2, 10).alu(ALU.ADD, 2, FRAGMENT_KEY);
    out.aluRegister(ALU.MOV, 3, 10).alu(ALU.ADD, 3, DECISION).alu(ALU.MOV, 4, 0);
    out.call(HELPER.MAP_UPDATE);
  }

  /** Remembers what became of a first fragment; on at `next`, which must follow, unless others of it wait in user space. */
  #addDecision(out: EbpfAssembler, decision: number, next: string): void {
    out.load(8, 1, 10, FRAGMENT_FIRST).jump(JUMP.EQ, 1, 0, next);
    if (decision === FORWARDED || decision === COPIED) out.jump(JUMP.EQ, 1, 2, "scan");
    out.storeConstant(8, 10, DECISION, decision);
    this.#storeFragment(out);
  }

  #redirect(out: EbpfAssembler, counters: number, counter: number, index: number): void {
    this.#addCount(out, counters, counter);
    out.alu(ALU.MOV, 1, index).alu(ALU.MOV, 2, 0).call(HELPER.REDIRECT).exit();
  }

  #addCount(out: EbpfAssembler, counters: number, counter: number): void {
    out.storeConstant(4, 10, KEY, counter);
    out.loadMap(1, counters).aluRegister(ALU.MOV, 2, 10).alu(ALU.ADD, 2, KEY);
    out.call(HELPER.MAP_LOOKUP).jump(JUMP.EQ, 0, 0, `counted${counter}`);
    out.alu(ALU.MOV, 1, 1).atomicAdd(0, 0, 1);
    out.load(4, 1, 6, SKB_LEN).atomicAdd(0, 8, 1);
    out.label(`counted${counter}`);
  }
}

/**
 * Marks every frame that an interface receives and has it received by another interface instead.
 *
 * @param from index of the one, `to` of the other.
 * @returns descriptors; it is over when they are closed.
 */
export function injectInto(from: number, to: number, mark: number): number[] {
  const out = new EbpfAssembler();
  out.alu(ALU.MOV, 2, mark).store(4, 1, SKB_MARK, 2);
  out.alu(ALU.MOV, 1, to).alu(ALU.MOV, 2, BPF_F_INGRESS).call(HELPER.REDIRECT).exit();
  const program = loadClassifier(out.bytes());
  try {
    return [linkIngress(program, from), program];
  } catch (error) {
    libc.close(program);
    throw error;
  }
}

/** Of bpf_redirect: the frame is received there, not sent. */
const BPF_F_INGRESS = 1;

function countersFor(rules: FastPathRules): number {
  return createMap(MAP_TYPE.ARRAY, 4, 16, PREVENTED + rules.prevent.length);
}
