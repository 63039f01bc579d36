/**
 * eBPF instructions, put together without a compiler, and the translation of checked classic programs into them
 * (Linux, Documentation/bpf/standardization/instruction-set.rst).
 *
 * @module
 */
import { type BpfInstruction, checkBpf } from "./bpf.ts";

/** Registers. R10 is the frame pointer. */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;

const CLASS = { LD: 0, LDX: 1, ST: 2, STX: 3, ALU: 4, JMP: 5, JMP32: 6, ALU64: 7 } as const;
const WIDTH = { 1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18 } as const;
/** Operations on a register. */
export const ALU = {
  ADD: 0x00,
  SUB: 0x10,
  MUL: 0x20,
  DIV: 0x30,
  OR: 0x40,
  AND: 0x50,
  LSH: 0x60,
  RSH: 0x70,
  NEG: 0x80,
  MOD: 0x90,
  XOR: 0xa0,
  MOV: 0xb0,
} as const;
/** Conditions, unsigned but SGE and SLT. */
export const JUMP = {
  ALWAYS: 0x00,
  EQ: 0x10,
  GT: 0x20,
  GE: 0x30,
  SET: 0x40,
  NE: 0x50,
  LT: 0xa0,
  LE: 0xb0,
  SLT: 0xc0,
} as const;
const CALL = 0x85;
const EXIT = 0x95;
/** src_reg of a 64-bit load: the constant is a map's descriptor. */
const MAP_FD = 1;

interface Instruction {
  readonly code: number;
  readonly destination: number;
  readonly source: number;
  readonly offset: number | string;
  readonly constant: number;
}

/** Writes a program; jumps go to labels. */
export class EbpfAssembler {
  readonly #instructions: (Instruction | undefined)[] = [];
  readonly #labels = new Map<string, number>();

  /** Instructions so far; a 64-bit load is two. */
  get length(): number {
    return this.#instructions.length;
  }

  /** Names the next instruction. */
  label(name: string): this {
    if (this.#labels.has(name)) throw new RangeError(`Cannot use the label ${name} twice`);
    this.#labels.set(name, this.#instructions.length);
    return this;
  }

  /** register = register op constant, on 64 bits. */
  alu(operation: number, destination: Register, constant: number): this {
    return this.#add(CLASS.ALU64 | operation, destination, 0, 0, constant);
  }

  /** register = register op register, on 64 bits. */
  aluRegister(operation: number, destination: Register, source: Register): this {
    return this.#add(CLASS.ALU64 | operation | 8, destination, source, 0, 0);
  }

  /** As {@link alu}, on the lower 32 bits; the upper ones become 0. */
  alu32(operation: number, destination: Register, constant: number): this {
    return this.#add(CLASS.ALU | operation, destination, 0, 0, constant);
  }

  /** As {@link aluRegister}, on the lower 32 bits. */
  alu32Register(operation: number, destination: Register, source: Register): this {
    return this.#add(CLASS.ALU | operation | 8, destination, source, 0, 0);
  }

  /** The lower 16, 32 or 64 bits from network order to the host's. */
  fromNetwork(register: Register, bits: 16 | 32 | 64): this {
    return this.#add(0xdc, register, 0, 0, bits);
  }

  /** register = *(width*)(source + offset). */
  load(width: 1 | 2 | 4 | 8, destination: Register, source: Register, offset: number): this {
    return this.#add(CLASS.LDX | WIDTH[width] | 0x60, destination, source, offset, 0);
  }

  /** *(width*)(destination + offset) = register. */
  store(width: 1 | 2 | 4 | 8, destination: Register, offset: number, source: Register): this {
    return this.#add(CLASS.STX | WIDTH[width] | 0x60, destination, source, offset, 0);
  }

  /** *(width*)(destination + offset) = constant. */
  storeConstant(
    width: 1 | 2 | 4 | 8,
    destination: Register,
    offset: number,
    constant: number,
  ): this {
    return this.#add(CLASS.ST | WIDTH[width] | 0x60, destination, 0, offset, constant);
  }

  /** *(u64*)(destination + offset) += register, in one step for all processors. */
  atomicAdd(destination: Register, offset: number, source: Register): this {
    return this.#add(CLASS.STX | WIDTH[8] | 0xc0, destination, source, offset, 0);
  }

  /** Goes to a label. */
  goto(label: string): this {
    return this.#add(CLASS.JMP, 0, 0, label, 0);
  }

  /** Goes to a label when the condition holds for a register and a constant, on 64 bits. */
  jump(condition: number, register: Register, constant: number, label: string): this {
    return this.#add(CLASS.JMP | condition, register, 0, label, constant);
  }

  /** As {@link jump}, with two registers. */
  jumpRegister(condition: number, register: Register, source: Register, label: string): this {
    return this.#add(CLASS.JMP | condition | 8, register, source, label, 0);
  }

  /** As {@link jump}, on the lower 32 bits. */
  jump32(condition: number, register: Register, constant: number, label: string): this {
    return this.#add(CLASS.JMP32 | condition, register, 0, label, constant);
  }

  /** As {@link jump32}, with two registers. */
  jump32Register(condition: number, register: Register, source: Register, label: string): this {
    return this.#add(CLASS.JMP32 | condition | 8, register, source, label, 0);
  }

  /** register = the map of a descriptor. */
  loadMap(destination: Register, fd: number): this {
    this.#add(0x18, destination, MAP_FD, 0, fd);
    this.#instructions.push(undefined);
    return this;
  }

  /** Calls a helper of the kernel (bpf-helpers(7)), by number. */
  call(helper: number): this {
    return this.#add(CALL, 0, 0, 0, helper);
  }

  /** Ends the program; R0 is its result. */
  exit(): this {
    return this.#add(EXIT, 0, 0, 0, 0);
  }

  /**
   * The program as the kernel takes it: without instructions that are never reached, which it refuses.
   *
   * @throws {RangeError} when a label is missing, or too far away.
   */
  bytes(): Uint8Array<ArrayBuffer> {
    const reached = this.#reached();
    // Where each instruction is in the result.
    const place: number[] = [];
    let length = 0;
    for (let i = 0; i < this.#instructions.length; i++) {
      place.push(length);
      if (reached[i] === true) length++;
    }
    const view = new DataView(new ArrayBuffer(length * 8));
    this.#instructions.forEach((instruction, i) => {
      // The upper half of a 64-bit load is 0.
      if (instruction === undefined || reached[i] !== true) return;
      const { code, destination, source, offset, constant } = instruction;
      const at = place[i] as number;
      const distance = typeof offset === "number"
        ? offset
        : (place[this.#target(offset)] as number) - at - 1;
      if (distance > 32_767 || distance < -32_768) {
        throw new RangeError(`${offset} is too far away`);
      }
      view.setUint8(at * 8, code);
      view.setUint8(at * 8 + 1, destination | (source << 4));
      view.setInt16(at * 8 + 2, distance, true);
      view.setInt32(at * 8 + 4, constant | 0, true);
    });
    return new Uint8Array(view.buffer);
  }

  #reached(): boolean[] {
    const reached: boolean[] = [];
    const todo = [0];
    for (let i = todo.pop(); i !== undefined; i = todo.pop()) {
      if (reached[i] === true || i >= this.#instructions.length) continue;
      reached[i] = true;
      const instruction = this.#instructions[i];
      if (instruction?.code === EXIT) continue;
      if (typeof instruction?.offset === "string") todo.push(this.#target(instruction.offset));
      if (instruction?.code !== CLASS.JMP) todo.push(i + 1);
    }
    return reached;
  }

  #target(label: string): number {
    const to = this.#labels.get(label);
    if (to === undefined) throw new RangeError(`Cannot find the label ${label}`);
    return to;
  }

  #add(
    code: number,
    destination: number,
    source: number,
    offset: number | string,
    constant: number,
  ): this {
    this.#instructions.push({ code, destination, source, offset, constant });
    return this;
  }
}

/** Helpers of the kernel that are called, by number. */
export const HELPER = {
  MAP_LOOKUP: 1,
  MAP_UPDATE: 2,
  MAP_DELETE: 3,
  KTIME: 5,
  CLONE_REDIRECT: 13,
  REDIRECT: 23,
  SKB_LOAD_BYTES: 26,
} as const;

/** Where a translated program keeps what it works with. */
const A: Register = 7;
const X: Register = 8;
const CONTEXT: Register = 6;
/** Below the frame pointer: 16 words of memory, and room for what is loaded. */
const MEMORY = -72;
const SCRATCH = -8;

/**
 * Adds a classic program: control goes on at label `yes` when it matches and at `no` when it does not, or reads beyond
 * the frame. R6 must hold the context (struct __sk_buff) and stays; R7 and R8 and 72 bytes of stack are used.
 *
 * @param prefix of labels, different for each program.
 * @throws {BpfError} when the program is not one that ends.
 */
export function addClassic(
  out: EbpfAssembler,
  program: readonly BpfInstruction[],
  prefix: string,
  yes: string,
  no: string,
): void {
  checkBpf(program);
  out.alu32(ALU.MOV, A, 0).alu32(ALU.MOV, X, 0);
  // The kernel's checker wants memory to be written before it is read.
  if (program.some(({ code }) => (code & 0xe7) === 0x60 || (code & 0xe7) === 0x61)) {
    for (let i = 0; i < 16; i += 2) out.storeConstant(8, 10, MEMORY + i * 4, 0);
  }
  program.forEach((instruction, i) => {
    out.label(`${prefix}${i}`);
    translate(out, instruction, (to) => `${prefix}${i + 1 + to}`, yes, no);
  });
}

function translate(
  out: EbpfAssembler,
  { code, jt, jf, k }: BpfInstruction,
  label: (to: number) => string,
  yes: string,
  no: string,
): void {
  const mode = code & 0xe0;
  const byX = (code & 8) !== 0;
  switch (code & 7) {
    case 0: // ld
      if (mode === 0x00) out.alu32(ALU.MOV, A, k);
      else if (mode === 0x60) out.load(4, A, 10, MEMORY + k * 4);
      else if (mode === 0x80) out.load(4, A, CONTEXT, 0); // skb->len
      else if (mode === 0x20 && (k | 0) < 0) ancillary(out, k);
      else loadFrame(out, A, mode === 0x40, k, code, no);
      return;
    case 1: // ldx
      if (mode === 0x00) out.alu32(ALU.MOV, X, k);
      else if (mode === 0x60) out.load(4, X, 10, MEMORY + k * 4);
      else if (mode === 0x80) out.load(4, X, CONTEXT, 0);
      else {
        loadFrame(out, X, false, k, 0x10, no);
        out.alu32(ALU.AND, X, 15).alu32(ALU.LSH, X, 2);
      }
      return;
    case 2:
      out.store(4, 10, MEMORY + k * 4, A);
      return;
    case 3:
      out.store(4, 10, MEMORY + k * 4, X);
      return;
    case 4: {
      const operation = code & 0xf0;
      if (byX && (operation === ALU.DIV || operation === ALU.MOD)) out.jump32(JUMP.EQ, X, 0, no);
      if (operation === ALU.NEG) out.alu32(ALU.NEG, A, 0);
      else if (byX) out.alu32Register(operation, A, X);
      else out.alu32(operation, A, k);
      return;
    }
    case 5: {
      const condition = code & 0xf0;
      if (condition === 0) {
        out.goto(label(k));
        return;
      }
      if (byX) out.jump32Register(condition, A, X, label(jt));
      else out.jump32(condition, A, k, label(jt));
      out.goto(label(jf));
      return;
    }
    case 6:
      if (code === 0x06) out.goto(k === 0 ? no : yes);
      else out.jump32(JUMP.EQ, A, 0, no).goto(yes);
      return;
    default:
      if (code === 0x07) out.alu32Register(ALU.MOV, X, A);
      else out.alu32Register(ALU.MOV, A, X);
  }
}

/** Copies bytes of the frame to the stack, whatever fragments they are in, and takes them from there. */
function loadFrame(
  out: EbpfAssembler,
  to: Register,
  indirect: boolean,
  k: number,
  code: number,
  no: string,
): void {
  const size = (code & 0x18) === 0x10 ? 1 : (code & 0x18) === 0x08 ? 2 : 4;
  out.aluRegister(ALU.MOV, 1, CONTEXT).alu32(ALU.MOV, 2, k);
  if (indirect) out.alu32Register(ALU.ADD, 2, X);
  out.aluRegister(ALU.MOV, 3, 10).alu(ALU.ADD, 3, SCRATCH).alu32(ALU.MOV, 4, size);
  out.call(HELPER.SKB_LOAD_BYTES).jump(JUMP.NE, 0, 0, no);
  out.load(size, to, 10, SCRATCH);
  if (size > 1) out.fromNetwork(to, size === 2 ? 16 : 32);
}

/** Offsets in struct __sk_buff. */
const SKB = { VLAN_PRESENT: 20, VLAN_TCI: 24, VLAN_PROTOCOL: 28 } as const;

function ancillary(out: EbpfAssembler, k: number): void {
  const offset = (k | 0) + 0x1000;
  if (offset === 44) out.load(4, A, CONTEXT, SKB.VLAN_TCI);
  else if (offset === 48) out.load(4, A, CONTEXT, SKB.VLAN_PRESENT);
  else out.load(4, A, CONTEXT, SKB.VLAN_PROTOCOL).fromNetwork(A, 16);
}
