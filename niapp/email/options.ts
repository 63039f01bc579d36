/**
 * What an administrator can set for the e-mail scanner.
 *
 * @module
 */

import type { SpecimenLimits } from "./specimens.ts";

const MIB = 1024 * 1024;

/** The scanner's settings. */
export interface EmailOptions {
  /** Ports of servers, by protocol. */
  readonly smtp: readonly number[];
  readonly pop3: readonly number[];
  readonly imap: readonly number[];
  /** Which checks are made; none: nothing is looked at, everything passes. */
  readonly checks: readonly ("digests" | "clamd")[];
  /** Digests of malicious files. */
  readonly digests: readonly unknown[];
  /** Milliseconds in which clamd has to answer. */
  readonly clamdTimeout: number;
  /** Bytes of the longest message that is looked at. */
  readonly maxMessage: number;
  /** What becomes of longer ones. */
  readonly oversize: "pass" | "block";
  /** What becomes of a message when a check fails, or parts of it cannot be looked at. */
  readonly onFailure: "pass" | "block";
  readonly sealed: "pass" | "block";
  /** Encryption: passed unread, its offers taken out, or connections that begin it killed. */
  readonly starttls: "pass" | "strip" | "kill";
  readonly chunking: "pass" | "strip";
  /** Bounds of what is opened of one message. */
  readonly limits: SpecimenLimits;
  /** Every message is told of. */
  readonly log: boolean;
}

const NUMBERS = {
  clamd_timeout: ["clamdTimeout", 30_000, 1, 600_000],
  max_message: ["maxMessage", 32 * MIB, 1024, 512 * MIB],
  archive_files: ["archiveFiles", 1000, 1, 100_000],
  archive_bytes: ["archiveBytes", 64 * MIB, 1024, 512 * MIB],
} as const;

const WORDS = {
  oversize: ["oversize", ["block", "pass"]],
  on_check_failure: ["onFailure", ["block", "pass"]],
  sealed: ["sealed", ["pass", "block"]],
  starttls: ["starttls", ["pass", "strip", "kill"]],
  chunking: ["chunking", ["pass", "strip"]],
} as const;

const PORTS = {
  smtp_ports: ["smtp", [25, 587]],
  pop3_ports: ["pop3", [110]],
  imap_ports: ["imap", [143]],
} as const;

/**
 * Reads the settings.
 *
 * @throws {Error} that names what is wrong.
 */
export function readOptions(given: Readonly<Record<string, unknown>>): EmailOptions {
  const known = new Set([
    ...Object.keys(NUMBERS),
    ...Object.keys(WORDS),
    ...Object.keys(PORTS),
    ...["checks", "digests", "log"],
  ]);
  for (const name of Object.keys(given)) {
    if (!known.has(name)) throw new Error(`option ${name} is not known`);
  }
  const numbers = Object.entries(NUMBERS).map(([name, [field, usual, least, most]]) => {
    const value = given[name] ?? usual;
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
      throw new Error(`option ${name}: expected a whole number from ${least} to ${most}`);
    }
    return [field, value];
  });
  const words = Object.entries(WORDS).map(([name, [field, allowed]]) => {
    const value = given[name] ?? allowed[0];
    if (!(allowed as readonly unknown[]).includes(value)) {
      throw new Error(`option ${name}: expected ${allowed.join(" or ")}`);
    }
    return [field, value];
  });
  const ports = Object.entries(PORTS).map(([name, [field, usual]]) => {
    const value = given[name] ?? usual;
    const good = Array.isArray(value) &&
      value.every((port) => Number.isInteger(port) && port > 0 && port < 65536);
    if (!good) throw new Error(`option ${name}: expected a list of ports`);
    return [field, value];
  });
  const read = Object.fromEntries([...numbers, ...words, ...ports]) as
    & Omit<EmailOptions, "checks" | "digests" | "log" | "limits">
    & { readonly archiveFiles: number; readonly archiveBytes: number };
  const { archiveFiles, archiveBytes, ...rest } = read;
  return {
    ...rest,
    limits: { archiveFiles, archiveBytes, bytes: 4 * Math.max(archiveBytes, rest.maxMessage) },
    checks: checks(given["checks"] ?? ["digests"]),
    digests: list(given["digests"] ?? []),
    log: flag(given["log"] ?? false),
  };
}

function checks(value: unknown): ("digests" | "clamd")[] {
  const good = Array.isArray(value) &&
    value.every((name) => name === "digests" || name === "clamd");
  if (!good) throw new Error("option checks: expected a list of digests and clamd");
  return value as ("digests" | "clamd")[];
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error("option digests: expected a list of digests");
  return value;
}

function flag(value: unknown): boolean {
  if (typeof value !== "boolean") throw new Error("option log: expected true or false");
  return value;
}
