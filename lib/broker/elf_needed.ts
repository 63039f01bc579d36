/**
 * Makes a program need a library: the loader ends where it cannot load what is needed, and goes on without
 * what is only preloaded (ld.so(8)).
 *
 * @module
 */

const PT = { LOAD: 1, DYNAMIC: 2, INTERP: 3, NOTE: 4 } as const;
const DT = { NULL: 0, NEEDED: 1, STRTAB: 5 } as const;
const READABLE = 4;
const PAGE = 4096;

/** Why a program cannot be changed. */
export class ElfError extends Error {
  override readonly name = "ElfError";
}

interface Segment {
  /** Where its header is in the file. */
  readonly header: number;
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly align: number;
}

/**
 * Makes a copy of a program that needs a library before all others.
 *
 * The name goes into a new segment at the end, whose header takes the place of a note's (which nothing
 * needs at run time); the entry takes a spare place of the dynamic section.
 *
 * @param library its absolute path.
 * @throws {ElfError} for what is no dynamically linked 64-bit program, or has no such places.
 */
export function withNeeded(program: Uint8Array, library: string): Uint8Array<ArrayBuffer> {
  const segments = segmentsOf(program);
  const find = (type: number) => segments.findLast((s) => s.type === type);
  const [dynamic, note] = [find(PT.DYNAMIC), find(PT.NOTE)];
  if (dynamic === undefined || find(PT.INTERP) === undefined) {
    throw new ElfError("is not a dynamically linked ELF program");
  }
  const loads = segments.filter((s) => s.type === PT.LOAD);
  if (note === undefined || loads.some((s) => s.header > note.header)) {
    throw new ElfError("has no note whose place a segment could take");
  }
  const name = new TextEncoder().encode(library + "\0");
  const offset = roundUp(program.length);
  const align = Math.max(PAGE, ...loads.map((s) => s.align));
  const end = Math.max(...loads.map((s) => s.address + s.memorySize));
  // Address and place in the file have to be alike within an alignment.
  const address = Math.ceil(end / align) * align + offset % align;
  const out = new Uint8Array(offset + name.length);
  out.set(program);
  out.set(name, offset);
  const view = new DataView(out.buffer);
  insertNeeded(view, dynamic, address);
  view.setUint32(note.header, PT.LOAD, true);
  view.setUint32(note.header + 4, READABLE, true);
  [offset, address, address, name.length, name.length, align].forEach((value, i) =>
    view.setBigUint64(note.header + 8 + 8 * i, BigInt(value), true)
  );
  return out;
}

function roundUp(length: number): number {
  return Math.ceil(length / PAGE) * PAGE;
}

/** Puts DT_NEEDED in front; all other entries move on by one, into a spare place at their end. */
function insertNeeded(view: DataView<ArrayBuffer>, table: Segment, name: number): void {
  const tagAt = (i: number) => Number(view.getBigUint64(table.offset + 16 * i, true));
  const places = Math.floor(table.fileSize / 16);
  let used = 0;
  let strings: number | undefined;
  for (; used < places && tagAt(used) !== DT.NULL; used++) {
    if (tagAt(used) === DT.STRTAB) {
      strings = Number(view.getBigUint64(table.offset + 16 * used + 8, true));
    }
  }
  // One place stays empty: it ends the table.
  if (used + 2 > places || tagAt(used + 1) !== DT.NULL || strings === undefined) {
    throw new ElfError("has no place for another needed library");
  }
  const bytes = new Uint8Array(view.buffer, table.offset, table.fileSize);
  bytes.copyWithin(16, 0, 16 * used);
  view.setBigUint64(table.offset, BigInt(DT.NEEDED), true);
  view.setBigUint64(table.offset + 8, BigInt(name - strings), true);
}

function segmentsOf(program: Uint8Array): Segment[] {
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const isElf = program.length >= 64 && view.getUint32(0) === 0x7f454c46 && program[4] === 2 &&
    program[5] === 1;
  if (!isElf) throw new ElfError("is not a dynamically linked ELF program");
  const number = (at: number) => Number(view.getBigUint64(at, true));
  const [table, size, count] = [number(32), view.getUint16(54, true), view.getUint16(56, true)];
  if (size !== 56 || table + size * count > program.length) {
    throw new ElfError("has a damaged program header");
  }
  const segments = Array.from({ length: count }, (_, i): Segment => {
    const header = table + size * i;
    return {
      header,
      type: view.getUint32(header, true),
      offset: number(header + 8),
      address: number(header + 16),
      fileSize: number(header + 32),
      memorySize: number(header + 40),
      align: number(header + 48),
    };
  });
  for (const { type, offset, fileSize } of segments) {
    if ((type === PT.LOAD || type === PT.DYNAMIC) && offset + fileSize > program.length) {
      throw new ElfError("is cut short");
    }
  }
  return segments;
}
