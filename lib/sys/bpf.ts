/**
 * eBPF programs, maps and links in the kernel (bpf(2)).
 *
 * @module
 */
import { errno, errorText, libc, SystemError } from "./libc.ts";

const SYS_BPF = 321n;
const COMMAND = {
  MAP_CREATE: 0,
  MAP_LOOKUP: 1,
  MAP_UPDATE: 2,
  MAP_DELETE: 3,
  PROG_LOAD: 5,
  LINK_CREATE: 28,
  LINK_UPDATE: 29,
} as const;
/** Size of union bpf_attr that is passed; the kernel takes any, with zeros at the end. */
const ATTR = 128;

/** Kinds of maps. */
export const MAP_TYPE = { HASH: 1, ARRAY: 2, PERCPU_ARRAY: 6, LRU_HASH: 9 } as const;
const PROG_TYPE_SCHED_CLS = 3;
/** Where a program is attached: before the traffic control of an interface, for what it receives or sends. */
const TCX = { ingress: 46, egress: 47 } as const;

/** The kernel's checker refused a program. `log` is what it said. */
export class ProgramRefused extends Error {
  override readonly name = "ProgramRefused";
  readonly log: string;
  constructor(code: number, log: string) {
    super(`the kernel refused a BPF program: ${errorText(code)}`);
    this.log = log;
  }
}

/** Makes a map. @returns its descriptor. */
export function createMap(
  type: number,
  keySize: number,
  valueSize: number,
  entries: number,
): number {
  const attr = new DataView(new ArrayBuffer(ATTR));
  [type, keySize, valueSize, entries].forEach((value, i) => attr.setUint32(i * 4, value, true));
  return call("create a map", COMMAND.MAP_CREATE, attr);
}

/** Reads an entry into `value`. @returns false when there is none. */
export function lookupMap(
  fd: number,
  key: Uint8Array<ArrayBuffer>,
  value: Uint8Array<ArrayBuffer>,
): boolean {
  return entry(COMMAND.MAP_LOOKUP, fd, key, value);
}

/** Writes an entry. @throws {SystemError} E2BIG when the map is full. */
export function updateMap(
  fd: number,
  key: Uint8Array<ArrayBuffer>,
  value: Uint8Array<ArrayBuffer>,
): void {
  if (!entry(COMMAND.MAP_UPDATE, fd, key, value)) throw new SystemError("update a map", 2);
}

/** Removes an entry. @returns false when there was none. */
export function deleteFromMap(fd: number, key: Uint8Array<ArrayBuffer>): boolean {
  return entry(COMMAND.MAP_DELETE, fd, key, undefined);
}

/**
 * Loads a program for traffic control.
 *
 * @returns its descriptor.
 * @throws {ProgramRefused} with the checker's words.
 */
export function loadClassifier(program: Uint8Array<ArrayBuffer>): number {
  const licence = new TextEncoder().encode("ISC\0");
  const attr = new DataView(new ArrayBuffer(ATTR));
  attr.setUint32(0, PROG_TYPE_SCHED_CLS, true);
  attr.setUint32(4, program.length / 8, true);
  attr.setBigUint64(8, address(program), true);
  attr.setBigUint64(16, address(licence), true);
  const fd = raw(COMMAND.PROG_LOAD, attr);
  if (fd >= 0) return fd;
  const code = errno();
  // Once more, with a log this time: it costs time and says why.
  const log = new Uint8Array(64 * 1024);
  attr.setUint32(24, 1, true);
  attr.setUint32(28, log.length, true);
  attr.setBigUint64(32, address(log), true);
  const again = raw(COMMAND.PROG_LOAD, attr);
  if (again >= 0) return again;
  throw new ProgramRefused(
    code,
    new TextDecoder().decode(log.subarray(0, Math.max(0, log.indexOf(0)))),
  );
}

/**
 * Has a program see every frame that an interface receives (or sends: `egress`), as long as the descriptor is open: when the process is gone,
 * however that came, so is the link.
 *
 * @param index of the interface.
 * @returns the link's descriptor.
 * @throws {SystemError} EINVAL in kernels before 6.6.
 */
export function linkIngress(
  program: number,
  index: number,
  hook: keyof typeof TCX = "ingress",
): number {
  const attr = new DataView(new ArrayBuffer(ATTR));
  attr.setUint32(0, program, true);
  attr.setUint32(4, index, true);
  attr.setUint32(8, TCX[hook], true);
  return call("attach a program", COMMAND.LINK_CREATE, attr);
}

/** Puts another program in the place of a link's, between one frame and the next. */
export function replaceLinked(link: number, program: number): void {
  const attr = new DataView(new ArrayBuffer(ATTR));
  attr.setUint32(0, link, true);
  attr.setUint32(4, program, true);
  call("replace a program", COMMAND.LINK_UPDATE, attr);
}

function entry(
  command: number,
  fd: number,
  key: Uint8Array<ArrayBuffer>,
  value: Uint8Array<ArrayBuffer> | undefined,
): boolean {
  const attr = new DataView(new ArrayBuffer(ATTR));
  attr.setUint32(0, fd, true);
  attr.setBigUint64(8, address(key), true);
  if (value !== undefined) attr.setBigUint64(16, address(value), true);
  if (raw(command, attr) === 0) return true;
  const code = errno();
  if (code === 2) return false;
  throw new SystemError("a map's entry", code);
}

function call(what: string, command: number, attr: DataView<ArrayBuffer>): number {
  const result = raw(command, attr);
  if (result < 0) throw new SystemError(what, errno());
  return result;
}

function raw(command: number, attr: DataView<ArrayBuffer>): number {
  const bytes = new Uint8Array(attr.buffer);
  return Number(libc.syscall(SYS_BPF, BigInt(command), address(bytes), BigInt(ATTR), 0n, 0n, 0n));
}

function address(bytes: Uint8Array<ArrayBuffer>): bigint {
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));
}
