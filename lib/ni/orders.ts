/**
 * Orders from the NI's main thread to its worker, which waits in the kernel and takes no messages: lines of JSON over a
 * socket pair.
 *
 * @module
 */
import { LineReader } from "../sys/line_reader.ts";
import type { InlineSettings } from "./inline.ts";

/** What the main thread wants. */
export type NiOrderLine =
  /** Tells the status, with the number that was asked with. */
  | { readonly order: "status"; readonly id: number }
  /** Puts other rules and scanners in force, and tells whether they are. */
  | { readonly order: "reload"; readonly id: number; readonly settings: InlineSettings }
  /** Contains a host, or lets it go, and tells whether that was done. */
  | { readonly order: "contain"; readonly id: number; readonly containment: ContainmentText }
  | { readonly order: "stop" };

/** An order about one host, as text. */
export interface ContainmentText {
  readonly verb: "slow" | "filter" | "block" | "allow";
  readonly host: string;
  readonly connections?: number | undefined;
  readonly bytes?: number | undefined;
  readonly destinations?: readonly string[] | undefined;
  /** Milliseconds since the epoch. */
  readonly until: number;
  readonly reason: string;
  readonly owner: string;
}

/** An order as a line. Maps and bytes, which JSON has not, are kept. */
export function orderLine(order: NiOrderLine): string {
  return JSON.stringify(order, (_key, value: unknown) => {
    if (value instanceof Map) return { "$map": [...value] };
    return value instanceof Uint8Array ? { "$bytes": value.toBase64() } : value;
  }) + "\n";
}

/** The order that a line says. */
export function readOrderLine(line: string): NiOrderLine {
  return JSON.parse(line, (_key, value: unknown) => {
    if (typeof value !== "object" || value === null) return value;
    if ("$map" in value && Array.isArray(value.$map)) {
      return new Map(value.$map as [string, unknown][]);
    }
    return "$bytes" in value && typeof value.$bytes === "string"
      ? Uint8Array.fromBase64(value.$bytes)
      : value;
  }) as NiOrderLine;
}

/** Reads orders, whatever pieces they come in. */
export class NiOrderReader {
  readonly #lines: LineReader;

  constructor(fd: number) {
    this.#lines = new LineReader(fd);
  }

  /** The orders that have come. */
  read(): NiOrderLine[] {
    // The main thread is gone, and with it whoever could order anything else.
    return this.#lines.read()?.map(readOrderLine) ?? [{ order: "stop" }];
  }
}
