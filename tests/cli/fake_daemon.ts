/**
 * A daemon that says what a test wants it to say, on a real control socket, and the verbs run against it.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));

/** The daemon's end of one connection. */
export interface Conversation {
  /** The request, or what came instead of one. */
  readonly request: Record<string, unknown>;
  /** Sends text or octets as they are. */
  send(what: string | Uint8Array): Promise<void>;
  /** Sends a line for each value. */
  data(...values: readonly unknown[]): Promise<void>;
  /** Sends the line that ends an answer. */
  end(): Promise<void>;
  /** Resolves when the other end is gone. */
  readonly gone: Promise<void>;
}

/** Answers one request; the connection is closed when it returns. */
export type Answerer = (conversation: Conversation) => Promise<void>;

/** A socket, a configuration that leads to it, and a log directory, in a temporary directory. */
export class FakeDaemon implements AsyncDisposable {
  readonly directory: string;
  readonly config: string;
  /** The requests so far. */
  readonly requests: Record<string, unknown>[] = [];
  readonly #listener: Deno.UnixListener | undefined;
  readonly #serving: Promise<void>;
  readonly #connections = new Set<Deno.UnixConn>();

  /** @param answerer what it says; without it nobody listens. */
  constructor(answerer?: Answerer, lines: readonly string[] = []) {
    this.directory = Deno.makeTempDirSync({ prefix: "diaper-cli-" });
    this.config = `${this.directory}/diaper.yaml`;
    for (const name of ["run", "log", "state"]) Deno.mkdirSync(`${this.directory}/${name}`);
    Deno.writeTextFileSync(`${this.directory}/site.policy`, "");
    Deno.writeTextFileSync(
      this.config,
      [
        ...["run", "log", "state"].map((n) => `${n}_dir: ${this.directory}/${n}`),
        `policy: ${this.directory}/site.policy`,
        "control_group: root",
        ...lines,
        "",
      ].join("\n"),
    );
    if (answerer === undefined) {
      this.#serving = Promise.resolve();
      return;
    }
    this.#listener = Deno.listen({ transport: "unix", path: this.socket });
    this.#serving = this.#serve(this.#listener, answerer);
  }

  /** Path of the control socket. */
  get socket(): string {
    return `${this.directory}/run/control.sock`;
  }

  /** Path of the audit trail. */
  get trail(): string {
    return `${this.directory}/log/audit.jsonl`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener?.close();
    for (const connection of this.#connections) connection.close();
    await this.#serving;
    Deno.removeSync(this.directory, { recursive: true });
  }

  async #serve(listener: Deno.UnixListener, answerer: Answerer): Promise<void> {
    const running: Promise<void>[] = [];
    for await (const connection of listener) running.push(this.#talk(connection, answerer));
    await Promise.all(running);
  }

  async #talk(connection: Deno.UnixConn, answerer: Answerer): Promise<void> {
    this.#connections.add(connection);
    const send = async (what: string | Uint8Array) => {
      const data = typeof what === "string" ? new TextEncoder().encode(what) : what;
      for (let done = 0; done < data.length;) done += await connection.write(data.subarray(done));
    };
    try {
      const line = await readLine(connection);
      const request = JSON.parse(line) as Record<string, unknown>;
      this.requests.push(request);
      await answerer({
        request,
        send,
        data: async (...values) =>
          await send(values.map((v) => JSON.stringify({ data: v }) + "\n").join("")),
        end: async () => await send('{"end":true}\n'),
        gone: untilGone(connection),
      });
    } catch (error) {
      // The verb may end before it has heard all.
      if (!isBroken(error)) throw error;
    } finally {
      if (this.#connections.delete(connection)) close(connection);
    }
  }
}

async function readLine(connection: Deno.UnixConn): Promise<string> {
  const buffer = new Uint8Array(4096);
  let text = "";
  while (!text.includes("\n")) {
    const n = await connection.read(buffer);
    if (n === null) break;
    text += new TextDecoder().decode(buffer.subarray(0, n));
  }
  return text.trimEnd();
}

async function untilGone(connection: Deno.UnixConn): Promise<void> {
  try {
    while (await connection.read(new Uint8Array(64)) !== null);
  } catch (error) {
    if (!isBroken(error)) throw error;
  }
}

function close(connection: Deno.UnixConn): void {
  try {
    connection.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

function isBroken(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.BadResource ||
    error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.Interrupted;
}

/** What a verb did. */
export interface VerbResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs diaper to its end. */
export async function diaper(...args: string[]): Promise<VerbResult> {
  const { code, stdout, stderr } = await command(args).output();
  const text = (data: Uint8Array) => new TextDecoder().decode(data);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** A verb that runs until it is told to end, and its lines. */
export class RunningVerb implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #errors: Promise<string>;

  constructor(...args: string[]) {
    this.#child = command(args).spawn();
    this.#lines = linesOf(this.#child.stdout);
    this.#errors = this.#child.stderr.text();
  }

  /** The next line on stdout; undefined when it ended. */
  async line(): Promise<string | undefined> {
    const next = await this.#lines.next();
    return next.done === true ? undefined : next.value;
  }

  /** Waits for its end by itself. */
  async ended(): Promise<{ readonly code: number; readonly stderr: string }> {
    while (await this.line() !== undefined);
    return { code: (await this.#child.status).code, stderr: await this.#errors };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has ended already
    }
    while (await this.line() !== undefined);
    await this.#errors;
    await this.#child.status;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}

function command(args: readonly string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", MAIN, ...args],
    env: { NO_COLOR: "1", DIAPER_CONFIG: "" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** A pinhole as the daemon tells of it. */
export function pinholeRow(
  id: number,
  changes: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    id,
    proto: "tcp",
    source: "198.51.100.10",
    source_port: null,
    destination: "192.0.2.10",
    destination_port: 50000 + id,
    state: "open",
    delegate: "ftp",
    user: "alice",
    pid: 4711,
    program: "/usr/sbin/vsftpd",
    opened_at: "2030-01-02T03:04:05.678Z",
    expires_at: null,
    packets: 12,
    bytes: 3456,
    rule: "/etc/diaper/site.policy:3",
    ...changes,
  };
}

/** A status as the daemon tells it. */
export function statusReport(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    role: "up",
    pid: 4712,
    started_at: "2030-01-02T03:04:05.678Z",
    enforcer: { name: "nftables", failed: null },
    policy: { file: "/nonexistent/site.policy", rules: 3, loaded_at: "2030-01-02T03:04:05.678Z" },
    pinholes: { open: 2, capacity: 1000 },
    channels: 1,
    notices: true,
    audit_failed: null,
    counts: { requested: 5, allowed: 4, refused: 1, opened: 4, failed: 0, closed: 2 },
    dropped: null,
    sweep: null,
    ...changes,
  };
}
