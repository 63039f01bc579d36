/**
 * What verbs print: data on stdout, messages on stderr; tables for people, JSON for programs.
 *
 * @module
 */
import { styleText } from "node:util";

/** Colours and weights that the verbs use. */
export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

/** Writes text to stdout and waits until it is taken. */
export function print(text: string): void {
  writeAll(Deno.stdout, text);
}

/** Writes one line to stdout. */
export function printLine(text: string = ""): void {
  print(text + "\n");
}

/** Writes one line to stderr. */
export function printMessage(text: string): void {
  writeAll(Deno.stderr, text + "\n");
}

/**
 * Writes one JSON value as one line: the whole answer of a verb, or one item of a stream (JSON Lines).
 * Big integers become numbers where a double holds them exactly, else strings; dates are RFC 3339.
 */
export function printJson(value: unknown): void {
  printLine(
    JSON.stringify(value, (_key, item: unknown) => {
      if (typeof item !== "bigint") return item;
      return Number.isSafeInteger(Number(item)) ? Number(item) : item.toString();
    }),
  );
}

/** A column of a table. Cells are taken as they are; `right` is for numbers. */
export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
  readonly align?: "left" | "right";
}

/**
 * A table as text: a line of titles and a line for each row, columns two spaces apart, nothing after the
 * last cell of a line. Control characters in cells (names come from other people) are shown escaped.
 */
export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const lines = [
    columns.map((c) => c.title),
    ...rows.map((row) => columns.map((c) => visible(c.cell(row)))),
  ];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => (line[i] ?? "").length)));
  return lines.map((line, n) => {
    const text = line.map((cell, i) =>
      columns[i]?.align === "right" ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)
    ).join("  ").trimEnd();
    return (n === 0 ? style("bold", text) : text) + "\n";
  }).join("");
}

/** Text from elsewhere made safe for a terminal: control characters are written as `\x1b`. */
export function visible(text: string): string {
  return text.replace(
    /\p{C}/gu,
    (c) => {
      const code = c.codePointAt(0) ?? 0;
      return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
    },
  );
}

/**
 * Text in a style, when the stream is a terminal and NO_COLOR (no-color.org) is unset or empty; as it
 * is otherwise.
 */
export function style(
  kind: Style,
  text: string,
  stream: { isTerminal(): boolean } = Deno.stdout,
): string {
  if (!stream.isTerminal() || (Deno.env.get("NO_COLOR") ?? "") !== "") return text;
  return styleText(kind, text, { validateStream: false });
}

/** A time in milliseconds since the epoch as RFC 3339 in UTC; undefined gives `-`. */
export function timeText(milliseconds: number | undefined): string {
  return milliseconds === undefined ? "-" : new Date(milliseconds).toISOString();
}

/** A duration for people, of two units at most: `350 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 1 h`. */
export function durationText(milliseconds: number): string {
  if (milliseconds < 0) return "-" + durationText(-milliseconds);
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 59_950) return `${Math.round(milliseconds / 100) / 10} s`;
  const seconds = Math.round(milliseconds / 1000);
  const pair = (high: number, unit: string, low: number, lowUnit: string) =>
    low === 0 ? `${high} ${unit}` : `${high} ${unit} ${low} ${lowUnit}`;
  if (seconds < 3600) return pair(Math.floor(seconds / 60), "min", seconds % 60, "s");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1440) return pair(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.floor(minutes / 60);
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

/** A number of bytes for people: `512 B`, `1.5 KiB`, `100 MiB`. */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : Math.round(value * 10) / 10} ${units[unit]}`;
}

/** The part of Deno.stdout that writing needs. */
interface SyncWriter {
  writeSync(data: Uint8Array): number;
}

const encoder = new TextEncoder();
const pause = new Int32Array(new SharedArrayBuffer(4));

function writeAll(stream: SyncWriter, text: string): void {
  let data = encoder.encode(text);
  while (data.length > 0) {
    try {
      data = data.subarray(stream.writeSync(data));
    } catch (error) {
      // Another program that shares the terminal or pipe may have made it non-blocking.
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      Atomics.wait(pause, 0, 0, 1);
    }
  }
}
