/**
 * A bundle of scanners: code, rights, injections, prevent rules and a version, signed as a whole. Whoever takes one
 * checks the signature first, then what it asks for, then every file.
 *
 *     DIAPER BUNDLE 1\n | length of the manifest (32 bits) | manifest (JSON) | files | signature (64 octets, ed25519)
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { z } from "zod";
import { KEY_TYPE, utils } from "../sys/ssh.ts";
import { LARGEST_BUNDLE } from "./messages.ts";

const MAGIC = Buffer.from("DIAPER BUNDLE 1\n");
const SIGNATURE = 64;
const LARGEST_MANIFEST = 1024 * 1024;

const filters = z.array(z.string().max(4096)).max(64);
const scannerName = z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/, {
  error: "expected a name of small letters, digits, _ and -",
});

const scannerSchema = z.strictObject({
  name: scannerName,
  /** A file of the bundle: one module, which is run with the scanner's name; null: the one that came with diaper. */
  code: z.string().max(100).nullable(),
  read: filters.default([]),
  contain: filters.default([]),
  injections: z.array(z.strictObject({ name: scannerName, frame: z.base64().max(131_072) }))
    .max(1000).default([]),
  memory: z.int().min(16 * 1024 * 1024).optional(),
  cpu: z.int().min(1).max(100).optional(),
  alerts_per_minute: z.int().min(1).optional(),
  on_failure: z.enum(["open", "closed"]).optional(),
  options: z.record(z.string(), z.unknown()).default({}),
});

/** What a scanner in a bundle asks for. Bounds that are left out are the usual ones. */
export const bundleScanner: typeof scannerSchema = scannerSchema;

const manifestSchema = z.strictObject({
  version: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$/),
  created_at: z.iso.datetime(),
  /** Public key of the signer, as base64 of SSH's form. */
  signer: z.string().max(200),
  scanners: z.array(scannerSchema).max(64),
  prevent: filters,
  files: z.array(z.strictObject({
    name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/),
    size: z.int().min(0).max(LARGEST_BUNDLE),
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
  })).max(256),
}).refine((m) => new Set(m.scanners.map((s) => s.name)).size === m.scanners.length, {
  error: "two scanners have the same name",
}).refine((m) => new Set(m.files.map((f) => f.name)).size === m.files.length, {
  error: "two files have the same name",
});

/** What a bundle says about itself. */
export type BundleManifest = z.infer<typeof manifestSchema>;

/** A bundle whose signature and files were checked. */
export interface Bundle {
  readonly digest: string;
  readonly manifest: BundleManifest;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** The most that scanners of bundles may ask for. */
export interface BundleLimits {
  /** They may hold frames. */
  readonly contain: boolean;
  readonly injections: number;
  readonly memory: number;
  readonly cpu: number;
  readonly alerts_per_minute: number;
}

/** A bundle that is not taken, with the reason. */
export class BundleError extends Error {
  override readonly name = "BundleError";
  readonly next: string;
  constructor(message: string, next = "make it again and sign it by a key that is trusted") {
    super(message);
    this.next = next;
  }
}

/** A bundle's digest, which names it. */
export function bundleDigest(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/**
 * Makes a bundle.
 *
 * @param privateKey of the signer, as text.
 * @throws {BundleError} when it could not be taken by anybody.
 */
export function makeBundle(
  content: Omit<BundleManifest, "signer" | "files" | "created_at">,
  files: ReadonlyMap<string, Uint8Array>,
  privateKey: string,
): Uint8Array {
  const key = parsedKey(privateKey);
  const manifest = manifestSchema.safeParse({
    ...content,
    created_at: new Date().toISOString(),
    signer: key.getPublicSSH().toString("base64"),
    files: [...files].map(([name, data]) => ({
      name,
      size: data.length,
      sha256: createHash("sha256").update(data).digest("hex"),
    })),
  });
  if (!manifest.success) throw new BundleError(problem(manifest.error), "mend the bundle's file");
  const text = Buffer.from(JSON.stringify(manifest.data));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  const body = Buffer.concat([MAGIC, length, text, ...files.values()]);
  const signature = key.sign(body);
  if (signature instanceof Error) throw signature;
  const bundle = new Uint8Array(Buffer.concat([body, signature]));
  readBundle(bundle, new Set([manifest.data.signer])); // what could not be read must not be written
  return bundle;
}

/**
 * Reads a bundle.
 *
 * @param signers public keys that are trusted, as base64.
 * @throws {BundleError} when anything about it is wrong.
 */
export function readBundle(data: Uint8Array, signers: ReadonlySet<string>): Bundle {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
  const head = MAGIC.length + 4;
  if (bytes.length > LARGEST_BUNDLE) throw new BundleError("the bundle is too large");
  if (bytes.length < head + SIGNATURE || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new BundleError("this is no bundle");
  }
  const length = bytes.readUInt32BE(MAGIC.length);
  const body = bytes.subarray(0, bytes.length - SIGNATURE);
  if (length > LARGEST_MANIFEST || head + length > body.length) {
    throw new BundleError("the bundle is damaged");
  }
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8", head, head + length));
  } catch {
    throw new BundleError("the bundle is damaged");
  }
  // Of what is not proved yet, only who claims to have signed it is looked at.
  const signer = (value as { signer?: unknown } | null)?.signer;
  if (typeof signer !== "string" || !signers.has(signer)) {
    throw new BundleError("the bundle is signed by nobody who is trusted");
  }
  const key = parsedKey(`${KEY_TYPE} ${signer}`);
  if (key.verify(body, bytes.subarray(bytes.length - SIGNATURE)) !== true) {
    throw new BundleError("the bundle's signature is wrong");
  }
  const manifest = manifestSchema.safeParse(value);
  if (!manifest.success) throw new BundleError(problem(manifest.error));
  const files = new Map<string, Uint8Array>();
  let at = head + length;
  for (const { name, size, sha256 } of manifest.data.files) {
    const file = body.subarray(at, at + size);
    at += size;
    if (file.length !== size || createHash("sha256").update(file).digest("hex") !== sha256) {
      throw new BundleError(`file ${name} of the bundle is damaged`);
    }
    files.set(name, file);
  }
  if (at !== body.length) throw new BundleError("the bundle has more in it than it says");
  const absent = manifest.data.scanners.find((s) => s.code !== null && !files.has(s.code));
  if (absent !== undefined) throw new BundleError(`the code of scanner ${absent.name} is missing`);
  return { digest: bundleDigest(data), manifest: manifest.data, files };
}

/** What a bundle asks for beyond the limits; nothing when it keeps to them. */
export function beyondLimits(manifest: BundleManifest, limits: BundleLimits): string[] {
  return manifest.scanners.flatMap((s) => {
    const wrong = (what: string) => `scanner ${s.name} asks for ${what}`;
    const out: string[] = [];
    if (s.contain.length > 0 && !limits.contain) out.push(wrong("the right to contain"));
    if (s.injections.length > limits.injections) {
      out.push(wrong(`${s.injections.length} injections, ${limits.injections} are allowed`));
    }
    const bounds = [["memory", "bytes of memory"], ["cpu", "% of a processor"]] as const;
    for (const [name, unit] of bounds) {
      const asked = s[name];
      if (asked !== undefined && asked > limits[name]) {
        out.push(wrong(`${asked} ${unit}, ${limits[name]} are allowed`));
      }
    }
    if ((s.alerts_per_minute ?? 0) > limits.alerts_per_minute) {
      out.push(
        wrong(`${s.alerts_per_minute} alerts a minute, ${limits.alerts_per_minute} are allowed`),
      );
    }
    return out;
  });
}

/** What is different in `after`, a line each, as an administrator reads it. */
export function bundleDiff(before: BundleManifest | undefined, after: BundleManifest): string[] {
  const lines: string[] = [];
  if (before?.version !== after.version) {
    lines.push(`version: ${before?.version ?? "none"} -> ${after.version}`);
  }
  const old = new Map(before?.scanners.map((s) => [s.name, s]));
  const sums = (m: BundleManifest | undefined) => new Map(m?.files.map((f) => [f.name, f.sha256]));
  const [oldSums, newSums] = [sums(before), sums(after)];
  for (const scanner of after.scanners) {
    const known = old.get(scanner.name);
    old.delete(scanner.name);
    if (known === undefined) {
      lines.push(`+ scanner ${scanner.name}`);
    }
    for (const [key, value] of Object.entries(scanner)) {
      if (key === "name" || key === "code") continue;
      const was = known?.[key as keyof typeof known];
      const [a, b] = [JSON.stringify(was), JSON.stringify(value)];
      const empty = known === undefined && (b === "[]" || b === "{}");
      if (a !== b && !empty) lines.push(`  ${scanner.name}.${key}: ${a ?? "none"} -> ${b}`);
    }
    const [a, b] = [
      known === undefined || known.code === null
        ? "diaper's own"
        : oldSums.get(known.code)?.slice(0, 12),
      scanner.code === null ? "diaper's own" : newSums.get(scanner.code)?.slice(0, 12),
    ];
    if (known === undefined || a !== b) {
      lines.push(`  ${scanner.name}.code: ${known === undefined ? "none" : a} -> ${b}`);
    }
  }
  for (const name of old.keys()) lines.push(`- scanner ${name}`);
  const rules = new Set(before?.prevent);
  for (const rule of after.prevent) if (!rules.delete(rule)) lines.push(`+ prevent ${rule}`);
  for (const rule of rules) lines.push(`- prevent ${rule}`);
  return lines;
}

function parsedKey(text: string) {
  const parsed = utils.parseKey(text);
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  if (key === undefined || key instanceof Error || key.type !== KEY_TYPE) {
    throw new BundleError(`the signer's key is no ${KEY_TYPE} key`);
  }
  return key;
}

function problem(error: z.ZodError): string {
  const issue = error.issues[0];
  const where = issue?.path.join(".") ?? "";
  return `the bundle's manifest is wrong: ${where === "" ? "" : `${where}: `}${issue?.message}`;
}
