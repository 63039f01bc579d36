/**
 * Names of accounts, through the C library so that LDAP and the like count as well (getpwuid_r(3)).
 *
 * @module
 */
const SYMBOLS = {
  getpwuid_r: { parameters: ["u32", "buffer", "buffer", "usize", "buffer"], result: "i32" },
  getpwnam_r: { parameters: ["buffer", "buffer", "buffer", "usize", "buffer"], result: "i32" },
  getgrnam_r: { parameters: ["buffer", "buffer", "buffer", "usize", "buffer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

const libc = Deno.dlopen("libc.so.6", SYMBOLS).symbols;
const CACHE_MS = 60_000;
const cache = new Map<number, { name: string | undefined; until: number }>();
const CACHE_SIZE = 10_000;

const entry = new DataView(new ArrayBuffer(64));
const strings = new Uint8Array(16_384);
const result = new BigUint64Array(1);

/** The account's name; `undefined` when the number has none on this host. Kept for a minute. */
export function userName(uid: number): string | undefined {
  const now = Date.now();
  const known = cache.get(uid);
  if (known !== undefined && known.until > now) return known.name;
  const failed = libc.getpwuid_r(uid, entry, strings, BigInt(strings.length), result) !== 0;
  const name = failed || result[0] === 0n ? undefined : cString(entry.getBigUint64(0, true));
  if (cache.size >= CACHE_SIZE) cache.clear();
  cache.set(uid, { name, until: now + CACHE_MS });
  return name;
}

/** The account's number; `undefined` when there is no such account. */
export function userId(name: string): number | undefined {
  const failed = libc.getpwnam_r(text(name), entry, strings, BigInt(strings.length), result) !== 0;
  return failed || result[0] === 0n ? undefined : entry.getUint32(16, true);
}

/** The group's number; `undefined` when there is no such group. */
export function groupId(name: string): number | undefined {
  const failed = libc.getgrnam_r(text(name), entry, strings, BigInt(strings.length), result) !== 0;
  return failed || result[0] === 0n ? undefined : entry.getUint32(16, true);
}

function text(name: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(name.replaceAll("\0", "") + "\0");
}

function cString(pointer: bigint): string {
  const p = Deno.UnsafePointer.create(pointer);
  return p === null ? "" : new Deno.UnsafePointerView(p).getCString();
}

/** The account's own group; `undefined` when there is no such account. */
export function userGroup(name: string): number | undefined {
  const failed = libc.getpwnam_r(text(name), entry, strings, BigInt(strings.length), result) !== 0;
  return failed || result[0] === 0n ? undefined : entry.getUint32(20, true);
}
