/**
 * A table of digests of known malicious files, MD5 or SHA-256 (CMU-CS-02-144, section 5.2).
 *
 * @module
 */
import { createMD5, createSHA256 } from "hash-wasm";
import type { Check, CheckResult } from "./checks.ts";
import type { Specimen } from "./specimens.ts";

// WebAssembly needs nothing of the system; Node's own cannot be loaded in a scanner's cage, which has no /proc.
const HASHES = { md5: await createMD5(), sha256: await createSHA256() } as const;

/** A digest of bytes, in hexadecimal. */
export function digest(kind: "md5" | "sha256", bytes: Uint8Array): string {
  return HASHES[kind].init().update(bytes).digest("hex");
}

/** The table. */
export class DigestTable implements Check {
  readonly name = "digests";
  #names: ReadonlyMap<string, string> = new Map();
  #md5 = false;
  #sha256 = false;

  /** Entries. */
  get size(): number {
    return this.#names.size;
  }

  /** Takes a table in place of the one before. @throws {Error} that names what is wrong. */
  load(entries: readonly unknown[]): void {
    const names = new Map(entries.map(entry));
    this.#names = names;
    const lengths = new Set([...names.keys()].map((key) => key.length));
    this.#md5 = lengths.has(32);
    this.#sha256 = lengths.has(64);
  }

  /** As {@link Check.run}. Answers at once. */
  run(specimens: readonly Specimen[], done: (result: CheckResult) => void): void {
    const findings = specimens.flatMap((specimen) => {
      const name = this.#find(specimen.bytes);
      return name === undefined ? [] : [{ specimen, name, by: this.name }];
    });
    done({ findings, failure: undefined });
  }

  #find(bytes: Uint8Array): string | undefined {
    return (this.#md5 ? this.#names.get(digest("md5", bytes)) : undefined) ??
      (this.#sha256 ? this.#names.get(digest("sha256", bytes)) : undefined);
  }
}

/** `DIGEST`, `DIGEST NAME`, or as in ClamAV's files `DIGEST:SIZE:NAME`. */
function entry(value: unknown): [string, string] {
  const found = typeof value === "string"
    ? /^([0-9a-f]{32}|[0-9a-f]{64})(?::(?:\d+|\*)(?::([^:]*))?(?::.*)?|\s+(.*))?$/i.exec(
      value.trim(),
    )
    : null;
  if (found === null) {
    throw new Error(
      `option digests: ${
        JSON.stringify(value)
      } is not an MD5 or SHA-256 digest with a name behind it`,
    );
  }
  const key = (found[1] as string).toLowerCase();
  return [key, found[2] ?? found[3] ?? key];
}
