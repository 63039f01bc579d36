/**
 * Memory whose 16-bit words are added by vector instructions. The sum over a packet's bytes is half of what it costs to
 * look at it, and JavaScript adds one word after the other; WebAssembly adds eight, but only in memory of its own.
 *
 * @module
 */

/** Adds the little-endian words from `start` to `end`, a multiple of {@link BLOCK} apart and at most 64 KiB. */
export type WordSum = (start: number, end: number) => number;

/** Bytes that are added at once. */
export const BLOCK = 16;

const PAGE = 65_536;

/**
 * A module of one function, `s`, over the memory that it is given as `m`:
 *
 * ```
 * (func (param $at i32) (param $end i32) (result i32) (local $sums v128)
 *   (block (loop
 *     (br_if 1 (i32.gt_u (i32.add (local.get $at) (i32.const 16)) (local.get $end)))
 *     (local.set $sums (i32x4.add (local.get $sums)
 *       (i32x4.extadd_pairwise_i16x8_u (v128.load align=1 (local.get $at)))))
 *     (local.set $at (i32.add (local.get $at) (i32.const 16)))
 *     (br 0)))
 *   (the four lanes of $sums, added))
 * ```
 */
const MODULE = Uint8Array.fromHex(
  [
    "0061736d01000000", // magic, version
    "0107" + "0160027f7f017f", // types: (i32 i32) -> i32
    "0208" + "01016d016d020001", // imports: the memory
    "0302" + "0100", // functions
    "0705" + "0101730000", // exports
    "0a45" + "0143" + "01017b", // code of 67 bytes, with a local of 128 bits
    "02400340" + "200041106a20014b0d01", // block, loop: is there a block of bytes left?
    "20022000fd000000fd7ffdae012102", // add it
    "200041106a2100" + "0c00" + "0b0b", // the next one
    "2002fd1b00" + "2002fd1b016a" + "2002fd1b026a" + "2002fd1b036a" + "0b",
  ].join(""),
);

let compiled: WebAssembly.Module | undefined;
const known = new WeakMap<ArrayBufferLike, WordSum>();
let lastBuffer: ArrayBufferLike | undefined;
let lastSum: WordSum | undefined;

/** Makes memory of zeros. There should be little of it: it takes much of a process's addresses. */
export function summedMemory(size: number): Uint8Array<ArrayBuffer> {
  const pages = Math.ceil(size / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  compiled ??= new WebAssembly.Module(MODULE);
  const { exports } = new WebAssembly.Instance(compiled, { m: { m: memory } });
  // It is not shared between threads, and never grows.
  const buffer = memory.buffer as ArrayBuffer;
  known.set(buffer, exports["s"] as WordSum);
  return new Uint8Array(buffer, 0, size);
}

/** What adds the words of this memory; undefined: it is any memory. */
export function wordSumOf(buffer: ArrayBufferLike): WordSum | undefined {
  // Mostly the same one again.
  if (lastBuffer !== buffer) {
    lastBuffer = buffer;
    lastSum = known.get(buffer);
  }
  return lastSum;
}
