/**
 * Running a program of the system with text for its input, within a time.
 *
 * @module
 */
import { signalChild } from "./child_signal.ts";

/** What a program did. `code` is undefined when it had to be stopped because it took too long. */
export interface ToolResult {
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that is not installed. */
export class ToolMissing extends Error {
  override readonly name = "ToolMissing";
}

/** Where the system's programs are; never taken from the environment. */
const PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
const ENVIRONMENT = { PATH, LC_ALL: "C" } as const;

/**
 * A program that runs and waits for its input. It starts up while the input is still being made; whoever
 * starts it must call {@link RunningTool.finish}.
 */
export class RunningTool {
  readonly #child: Deno.ChildProcess;
  readonly #seconds: number;
  readonly #input: ToolInput;

  /**
   * Starts it, with a small environment of its own.
   *
   * @param seconds after which it is killed, from {@link finish} on.
   * @throws {ToolMissing} when there is no such program.
   */
  constructor(program: string, args: readonly string[], seconds: number) {
    this.#child = start(program, args);
    this.#input = new ToolInput(this.#child.stdin);
    this.#seconds = seconds;
  }

  /** Gives it the beginning of its input, so that it can read while the rest is made. */
  async feed(input: string): Promise<void> {
    await this.#input.write(input);
  }

  /** Gives it its input, or the rest of it, and waits for its end. */
  async finish(input: string): Promise<ToolResult> {
    const child = this.#child;
    let late = false;
    const limit = setTimeout(() => {
      late = true;
      signalChild(child, "SIGKILL");
    }, this.#seconds * 1000);
    try {
      const [{ code, stdout, stderr }] = await Promise.all([
        child.output(),
        this.#input.end(input),
      ]);
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      return { code: late ? undefined : code, stdout: text(stdout), stderr: text(stderr).trim() };
    } finally {
      clearTimeout(limit);
    }
  }
}

/**
 * Runs a program to its end.
 *
 * @param seconds after which it is killed.
 * @throws {ToolMissing} when there is no such program.
 */
export function runTool(
  program: string,
  args: readonly string[],
  input: string = "",
  seconds: number = 60,
): Promise<ToolResult> {
  return new RunningTool(program, args, seconds).finish(input);
}

/**
 * Runs a program that ends at once, without input, and waits for it.
 *
 * @throws {ToolMissing} when there is no such program.
 */
export function runToolSync(program: string, args: readonly string[]): ToolResult {
  try {
    const { code, stdout, stderr } = new Deno.Command(program, options(args, "null")).outputSync();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { code, stdout: text(stdout), stderr: text(stderr).trim() };
  } catch (error) {
    throw missing(program, error);
  }
}

function start(program: string, args: readonly string[]): Deno.ChildProcess {
  try {
    return new Deno.Command(program, options(args, "piped")).spawn();
  } catch (error) {
    throw missing(program, error);
  }
}

function options(args: readonly string[], stdin: "piped" | "null"): Deno.CommandOptions {
  return {
    args: [...args],
    clearEnv: true,
    env: { ...ENVIRONMENT },
    cwd: "/",
    stdin,
    stdout: "piped",
    stderr: "piped",
  };
}

function missing(program: string, error: unknown): unknown {
  return error instanceof Deno.errors.NotFound
    ? new ToolMissing(`The program ${program} is not installed`)
    : error;
}

/** The input of a program. One that ends before it has read all is no error here: its exit code tells. */
class ToolInput {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #broken = false;

  constructor(stdin: WritableStream<Uint8Array>) {
    this.#writer = stdin.getWriter();
  }

  write(text: string): Promise<void> {
    return this.#unbroken(() => this.#writer.write(new TextEncoder().encode(text)));
  }

  async end(text: string): Promise<void> {
    if (text !== "") await this.write(text);
    await this.#unbroken(() => this.#writer.close());
  }

  async #unbroken(run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (error) {
      if (!(error instanceof Deno.errors.BrokenPipe) && !this.#broken) throw error;
      // Whatever is still written meets a stream that is closed, which is no news.
      this.#broken = true;
    }
  }
}
