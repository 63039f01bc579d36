/**
 * Classic BPF (McCanne and Jacobson 1993; Linux networking/filter): programs are checked, run by an interpreter,
 * or compiled to a JavaScript function. The same program runs in the kernel.
 *
 * @module
 */

/** One instruction (struct bpf_insn): operation, jumps when true and false, operand. */
export interface BpfInstruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** What a filter looks at besides the frame's bytes. */
export interface BpfFrame {
  /** Memory that holds the frame. */
  readonly data: Uint8Array;
  /** First byte of the frame. */
  readonly start: number;
  /** The byte after the last captured one. */
  readonly end: number;
  /** Bytes that the frame had on the wire. */
  readonly wireLength: number;
  /** Tag control information of a tag that is not in the bytes any more, or -1. */
  readonly vlan: number;
}

/**
 * Runs a program over a frame; 0: it does not match.
 *
 * @param vlan as {@link BpfFrame.vlan}.
 */
export type BpfFunction = (
  data: Uint8Array,
  start: number,
  end: number,
  wireLength: number,
  vlan: number,
) => number;

/** A program that the kernel would not take either. `index` is the instruction's. */
export class BpfError extends Error {
  override readonly name = "BpfError";
  readonly index: number;
  constructor(index: number, message: string) {
    super(`instruction ${index}: ${message}`);
    this.index = index;
  }
}

/** Longest program that Linux takes (BPF_MAXINSNS). */
export const MAX_INSTRUCTIONS = 4096;
const MEMORY_WORDS = 16;

const CLASS = { LD: 0, LDX: 1, ST: 2, STX: 3, ALU: 4, JMP: 5, RET: 6, MISC: 7 } as const;
const MODE = { IMM: 0x00, ABS: 0x20, IND: 0x40, MEM: 0x60, LEN: 0x80, MSH: 0xa0 } as const;
const SIZE = { W: 0x00, H: 0x08, B: 0x10 } as const;
const X = 0x08;

/** Offsets of what is not in the frame (SKF_AD_OFF and what is added to it, linux/filter.h). */
const ANCILLARY = { BASE: -0x1000, VLAN_TAG: 44, VLAN_TAG_PRESENT: 48, VLAN_TPID: 60 } as const;

const ALU_TEXT: Readonly<Record<number, string>> = {
  0x00: "(a + Y) >>> 0",
  0x10: "(a - Y) >>> 0",
  0x20: "Math.imul(a, Y) >>> 0",
  0x30: "(a / Y) >>> 0",
  0x40: "(a | Y) >>> 0",
  0x50: "(a & Y) >>> 0",
  0x60: "(Y > 31 ? 0 : a << Y) >>> 0",
  0x70: "(Y > 31 ? 0 : a >>> Y)",
  0x80: "(-a) >>> 0",
  0x90: "(a % Y) >>> 0",
  0xa0: "(a ^ Y) >>> 0",
};
const DIVIDES: ReadonlySet<number> = new Set([0x30, 0x90]);
const JUMP_TEXT: Readonly<Record<number, string>> = {
  0x10: "a === Y",
  0x20: "a > Y",
  0x30: "a >= Y",
  0x40: "(a & Y) !== 0",
};

/**
 * Makes sure that a program ends, and reads only what it may.
 *
 * @throws {BpfError} when it does not.
 */
export function checkBpf(program: readonly BpfInstruction[]): void {
  if (program.length === 0 || program.length > MAX_INSTRUCTIONS) {
    throw new BpfError(0, `a program has 1 to ${MAX_INSTRUCTIONS} instructions`);
  }
  for (const [i, instruction] of program.entries()) {
    const problem = problemOf(program, i, instruction);
    if (problem !== undefined) throw new BpfError(i, problem);
  }
  if (((program.at(-1) as BpfInstruction).code & 7) !== CLASS.RET) {
    throw new BpfError(program.length - 1, "the last one does not return");
  }
}

function problemOf(
  program: readonly BpfInstruction[],
  i: number,
  { code, jt, jf, k }: BpfInstruction,
): string | undefined {
  const unknown = `operation 0x${code.toString(16)} is not known`;
  if (code > 0xff) return unknown;
  const mode = code & 0xe0;
  const size = code & 0x18;
  switch (code & 7) {
    case CLASS.LD:
      if (mode === MODE.MEM) return size === SIZE.W ? memory(k) : unknown;
      if (mode === MODE.IMM || mode === MODE.LEN) return size === SIZE.W ? undefined : unknown;
      if (mode !== MODE.ABS && mode !== MODE.IND || size === 0x18) return unknown;
      return mode === MODE.ABS && (k | 0) < 0 && !isAncillary(k)
        ? "it reads what is not in the frame"
        : undefined;
    case CLASS.LDX:
      if (mode === MODE.MEM) return size === SIZE.W ? memory(k) : unknown;
      if (mode === MODE.MSH) return size === SIZE.B ? undefined : unknown;
      return (mode === MODE.IMM || mode === MODE.LEN) && size === SIZE.W ? undefined : unknown;
    case CLASS.ST:
    case CLASS.STX:
      return code > 7 ? unknown : memory(k);
    case CLASS.ALU: {
      if (ALU_TEXT[code & 0xf0] === undefined) return unknown;
      const constant = (code & X) === 0;
      if (constant && DIVIDES.has(code & 0xf0) && k === 0) return "it divides by 0";
      const shifts = (code & 0xf0) === 0x60 || (code & 0xf0) === 0x70;
      return constant && shifts && k > 31 ? "it shifts by more than 31 bits" : undefined;
    }
    case CLASS.JMP: {
      const always = (code & 0xf0) === 0;
      if (!always && JUMP_TEXT[code & 0xf0] === undefined) return unknown;
      const furthest = i + 1 + (always ? k : Math.max(jt, jf));
      return furthest < program.length ? undefined : "it jumps out of the program";
    }
    case CLASS.RET:
      return code === 0x06 || code === 0x16 ? undefined : unknown;
    default:
      return code === 0x07 || code === 0x87 ? undefined : unknown;
  }
}

function memory(k: number): string | undefined {
  return k < MEMORY_WORDS ? undefined : `there are ${MEMORY_WORDS} words of memory`;
}

function isAncillary(k: number): boolean {
  const offset = (k | 0) - ANCILLARY.BASE;
  return offset === ANCILLARY.VLAN_TAG || offset === ANCILLARY.VLAN_TAG_PRESENT ||
    offset === ANCILLARY.VLAN_TPID;
}

function ancillary(k: number): string {
  switch ((k | 0) - ANCILLARY.BASE) {
    case ANCILLARY.VLAN_TAG:
      return "(vlan < 0 ? 0 : vlan & 0xffff)";
    case ANCILLARY.VLAN_TAG_PRESENT:
      return "(vlan < 0 ? 0 : 1)";
    default:
      return "(vlan < 0 ? 0 : vlan > 0xffff ? vlan >>> 16 : 0x8100)";
  }
}

/**
 * Turns a program into a JavaScript function. Jumps go forward only, so that it becomes nested blocks, each
 * left by `break` where the program jumps; nothing is interpreted and nothing is allocated.
 *
 * @throws {BpfError} when the program is not one that ends.
 */
export function compileBpf(program: readonly BpfInstruction[]): BpfFunction {
  checkBpf(program);
  const targets = new Set<number>();
  program.forEach(({ code, jt, jf, k }, i) => {
    if ((code & 7) !== CLASS.JMP) return;
    if ((code & 0xf0) === 0) targets.add(i + 1 + k);
    else targets.add(i + 1 + jt).add(i + 1 + jf);
  });
  const blocks = [...targets].sort((a, b) => a - b);
  const lines: string[] = ['"use strict"; let a = 0, x = 0, o = 0;'];
  if (program.some(({ code }) => usesMemory(code))) {
    lines.push(`let ${Array.from({ length: MEMORY_WORDS }, (_, n) => `m${n} = 0`).join(", ")};`);
  }
  // The block that ends at the furthest target is the outermost.
  lines.push(blocks.toReversed().map((at) => `L${at}: {`).join(" "));
  program.forEach((instruction, i) => {
    if (targets.has(i)) lines.push("}");
    lines.push(text(instruction, i));
  });
  const build = Function;
  return build("data", "start", "end", "wireLength", "vlan", lines.join("\n")) as BpfFunction;
}

function usesMemory(code: number): boolean {
  const kind = code & 7;
  return kind === CLASS.ST || kind === CLASS.STX ||
    ((kind === CLASS.LD || kind === CLASS.LDX) && (code & 0xe0) === MODE.MEM);
}

function text({ code, jt, jf, k }: BpfInstruction, i: number): string {
  switch (code & 7) {
    case CLASS.LD:
      return load(code, k);
    case CLASS.LDX:
      if ((code & 0xe0) === MODE.MEM) return `x = m${k};`;
      if ((code & 0xe0) === MODE.LEN) return "x = wireLength;";
      if ((code & 0xe0) === MODE.IMM) return `x = ${k};`;
      return `if (${k} >= end - start) return 0; x = (data[start + ${k}] & 15) << 2;`;
    case CLASS.ST:
      return `m${k} = a;`;
    case CLASS.STX:
      return `m${k} = x;`;
    case CLASS.ALU: {
      const divides = DIVIDES.has(code & 0xf0) && (code & X) !== 0;
      const value = (ALU_TEXT[code & 0xf0] as string).replaceAll("Y", operand(code, k));
      return `${divides ? "if (x === 0) return 0; " : ""}a = ${value};`;
    }
    case CLASS.JMP: {
      if ((code & 0xf0) === 0) return `break L${i + 1 + k};`;
      const condition = (JUMP_TEXT[code & 0xf0] as string).replaceAll("Y", operand(code, k));
      return `if (${condition}) break L${i + 1 + jt}; else break L${i + 1 + jf};`;
    }
    case CLASS.RET:
      return code === 0x06 ? `return ${k};` : "return a;";
    default:
      return code === 0x07 ? "x = a;" : "a = x;";
  }
}

function operand(code: number, k: number): string {
  return (code & X) === 0 ? String(k) : "x";
}

function load(code: number, k: number): string {
  const mode = code & 0xe0;
  if (mode === MODE.IMM) return `a = ${k};`;
  if (mode === MODE.MEM) return `a = m${k};`;
  if (mode === MODE.LEN) return "a = wireLength;";
  if (mode === MODE.ABS && isAncillary(k)) return `a = ${ancillary(k)};`;
  const size = (code & 0x18) === SIZE.W ? 4 : (code & 0x18) === SIZE.H ? 2 : 1;
  const at = mode === MODE.ABS ? `start + ${k}` : `start + x + ${k}`;
  const bytes = ["data[o]", "data[o + 1]", "data[o + 2]", "data[o + 3]"];
  const value = size === 1
    ? "data[o]"
    : size === 2
    ? "(data[o] << 8) | data[o + 1]"
    : `((${bytes[0]} << 24) | (${bytes[1]} << 16) | (${bytes[2]} << 8) | ${bytes[3]}) >>> 0`;
  return `o = ${at}; if (o + ${size} > end) return 0; a = ${value};`;
}

/** Runs a program step by step: slow and plain, to hold {@link compileBpf} against. */
export function runBpf(program: readonly BpfInstruction[], frame: BpfFrame): number {
  const { data, start, end, wireLength, vlan } = frame;
  const m = new Uint32Array(MEMORY_WORDS);
  let a = 0;
  let x = 0;
  for (let i = 0; i < program.length; i++) {
    const { code, jt, jf, k } = program[i] as BpfInstruction;
    const y = (code & X) === 0 ? k : x;
    const mode = code & 0xe0;
    switch (code & 7) {
      case CLASS.LD: {
        if (mode === MODE.IMM) a = k;
        else if (mode === MODE.MEM) a = m[k] as number;
        else if (mode === MODE.LEN) a = wireLength;
        else if (mode === MODE.ABS && isAncillary(k)) {
          const which = (k | 0) - ANCILLARY.BASE;
          if (vlan < 0) a = 0;
          else if (which === ANCILLARY.VLAN_TAG) a = vlan & 0xffff;
          else if (which === ANCILLARY.VLAN_TAG_PRESENT) a = 1;
          else a = vlan > 0xffff ? vlan >>> 16 : 0x8100;
        } else {
          const size = (code & 0x18) === SIZE.W ? 4 : (code & 0x18) === SIZE.H ? 2 : 1;
          const at = start + k + (mode === MODE.IND ? x : 0);
          if (at + size > end) return 0;
          a = 0;
          for (let n = 0; n < size; n++) a = a * 256 + (data[at + n] as number);
        }
        break;
      }
      case CLASS.LDX:
        if (mode === MODE.MEM) x = m[k] as number;
        else if (mode === MODE.LEN) x = wireLength;
        else if (mode === MODE.IMM) x = k;
        else if (start + k >= end) return 0;
        else x = ((data[start + k] as number) & 15) * 4;
        break;
      case CLASS.ST:
        m[k] = a;
        break;
      case CLASS.STX:
        m[k] = x;
        break;
      case CLASS.ALU: {
        if (DIVIDES.has(code & 0xf0) && y === 0) return 0;
        a = alu(code & 0xf0, a, y);
        break;
      }
      case CLASS.JMP: {
        if ((code & 0xf0) === 0) i += k;
        else i += jumps(code & 0xf0, a, y) ? jt : jf;
        break;
      }
      case CLASS.RET:
        return code === 0x06 ? k : a;
      default:
        if (code === 0x07) x = a;
        else a = x;
    }
  }
  return 0;
}

function alu(operation: number, a: number, y: number): number {
  const wide = BigInt(a);
  const other = BigInt(y);
  const results: Readonly<Record<number, () => bigint>> = {
    0x00: () => wide + other,
    0x10: () => wide - other,
    0x20: () => wide * other,
    0x30: () => wide / other,
    0x40: () => wide | other,
    0x50: () => wide & other,
    0x60: () => y > 31 ? 0n : wide << other,
    0x70: () => y > 31 ? 0n : wide >> other,
    0x80: () => -wide,
    0x90: () => wide % other,
    0xa0: () => wide ^ other,
  };
  return Number(BigInt.asUintN(32, (results[operation] as () => bigint)()));
}

function jumps(operation: number, a: number, y: number): boolean {
  if (operation === 0x10) return a === y;
  if (operation === 0x20) return a > y;
  if (operation === 0x30) return a >= y;
  return (BigInt(a) & BigInt(y)) !== 0n;
}
