/**
 * The open pinholes of controllers on this host, asked for over their control sockets (docs/protocols/control.md).
 *
 * @module
 */
import { isRecord } from "./store.ts";

/** Milliseconds that an answer serves all who ask. */
const FRESH_MS = 2000;
const TIMEOUT_MS = 3000;
/** Octets of an answer. */
const LARGEST = 64 * 1024 * 1024;

/** Controllers of this host. */
export class LocalControllers {
  readonly #paths: readonly string[];
  #asked = -Infinity;
  #answer: Promise<readonly Record<string, unknown>[]> = Promise.resolve([]);

  /** @param paths control sockets. */
  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  /** Their pinholes; of one that does not answer, an item with `controller` and `error`. */
  pinholes(): Promise<readonly Record<string, unknown>[]> {
    const now = performance.now();
    if (now - this.#asked < FRESH_MS) return this.#answer;
    this.#asked = now;
    this.#answer = Promise.all(this.#paths.map(ask)).then((lists) => lists.flat());
    return this.#answer;
  }
}

async function ask(path: string): Promise<Record<string, unknown>[]> {
  const name = `${Deno.hostname()}:${path.replace(/\/control\.sock$/, "")}`;
  let connection: Deno.UnixConn;
  try {
    connection = await Deno.connect({ transport: "unix", path });
  } catch (error) {
    return [{ controller: name, error: error instanceof Error ? error.message : String(error) }];
  }
  const timer = setTimeout(() => closeOnce(connection), TIMEOUT_MS);
  try {
    await connection.write(new TextEncoder().encode('{"op":"list"}\n'));
    const decoder = new TextDecoder();
    let text = "";
    for await (const part of connection.readable) {
      text += decoder.decode(part, { stream: true });
      if (text.length > LARGEST) throw new Error("its answer is too long");
      if (/\n?\{"(end|error)":.*\n$/.test(text.slice(-2000))) break;
    }
    return text.split("\n").flatMap((line) => {
      if (line === "") return [];
      const reply: unknown = JSON.parse(line);
      if (!isRecord(reply) || !isRecord(reply["data"])) return [];
      return [{ ...reply["data"], controller: name }];
    });
  } catch (error) {
    return [{ controller: name, error: error instanceof Error ? error.message : String(error) }];
  } finally {
    clearTimeout(timer);
    closeOnce(connection);
  }
}

function closeOnce(connection: Deno.UnixConn): void {
  try {
    connection.close();
  } catch (error) {
    // Reading to the end has closed it.
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}
