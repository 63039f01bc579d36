/**
 * Helps ebpf_test.ts: runs translated filters in the kernel (BPF_PROG_TEST_RUN) over frames.
 *
 * @module
 */
import type { BpfInstruction } from "../../lib/net/bpf.ts";
import { addClassic, ALU, EbpfAssembler } from "../../lib/net/ebpf.ts";
import { loadClassifier } from "../../lib/sys/bpf.ts";
import { errno, libc, SystemError } from "../../lib/sys/libc.ts";

const SYS_BPF = 321n;
const PROG_TEST_RUN = 10n;

/** A program in the kernel that returns 1 for frames that match. */
export class KernelFilter {
  readonly #fd: number;

  constructor(program: readonly BpfInstruction[]) {
    const out = new EbpfAssembler();
    out.aluRegister(ALU.MOV, 6, 1);
    addClassic(out, program, "f", "yes", "no");
    out.label("yes").alu(ALU.MOV, 0, 1).exit();
    out.label("no").alu(ALU.MOV, 0, 0).exit();
    this.#fd = loadClassifier(out.bytes());
  }

  /** Runs it over a frame of at least 14 bytes: the kernel makes no packet of less. */
  matches(frame: Uint8Array<ArrayBuffer>): boolean {
    const attr = new DataView(new ArrayBuffer(128));
    attr.setUint32(0, this.#fd, true);
    attr.setUint32(8, frame.length, true);
    attr.setBigUint64(16, Deno.UnsafePointer.value(Deno.UnsafePointer.of(frame)), true);
    const pointer = Deno.UnsafePointer.value(Deno.UnsafePointer.of(new Uint8Array(attr.buffer)));
    if (libc.syscall(SYS_BPF, PROG_TEST_RUN, pointer, 128n, 0n, 0n, 0n) !== 0n) {
      throw new SystemError("run a program", errno());
    }
    return attr.getUint32(4, true) === 1;
  }

  close(): void {
    libc.close(this.#fd);
  }
}
