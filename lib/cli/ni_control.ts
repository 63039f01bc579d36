/**
 * The control socket of an NI, for root alone: a request as a line of JSON, its answer as lines, as at the daemon's
 * (docs/protocols/control.md).
 *
 * @module
 */
import { ownDirectory } from "../controller/run_directory.ts";
import { removeIfThere } from "../sys/files.ts";
import { CliError, EXIT } from "./exit.ts";

/** What can be asked of an NI. */
export interface NiRequests {
  status(): Promise<unknown>;
  reload(): Promise<unknown>;
}

/** Longest request line in octets. */
const LONGEST_REQUEST = 4096;
/** Connections at the same time; the oldest makes room. */
const MOST = 32;

/** A listening control socket. */
export class NiControl {
  readonly #path: string;
  readonly #listener: Deno.UnixListener;
  readonly #requests: NiRequests;
  readonly #connections = new Set<Deno.UnixConn>();

  /**
   * @param name of the socket in the run directory, without `.sock`.
   * @throws {DirectoryError} when somebody else can write there.
   */
  constructor(directory: string, name: string, requests: NiRequests) {
    ownDirectory(directory, 0o755);
    this.#path = `${directory}/${name}.sock`;
    this.#requests = requests;
    // Under another name until nobody else may use it.
    const temporary = `${this.#path}.new`;
    removeIfThere(temporary);
    this.#listener = Deno.listen({ transport: "unix", path: temporary });
    Deno.chmodSync(temporary, 0o600);
    Deno.renameSync(temporary, this.#path);
    void this.#accept();
  }

  /** Ends all conversations and removes the socket. */
  close(): void {
    this.#listener.close();
    for (const connection of this.#connections) connection.close();
    this.#connections.clear();
    removeIfThere(this.#path);
  }

  async #accept(): Promise<void> {
    for await (const connection of this.#listener) {
      const [oldest] = this.#connections;
      if (this.#connections.size >= MOST && oldest !== undefined) this.#drop(oldest);
      this.#connections.add(connection);
      void this.#serve(connection).catch((error) => {
        // A client that goes away in the middle is its own matter.
        if (!isBrokenOff(error)) throw error;
      }).finally(() => this.#drop(connection));
    }
  }

  async #serve(connection: Deno.UnixConn): Promise<void> {
    const line = await readLine(connection);
    if (line === undefined) return;
    const answer = await this.#answer(line).then(
      (data) => `${JSON.stringify({ data })}\n{"end":true}\n`,
      (error) => `${JSON.stringify({ error: failure(error) })}\n`,
    );
    const bytes = new TextEncoder().encode(answer);
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
  }

  async #answer(line: string): Promise<unknown> {
    const operation = readOperation(line);
    if (operation === "status") return await this.#requests.status();
    if (operation === "reload") return await this.#requests.reload();
    throw new CliError(EXIT.USAGE, "an NI answers status and reload", "see diaper-ni(8)");
  }

  #drop(connection: Deno.UnixConn): void {
    if (this.#connections.delete(connection)) connection.close();
  }
}

function readOperation(line: string): unknown {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && "op" in value ? value.op : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function readLine(connection: Deno.UnixConn): Promise<string | undefined> {
  const bytes = new Uint8Array(LONGEST_REQUEST);
  for (let length = 0; length < bytes.length;) {
    const n = await connection.read(bytes.subarray(length));
    if (n === null) return undefined;
    length += n;
    const end = bytes.subarray(0, length).indexOf(0x0a);
    if (end >= 0) return new TextDecoder().decode(bytes.subarray(0, end));
  }
  return undefined;
}

function failure(error: unknown): { code: number; message: string; next: string } {
  if (!(error instanceof CliError)) throw error;
  return { code: error.code, message: error.message, next: error.next ?? "see diaper-ni(8)" };
}

function isBrokenOff(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted;
}
