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
  MAP_NEXT: 4,
  PROG_LOAD: 5,
  PROG_FD: 13,
  MAP_FD: 14,
  INFO: 15,
  LINK_CREATE: 28,
  LINK_UPDATE: 29,
} as const;
/** Size of union bpf_attr that is passed; the kernel takes any, with zeros at the end. */
const ATTR = 128;

/** Kinds of maps. */
export const MAP_TYPE = { HASH: 1, ARRAY: 2, PERCPU_ARRAY: 6, LRU_HASH: 9 } as const;
const PROG_TYPE_SCHED_CLS = 3;
/** A map takes memory only for the entries that it has. */
export const NO_PREALLOC = 1;
const PROG_NAME = 48;
const MAP_NAME = 28;
const NAME_SIZE = 16;
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
  options: { readonly flags?: number; readonly name?: string } = {},
): number {
  const attr = new DataView(new ArrayBuffer(ATTR));
  [type, keySize, valueSize, entries].forEach((value, i) => attr.setUint32(i * 4, value, true));
  attr.setUint32(16, options.flags ?? 0, true);
  setName(attr, MAP_NAME, options.name);
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

/** As {@link updateMap}; false when the map is full. */
export function tryUpdateMap(
  fd: number,
  key: Uint8Array<ArrayBuffer>,
  value: Uint8Array<ArrayBuffer>,
): boolean {
  try {
    updateMap(fd, key, value);
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === E2BIG) return false;
    throw error;
  }
}

/**
 * All keys of a map, one after the other; what is added or removed meanwhile may or may not be among them, and
 * removing the one that was given last is fine.
 */
export function* mapKeys(fd: number, size: number): Generator<Uint8Array<ArrayBuffer>> {
  const attr = new DataView(new ArrayBuffer(ATTR));
  attr.setUint32(0, fd, true);
  let key: Uint8Array<ArrayBuffer> | undefined;
  let next = new Uint8Array(size);
  for (;;) {
    attr.setBigUint64(8, key === undefined ? 0n : address(key), true);
    attr.setBigUint64(16, address(next), true);
    if (raw(COMMAND.MAP_NEXT, attr) < 0) {
      const code = errno();
      if (code === ENOENT) return;
      throw new SystemError("read a map's keys", code);
    }
    const given = next;
    key = given.slice();
    next = new Uint8Array(size);
    yield given;
  }
}

/** What is known of a map in the kernel. */
export interface MapInfo {
  /** A descriptor of it, to be closed. */
  readonly fd: number;
  readonly name: string;
  readonly entries: number;
}

/** The maps that a loaded program uses. @throws {SystemError} when it is gone. */
export function mapsOfProgram(id: number): MapInfo[] {
  const attr = new DataView(new ArrayBuffer(ATTR));
  attr.setUint32(0, id, true);
  const program = call("find a program", COMMAND.PROG_FD, attr);
  try {
    const ids = new Uint8Array(4 * MOST_MAPS);
    const request = new DataView(new ArrayBuffer(INFO_SIZE));
    request.setUint32(52, MOST_MAPS, true);
    request.setBigUint64(56, address(ids), true);
    const info = infoOf(program, request);
    const view = new DataView(ids.buffer);
    return Array.from({ length: info.getUint32(52, true) }, (_, i) => {
      const map = new DataView(new ArrayBuffer(ATTR));
      map.setUint32(0, view.getUint32(i * 4, true), true);
      const fd = call("find a map", COMMAND.MAP_FD, map);
      const facts = infoOf(fd, new DataView(new ArrayBuffer(INFO_SIZE)));
      return { fd, name: nameIn(facts, 24), entries: facts.getUint32(16, true) };
    });
  } finally {
    libc.close(program);
  }
}

const MOST_MAPS = 32;
const INFO_SIZE = 256;
const ENOENT = 2;
const E2BIG = 7;

/** Fills struct bpf_prog_info or bpf_map_info. */
function infoOf(fd: number, info: DataView<ArrayBuffer>): DataView<ArrayBuffer> {
  const attr = new DataView(new ArrayBuffer(ATTR));
  attr.setUint32(0, fd, true);
  attr.setUint32(4, info.byteLength, true);
  attr.setBigUint64(8, address(new Uint8Array(info.buffer)), true);
  call("look at a program", COMMAND.INFO, attr);
  return info;
}

function setName(attr: DataView, at: number, name: string | undefined): void {
  new TextEncoder().encodeInto(name ?? "", new Uint8Array(attr.buffer, at, NAME_SIZE - 1));
}

function nameIn(info: DataView<ArrayBuffer>, at: number): string {
  const bytes = new Uint8Array(info.buffer, at, NAME_SIZE);
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
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
export function loadClassifier(program: Uint8Array<ArrayBuffer>, name?: string): number {
  const licence = new TextEncoder().encode("ISC\0");
  const attr = new DataView(new ArrayBuffer(ATTR));
  attr.setUint32(0, PROG_TYPE_SCHED_CLS, true);
  attr.setUint32(4, program.length / 8, true);
  attr.setBigUint64(8, address(program), true);
  attr.setBigUint64(16, address(licence), true);
  setName(attr, PROG_NAME, name);
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
  if (key.length > SPACE || (value?.length ?? 0) > SPACE) {
    throw new RangeError(`Cannot use keys and values of more than ${SPACE} bytes`);
  }
  const { request, bytes, at } = scratch();
  bytes.set(key, ATTR);
  if (value !== undefined && command === COMMAND.MAP_UPDATE) bytes.set(value, ATTR + SPACE);
  request.setUint32(0, fd, true);
  // Where there is no value, its field must not be there either.
  const size = value === undefined ? KEY_SIZE : ENTRY_SIZE;
  if (libc.syscall(SYS_BPF, BigInt(command), at, size, 0n, 0n, 0n) === 0n) {
    if (value !== undefined && command === COMMAND.MAP_LOOKUP) {
      value.set(bytes.subarray(ATTR + SPACE, ATTR + SPACE + value.length));
    }
    return true;
  }
  const code = errno();
  if (code === 2) return false;
  throw new SystemError("a map's entry", code);
}

/** Bytes of the part of union bpf_attr that is about one entry: descriptor, key, value, flags. */
const ENTRY_SIZE = 32n;
const KEY_SIZE = 16n;
/** Bytes of a key and of a value at most. */
const SPACE = 64;

/** One request about an entry, with room for its key and value, used again and again: perimeters make many. */
interface Scratch {
  readonly request: DataView<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly at: bigint;
}

let prepared: Scratch | undefined;

function scratch(): Scratch {
  if (prepared !== undefined) return prepared;
  const bytes = new Uint8Array(ATTR + 2 * SPACE);
  const request = new DataView(bytes.buffer);
  const at = address(bytes);
  request.setBigUint64(8, at + BigInt(ATTR), true);
  request.setBigUint64(16, at + BigInt(ATTR + SPACE), true);
  prepared = { request, bytes, at };
  return prepared;
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
