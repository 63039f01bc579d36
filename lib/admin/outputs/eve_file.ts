/**
 * Alerts as EVE JSON, a line each, in a file that is turned over when it is large. After a crash it goes on after the
 * last whole line, so that each alert is in it once.
 *
 * @module
 */
import { removeIfThere } from "../../sys/files.ts";
import type { AlertStore, StoredAlert } from "../store.ts";
import { type AlertOutput, eveEvent, type OutputStatus } from "./output.ts";

/** How the file is kept. */
export interface EveOptions {
  readonly file: string;
  /** Octets after which it is turned over. */
  readonly rotate: number;
  /** Older files that stay, as FILE.1, FILE.2 and so on. */
  readonly keep: number;
}

/** Octets at the end of the file that are searched for its last line. */
const TAIL = 4 * 1024 * 1024;
/** Alerts taken from the store at once, after a crash. */
const PAGE = 1000;

/** The file. */
export class EveFile implements AlertOutput {
  readonly #options: EveOptions;
  readonly #encoder = new TextEncoder();
  #file: Deno.FsFile;
  #size: number;
  #last: number;
  #sent = 0;
  #dropped = 0;
  #failed: string | undefined;

  private constructor(options: EveOptions) {
    this.#options = options;
    this.#last = lastNumber(options.file) ?? lastNumber(`${options.file}.1`) ?? 0;
    this.#file = openFile(options.file);
    this.#size = this.#file.statSync().size;
  }

  /** Opens the file and adds what it lacks. A file that is new begins with what comes now. */
  static async open(options: EveOptions, store: AlertStore): Promise<EveFile> {
    const eve = new EveFile(options);
    const [newest] = await store.list({ limit: 1 });
    if (eve.#last === 0 && eve.#size === 0) eve.#last = newest?.id ?? 0;
    for (;;) {
      const more = await store.list({ after: eve.#last, limit: PAGE, oldest: true });
      if (more.length === 0) return eve;
      eve.alerts(more);
      if (eve.#failed !== undefined) return eve;
    }
  }

  /** As {@link AlertOutput.alerts}. */
  alerts(alerts: readonly StoredAlert[]): void {
    const fresh = alerts.filter(({ id }) => id > this.#last);
    if (fresh.length === 0) return;
    const data = this.#encoder.encode(
      fresh.map((a) => JSON.stringify(eveEvent(a)) + "\n").join(""),
    );
    try {
      for (let at = 0; at < data.length;) at += this.#file.writeSync(data.subarray(at));
      this.#size += data.length;
      this.#last = fresh.at(-1)?.id ?? this.#last;
      this.#sent += fresh.length;
      this.#failed = undefined;
      if (this.#size >= this.#options.rotate) this.#turnOver();
    } catch (error) {
      this.#dropped += fresh.length;
      this.#failed = error instanceof Error ? error.message : String(error);
    }
  }

  /** As {@link AlertOutput.status}. */
  status(): OutputStatus {
    return { name: "eve", sent: this.#sent, dropped: this.#dropped, failed: this.#failed };
  }

  /** As {@link AlertOutput.close}. */
  close(): Promise<void> {
    this.#file.close();
    return Promise.resolve();
  }

  #turnOver(): void {
    const { file, keep } = this.#options;
    removeIfThere(`${file}.${keep}`);
    for (let n = keep - 1; n >= 0; n--) {
      try {
        Deno.renameSync(n === 0 ? file : `${file}.${n}`, `${file}.${n + 1}`);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    const next = openFile(file);
    this.#file.close();
    this.#file = next;
    this.#size = 0;
  }
}

function openFile(path: string): Deno.FsFile {
  return Deno.openSync(path, { write: true, create: true, append: true, mode: 0o640 });
}

/** The number of the last whole line's alert; half a line after it is taken away. */
function lastNumber(path: string): number | undefined {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path, { read: true, write: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  try {
    const { size } = file.statSync();
    const tail = new Uint8Array(Math.min(TAIL, size));
    file.seekSync(size - tail.length, Deno.SeekMode.Start);
    for (let at = 0; at < tail.length;) {
      const n = file.readSync(tail.subarray(at));
      if (n === null) break;
      at += n;
    }
    const end = tail.lastIndexOf(10);
    if (end + 1 < tail.length) file.truncateSync(size - tail.length + end + 1);
    if (end < 0) return undefined;
    const line = new TextDecoder().decode(tail.subarray(tail.lastIndexOf(10, end - 1) + 1, end));
    const { diaper } = JSON.parse(line) as { diaper?: { id?: unknown } };
    return typeof diaper?.id === "number" ? diaper.id : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined; // somebody else's line
    throw error;
  } finally {
    file.close();
  }
}
