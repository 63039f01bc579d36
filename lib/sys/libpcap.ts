/**
 * libpcap by FFI: compiles pcap-filter(7) expressions to classic BPF. Loaded when it is first needed, so that
 * roles without filters run where it is not installed.
 *
 * @module
 */
import type { BpfInstruction } from "../net/bpf.ts";

const SYMBOLS = {
  pcap_open_dead: { parameters: ["i32", "i32"], result: "pointer" },
  pcap_create: { parameters: ["buffer", "buffer"], result: "pointer" },
  pcap_activate: { parameters: ["pointer"], result: "i32" },
  pcap_set_snaplen: { parameters: ["pointer", "i32"], result: "i32" },
  pcap_set_promisc: { parameters: ["pointer", "i32"], result: "i32" },
  pcap_set_immediate_mode: { parameters: ["pointer", "i32"], result: "i32" },
  pcap_set_buffer_size: { parameters: ["pointer", "i32"], result: "i32" },
  pcap_setnonblock: { parameters: ["pointer", "i32", "buffer"], result: "i32" },
  pcap_setdirection: { parameters: ["pointer", "i32"], result: "i32" },
  pcap_get_selectable_fd: { parameters: ["pointer"], result: "i32" },
  pcap_next_ex: { parameters: ["pointer", "buffer", "buffer"], result: "i32" },
  pcap_inject: { parameters: ["pointer", "pointer", "usize"], result: "i32" },
  pcap_stats: { parameters: ["pointer", "buffer"], result: "i32" },
  pcap_close: { parameters: ["pointer"], result: "void" },
  pcap_compile: { parameters: ["pointer", "buffer", "buffer", "i32", "u32"], result: "i32" },
  pcap_freecode: { parameters: ["buffer"], result: "void" },
  pcap_geterr: { parameters: ["pointer"], result: "pointer" },
  pcap_lib_version: { parameters: [], result: "pointer" },
} as const satisfies Deno.ForeignLibraryInterface;

/** struct bpf_program: a count, padding, and a pointer. */
const PROGRAM_SIZE = 16;
const NETMASK_UNKNOWN = 0xffffffff;

/** A filter that libpcap does not understand, or libpcap itself is not here. `next` says what to do. */
export class FilterError extends Error {
  override readonly name = "FilterError";
  readonly next: string;
  constructor(message: string, next: string, options?: ErrorOptions) {
    super(message, options);
    this.next = next;
  }
}

let library: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"] | undefined;

/** The library, loaded. @throws {FilterError} when it is not there. */
export function libpcap(): Deno.DynamicLibrary<typeof SYMBOLS>["symbols"] {
  if (library !== undefined) return library;
  const failures: unknown[] = [];
  for (const name of ["libpcap.so.0.8", "libpcap.so.1", "libpcap.so"]) {
    try {
      return library = Deno.dlopen(name, SYMBOLS).symbols;
    } catch (error) {
      failures.push(error);
    }
  }
  throw new FilterError("libpcap is not installed", "install it (Debian: apt install libpcap0.8)", {
    cause: failures[0],
  });
}

/** libpcap's name and version. */
export function libpcapVersion(): string {
  return cString(libpcap().pcap_lib_version());
}

/**
 * Compiles a filter expression.
 *
 * @param linkType of the frames it shall match (LINKTYPE_*; libpcap's DLT numbers are the same for those here
 *   but for raw IP, which is told apart).
 * @param device where frames come without their outer VLAN tag (a live interface): `vlan` then asks the kernel
 *   and not the bytes. Needs the right to open it.
 * @throws {FilterError} with libpcap's words when the expression is wrong.
 */
export function compileFilter(
  expression: string,
  linkType: number,
  device?: string,
): BpfInstruction[] {
  if (expression.includes("\0")) {
    throw new FilterError("a filter cannot contain NUL", "write an expression of pcap-filter(7)");
  }
  const pcap = libpcap();
  const handle = device === undefined ? pcap.pcap_open_dead(dlt(linkType), 262_144) : live(device);
  if (handle === null) throw new FilterError("libpcap has no memory", "end other programs");
  const program = new Uint8Array(PROGRAM_SIZE);
  try {
    const text = new TextEncoder().encode(`${expression}\0`);
    if (pcap.pcap_compile(handle, program, text, 1, NETMASK_UNKNOWN) !== 0) {
      throw new FilterError(
        `filter ${JSON.stringify(expression)}: ${cString(pcap.pcap_geterr(handle))}`,
        "see pcap-filter(7)",
      );
    }
    try {
      return instructions(program);
    } finally {
      pcap.pcap_freecode(program);
    }
  } finally {
    pcap.pcap_close(handle);
  }
}

function live(device: string): Deno.PointerValue {
  const pcap = libpcap();
  const errors = new Uint8Array(256);
  const handle = pcap.pcap_create(new TextEncoder().encode(`${device}\0`), errors);
  if (handle === null || pcap.pcap_activate(handle) < 0) {
    const why = handle === null
      ? new TextDecoder().decode(errors.subarray(0, errors.indexOf(0)))
      : cString(pcap.pcap_geterr(handle));
    if (handle !== null) pcap.pcap_close(handle);
    throw new FilterError(`${device}: ${why}`, "check the interface's name, and run as root");
  }
  return handle;
}

/** LINKTYPE_RAW is 101 in files; the number in the library is 12 on Linux. */
function dlt(linkType: number): number {
  return linkType === 101 ? 12 : linkType;
}

function instructions(program: Uint8Array<ArrayBuffer>): BpfInstruction[] {
  const header = new DataView(program.buffer);
  const count = header.getUint32(0, true);
  const at = Deno.UnsafePointer.create(header.getBigUint64(8, true));
  if (at === null) return [];
  const code = new DataView(Deno.UnsafePointerView.getArrayBuffer(at, count * 8));
  return Array.from({ length: count }, (_, i) => ({
    code: code.getUint16(i * 8, true),
    jt: code.getUint8(i * 8 + 2),
    jf: code.getUint8(i * 8 + 3),
    k: code.getUint32(i * 8 + 4, true),
  }));
}

/** Text that the library points to. */
export function cString(pointer: Deno.PointerValue): string {
  return pointer === null ? "" : new Deno.UnsafePointerView(pointer).getCString();
}
