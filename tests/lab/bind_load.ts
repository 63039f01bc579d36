/**
 * Runs bind_load, a server that binds as fast as it can, with or without diaper.
 *
 * @module
 */
import type { Host } from "./host.ts";
import type { Lab } from "./lab.ts";
import type { LabProcess } from "./process.ts";

/** Its control port. */
export const PORT = 2121;

/** Runs programs under the agent, as DiaperHost does. */
export interface Watcher {
  /** Starts one, in a delegate's name. */
  run(
    delegate: string,
    command: string,
    args: readonly string[],
    options?: readonly string[],
  ): LabProcess;
}

/** What bind_load prints. */
export interface LoadResult {
  readonly wall_ns: number;
  readonly bind_ns: readonly number[];
}

/**
 * Runs it once in a mode, with a control connection from the outside host.
 *
 * @param options more options of `diaper run`
 */
export async function loadOnce(
  lab: Lab,
  outside: Host,
  inside: Host,
  diaper: Watcher | undefined,
  mode: "latency" | "storm",
  count: number,
  options: readonly string[] = [],
): Promise<LoadResult> {
  const server = await startLoad(lab, outside, inside, diaper, mode, count, options);
  const line = (await server.waitForLine(/^\{.*\}$/, 60_000))[0];
  await server.stop("SIGKILL");
  return JSON.parse(line) as LoadResult;
}

/** One that is ready to bind, again and again: several of these can be measured in turns. */
export class LoadRounds {
  readonly #server: LabProcess;
  readonly #round: () => Promise<LoadResult>;

  private constructor(server: LabProcess) {
    this.#server = server;
    this.#round = rounds(server);
  }

  /**
   * Starts one that binds `count` times in each round.
   *
   * @param port its control port; each that runs at the same time needs another.
   */
  static async start(
    lab: Lab,
    outside: Host,
    inside: Host,
    diaper: Watcher | undefined,
    count: number,
    port: number,
  ): Promise<LoadRounds> {
    return new LoadRounds(
      await startLoad(lab, outside, inside, diaper, "rounds", count, [], port),
    );
  }

  /** Has it do a round. */
  async round(): Promise<LoadResult> {
    return await this.#round();
  }

  /** Ends it. */
  async stop(): Promise<void> {
    await this.#server.stop("SIGKILL");
  }
}

/** Has a program that prints a JSON object for each line that it reads do so, and reads the object. */
export function rounds<T>(server: LabProcess): () => Promise<T> {
  let done = 0;
  return async () => {
    const wanted = ++done;
    await server.write("\n");
    let seen = 0;
    return await server.find(
      (line) => line.startsWith("{") && ++seen === wanted ? JSON.parse(line) as T : undefined,
      `round ${wanted}`,
      60_000,
    );
  };
}

/** Starts it; in mode `hold` its processes keep their sockets until they are killed. */
export async function startLoad(
  lab: Lab,
  outside: Host,
  inside: Host,
  diaper: Watcher | undefined,
  mode: "latency" | "rounds" | "storm" | "hold",
  count: number,
  options: readonly string[] = [],
  port = PORT,
): Promise<LabProcess> {
  const load = await program(lab, inside);
  const args = [inside.address(4), String(port), mode, String(count)];
  const server = diaper === undefined
    ? inside.spawn(load, args)
    : diaper.run("bench", load, args, options);
  await server.waitForLine(/^ready$/);
  await outside.tryConnect(inside.address(4), port);
  return server;
}

async function program(lab: Lab, host: Host): Promise<string> {
  const path = lab.path("bind_load");
  try {
    await Deno.stat(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const source = new URL("../programs/bind_load.c", import.meta.url).pathname;
    // Bound at the start, as Debian's own servers are: no child has to look up functions by name.
    const flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-Wl,-z,relro,-z,now"];
    await host.must("cc", [...flags, "-o", path, source]);
  }
  return path;
}
