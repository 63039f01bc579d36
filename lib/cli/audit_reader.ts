/**
 * The audit trail as it stands in its files, and as it goes on: the present file and the one that was rotated
 * before it. A reader survives rotation, by renaming as well as by emptying.
 *
 * @module
 */
import type { TrailEvent } from "./event_line.ts";
import { linesBackward, LineScanner, type ScannedLine } from "./line_scanner.ts";

/** Which events are wanted. */
export interface TrailQuery {
  /** No earlier than this, milliseconds since the epoch. */
  readonly since?: number;
  /** The newest of those that match. */
  readonly last?: number;
  readonly matches: (event: TrailEvent) => boolean;
}

/** Clocks are set back by so much at most when they are disciplined; beyond it, order in time is order in the file. */
const CLOCK_SLACK_MS = 60_000;

/** Reads the trail in one directory. */
export class AuditReader implements Disposable {
  readonly #path: string;
  readonly #query: TrailQuery;
  /** The rotated file first: a daemon may write to it until it has noticed. */
  #open: { readonly file: Deno.FsFile; readonly scanner: LineScanner; readonly inode: string }[] =
    [];
  #skipped = 0;

  /**
   * Opens what there is, at the place where the query begins.
   *
   * @param path the present file; the rotated one has `.1` behind it.
   * @throws {Deno.errors.PermissionDenied} and the like, when it may not be read.
   */
  constructor(path: string, query: TrailQuery) {
    this.#path = path;
    this.#query = query;
    try {
      this.#openAt();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** A file of the trail is there. */
  get found(): boolean {
    return this.#open.length > 0;
  }

  /** Lines so far that are not events: torn by a crash, or written by somebody else. */
  get skipped(): number {
    return this.#skipped;
  }

  /** The events that match and have come since the last call. */
  *events(): Generator<TrailEvent> {
    do {
      for (const { scanner } of this.#open) {
        for (const line of scanner.lines()) yield* this.#wanted(line);
      }
    } while (this.#takeNewFile());
  }

  /** Counts a last line without its end as torn. To be called when no more is waited for. */
  finish(): void {
    for (const { scanner } of this.#open) if (scanner.unfinished) this.#skipped++;
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    for (const { file } of this.#open) file.close();
    this.#open = [];
  }

  *#wanted(line: ScannedLine): Generator<TrailEvent> {
    const { events, bad } = parseLine(line.text);
    if (bad) this.#skipped++;
    for (const event of events) if (this.#isWanted(event)) yield event;
  }

  #isWanted(event: TrailEvent): boolean {
    const { since, matches } = this.#query;
    if (since !== undefined && !(Date.parse(event.timestamp) >= since)) return false;
    return matches(event);
  }

  #openAt(): void {
    const files = [`${this.#path}.1`, this.#path]
      .map((path) => openIfThere(path)).filter((file) => file !== undefined);
    try {
      const starts = this.#starts(files);
      this.#open = files.map((file, i) => ({
        file,
        scanner: new LineScanner(file, starts[i] as number),
        inode: inodeOf(file.statSync()),
      }));
    } catch (error) {
      for (const file of files) file.close();
      throw error;
    }
  }

  /** Where to begin in each file, so that what comes from there on is the answer. */
  #starts(files: readonly Deno.FsFile[]): number[] {
    const { since, last } = this.#query;
    const starts = files.map(() => 0);
    if (since === undefined && last === undefined) return starts;
    let missing = last ?? Infinity;
    for (let i = files.length - 1; i >= 0; i--) {
      const file = files[i] as Deno.FsFile;
      for (const { text, offset } of linesBackward(file)) {
        const early = since !== undefined && timeOf(text) < since - CLOCK_SLACK_MS;
        if (last !== undefined) {
          missing -= parseLine(text).events.filter((event) => this.#isWanted(event)).length;
        }
        if (!early && missing > 0) continue;
        starts[i] = offset;
        for (let older = 0; older < i; older++) starts[older] = files[older]?.statSync().size ?? 0;
        return starts;
      }
    }
    return starts;
  }

  /** Goes on to the file that stands under the name now, if it is another one. */
  #takeNewFile(): boolean {
    const next = openIfThere(this.#path);
    if (next === undefined) return false;
    const inode = inodeOf(next.statSync());
    if (this.#open.some((f) => f.inode === inode)) {
      next.close();
      return false;
    }
    this.#open.push({ file: next, scanner: new LineScanner(next), inode });
    while (this.#open.length > 2) this.#open.shift()?.file.close();
    return true;
  }
}

function openIfThere(path: string): Deno.FsFile | undefined {
  try {
    return Deno.openSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function inodeOf(info: Deno.FileInfo): string {
  return `${info.dev}:${info.ino}`;
}

/** The time that a line of the daemon begins with, without reading it all; NaN for other lines. */
function timeOf(text: string | undefined): number {
  const time = /^\{"event_type":"[^"\\]*","timestamp":"([^"\\]*)"/.exec(text ?? "")?.[1];
  return time === undefined ? NaN : Date.parse(time);
}

const START = '{"event_type":';

/**
 * The event of a line. Behind a line that a crash has torn, the next one begins without a line end between
 * them: it is found by its start, which cannot stand inside a string of JSON.
 */
function parseLine(text: string | undefined): { events: TrailEvent[]; bad: boolean } {
  if (text === "") return { events: [], bad: false };
  if (text === undefined) return { events: [], bad: true };
  const whole = parseEvent(text);
  if (whole !== undefined) return { events: [whole], bad: false };
  const start = text.lastIndexOf(START);
  const rest = start > 0 ? parseEvent(text.slice(start)) : undefined;
  return { events: rest === undefined ? [] : [rest], bad: true };
}

function parseEvent(text: string): TrailEvent | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // counted by the caller
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { event_type, timestamp } = value as Record<string, unknown>;
  const known = typeof event_type === "string" && typeof timestamp === "string" &&
    !Number.isNaN(Date.parse(timestamp));
  return known ? value as TrailEvent : undefined;
}
