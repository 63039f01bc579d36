/**
 * The command line's end of the control socket: one request a connection (docs/protocols/control.md). What
 * the daemon says is checked like everything from outside.
 *
 * @module
 */
import type { Config } from "../controller/config.ts";
import { CliError, EXIT, type ExitCode } from "./exit.ts";

/** A request, of whatever daemon: each has operations of its own. */
export interface ControlRequest {
  readonly op: string;
  readonly [field: string]: unknown;
}

/** Longest line that a daemon sends, in octets. */
const LONGEST_LINE = 1024 * 1024;
/** Longest silence inside an answer, in milliseconds. A watch may be silent for ever. */
const SILENCE_MS = 30_000;
const NOT_UNDERSTOOD = "is the daemon of the same version? diaper version; then restart it";

/** Where a daemon is asked. */
export interface DaemonPlace extends Pick<Config, "run_dir" | "control_group"> {
  /** Name of its socket; `control.sock` without it. */
  readonly socket?: string;
}

/** A request that is under way. */
export interface ControlAnswer extends AsyncIterable<unknown>, AsyncDisposable {
}

/**
 * Sends a request. When this returns the daemon has it, although it may not have looked at it yet; it takes
 * requests in the order in which they are sent.
 *
 * @param silence longest wait for the next line, in milliseconds; 0: no limit (the default of `watch`).
 * @returns the data of the answer, one item for each line. Iterating and disposing end the connection.
 * @throws {CliError} when there is no daemon or it may not be asked; while iterating, when it does not do what
 * was asked, breaks off, or says what cannot be understood.
 */
export async function askDaemon(
  config: DaemonPlace,
  request: ControlRequest,
  silence: number = request.op === "watch" ? 0 : SILENCE_MS,
): Promise<ControlAnswer> {
  const path = `${config.run_dir}/${config.socket ?? "control.sock"}`;
  const connection = await connect(path, config.control_group);
  try {
    await send(connection, request);
  } catch (error) {
    connection.close();
    throw brokenOff(path, request, error);
  }
  return new Answer(connection, path, request, silence);
}

/**
 * Sends a request whose answer is one item.
 *
 * @throws {CliError} as {@link askDaemon}, and when it is not one.
 */
export async function askForOne(
  config: DaemonPlace,
  request: ControlRequest,
): Promise<unknown> {
  const items: unknown[] = [];
  for await (const item of await askDaemon(config, request)) {
    items.push(item);
    if (items.length > 1) break;
  }
  if (items.length === 1) return items[0];
  throw notUnderstood(
    `the answer to ${request.op} has ${items.length === 0 ? "no" : "too much"} data`,
  );
}

/**
 * An answer of the daemon that does not have the form that it should have.
 *
 * @param what says what is wrong, in words.
 */
export function notUnderstood(what: string): CliError {
  return new CliError(EXIT.FAILED, `cannot understand the daemon: ${what}`, NOT_UNDERSTOOD);
}

class Answer implements ControlAnswer {
  readonly #connection: Deno.UnixConn;
  readonly #path: string;
  readonly #request: ControlRequest;
  readonly #silence: number;
  #closed = false;

  constructor(
    connection: Deno.UnixConn,
    path: string,
    request: ControlRequest,
    silence: number,
  ) {
    this.#connection = connection;
    this.#path = path;
    this.#request = request;
    this.#silence = silence;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<unknown> {
    try {
      for await (const line of this.#lines()) {
        const reply = parseReply(line);
        if (reply === "end") return;
        yield reply.data;
      }
      throw brokenOff(this.#path, this.#request);
    } finally {
      this.#close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    return Promise.resolve();
  }

  async *#lines(): AsyncGenerator<string> {
    const decoder = new TextDecoder("utf-8", { fatal: true });
    const buffer = new Uint8Array(64 * 1024);
    let pieces: Uint8Array[] = [];
    let length = 0;
    for (;;) {
      const n = await this.#read(buffer);
      if (n === null) return;
      let start = 0;
      for (let end; (end = buffer.subarray(0, n).indexOf(10, start)) !== -1; start = end + 1) {
        pieces.push(buffer.subarray(start, end));
        let line: string;
        try {
          line = decoder.decode(join(pieces));
        } catch (error) {
          if (!(error instanceof TypeError)) throw error;
          throw notUnderstood("a line is not UTF-8");
        }
        pieces = [];
        length = 0;
        yield line;
      }
      length += n - start;
      if (length > LONGEST_LINE) {
        throw notUnderstood(`a line is longer than ${LONGEST_LINE} octets`);
      }
      pieces.push(buffer.slice(start, n));
    }
  }

  async #read(buffer: Uint8Array<ArrayBuffer>): Promise<number | null> {
    let late = false;
    const timer = this.#silence === 0 ? undefined : setTimeout(() => {
      late = true;
      this.#close();
    }, this.#silence);
    try {
      const n = await this.#connection.read(buffer);
      if (!late) return n;
    } catch (error) {
      if (!late) throw brokenOff(this.#path, this.#request, error);
    } finally {
      clearTimeout(timer);
    }
    throw new CliError(
      EXIT.UNREACHABLE,
      `the daemon at ${this.#path} has been silent for ${this.#silence / 1000} s`,
      "see its messages; if it does not recover, restart it: the perimeter stays closed meanwhile",
    );
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connection.close();
  }
}

async function connect(path: string, group: string): Promise<Deno.UnixConn> {
  try {
    return await Deno.connect({ transport: "unix", path });
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused ||
      error instanceof Deno.errors.NotADirectory
    ) {
      const what = error instanceof Deno.errors.ConnectionRefused
        ? "nobody listens at"
        : "there is no";
      throw new CliError(
        EXIT.UNREACHABLE,
        `diaper is not running: ${what} ${path}`,
        "sudo diaper up (or name its configuration: --config FILE)",
        { cause: error },
      );
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new CliError(
        EXIT.NOT_PERMITTED,
        `this account may not use ${path}`,
        `use sudo, or an account in the group ${group}`,
        { cause: error },
      );
    }
    const why = error instanceof Error ? error.message : String(error);
    throw new CliError(EXIT.UNREACHABLE, `cannot connect to ${path}: ${why}`, "diaper doctor", {
      cause: error,
    });
  }
}

async function send(connection: Deno.UnixConn, request: ControlRequest): Promise<void> {
  const data = new TextEncoder().encode(JSON.stringify(request) + "\n");
  for (let done = 0; done < data.length;) done += await connection.write(data.subarray(done));
}

function brokenOff(path: string, request: ControlRequest, cause?: unknown): CliError {
  return new CliError(
    EXIT.UNREACHABLE,
    request.op === "watch"
      ? `the daemon at ${path} ended the watch: it stopped, or this reader was too slow`
      : `the daemon at ${path} broke off its answer to ${request.op}`,
    "diaper status shows whether it runs",
    { cause },
  );
}

function parseReply(line: string): { readonly data: unknown } | "end" {
  let reply: unknown;
  try {
    reply = JSON.parse(line);
  } catch {
    throw notUnderstood(`not JSON: ${excerpt(line)}`);
  }
  if (typeof reply === "object" && reply !== null) {
    if ("data" in reply) return { data: reply.data };
    if ("end" in reply && reply.end === true) return "end";
    if ("error" in reply) throw failure(reply.error, line);
  }
  throw notUnderstood(`neither data, end nor error: ${excerpt(line)}`);
}

function failure(error: unknown, line: string): CliError {
  const codes: readonly unknown[] = [EXIT.FAILED, EXIT.USAGE, EXIT.INVALID, EXIT.NOT_PERMITTED];
  if (
    typeof error !== "object" || error === null || !("code" in error) ||
    !codes.includes(error.code) || !("message" in error) || typeof error.message !== "string" ||
    !("next" in error) || typeof error.next !== "string"
  ) return notUnderstood(`an error without code, message and next: ${excerpt(line)}`);
  return new CliError(error.code as ExitCode, error.message, error.next);
}

function excerpt(line: string): string {
  return line.length <= 80 ? line : `${line.slice(0, 80)}…`;
}

function join(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 1) return pieces[0] as Uint8Array;
  const whole = new Uint8Array(pieces.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
