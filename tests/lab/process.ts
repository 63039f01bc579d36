/**
 * A program that runs in a lab, with its output as lines that can be waited for.
 *
 * @module
 */

/** One line of output, without its line end. */
export interface OutputLine {
  /** Where it was printed. */
  readonly stream: "stdout" | "stderr";
  /** The line. */
  readonly text: string;
}

/** How a program ended: `code` is 128 + n after signal n. */
export interface ExitStatus {
  /** Exit code, or 128 + n. */
  readonly code: number;
  /** The signal that ended it. */
  readonly signal: Deno.Signal | null;
}

/** A running program. Its output is kept, so that a line that came early is found all the same. */
export class LabProcess {
  /** The command, for messages. */
  readonly title: string;
  /** Resolves when the program has ended and its output was read. */
  readonly status: Promise<ExitStatus>;
  readonly #child: Deno.ChildProcess;
  readonly #lines: OutputLine[] = [];
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  #ended: ExitStatus | undefined;
  #wake: PromiseWithResolvers<void> = Promise.withResolvers();

  /** Takes over a child whose three streams are piped. */
  constructor(title: string, child: Deno.ChildProcess) {
    this.title = title;
    this.#child = child;
    this.#input = child.stdin.getWriter();
    this.status = this.#follow();
  }

  /** The program's process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** True until the program has ended. */
  get running(): boolean {
    return this.#ended === undefined;
  }

  /** All lines so far, or those of one stream. */
  output(stream?: OutputLine["stream"]): string[] {
    return this.#lines.filter((l) => stream === undefined || l.stream === stream).map((l) =>
      l.text
    );
  }

  /**
   * Waits for a line, among those that came already too.
   *
   * @param timeout in milliseconds
   * @returns the match in the first line that matches.
   * @throws {Error} with the output so far, when the program ends or the time is over before.
   */
  async waitForLine(pattern: RegExp, timeout = 10_000): Promise<RegExpExecArray> {
    return await this.find((line) => pattern.exec(line) ?? undefined, String(pattern), timeout);
  }

  /**
   * Waits for a line that `read` makes something of, among those that came already too.
   *
   * @param what is waited for, for messages
   * @param timeout in milliseconds
   * @throws {Error} with the output so far, when the program ends or the time is over before.
   */
  async find<T>(
    read: (line: string, stream: OutputLine["stream"]) => T | undefined,
    what: string,
    timeout = 10_000,
  ): Promise<T> {
    const late = Promise.withResolvers<void>();
    let over = false;
    const timer = setTimeout(() => {
      over = true;
      late.resolve();
    }, timeout);
    try {
      for (let next = 0;;) {
        const wake = this.#wake.promise;
        for (; next < this.#lines.length; next++) {
          const line = this.#lines[next] as OutputLine;
          const found = read(line.text, line.stream);
          if (found !== undefined) return found;
        }
        if (!this.running) throw this.#failure(`ended with code ${this.#ended?.code} before`, what);
        if (over) throw this.#failure(`printed in ${timeout} ms nothing like`, what);
        await Promise.race([wake, late.promise]);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Writes to the program's standard input. */
  async write(text: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(text));
  }

  /** Ends the program's standard input. */
  async closeInput(): Promise<void> {
    await this.#input.close();
  }

  /** Sends a signal; does nothing when the program has ended. */
  kill(signal: Deno.Signal = "SIGTERM"): void {
    if (!this.running) return;
    try {
      this.#child.kill(signal);
    } catch (error) {
      // It ended by itself, and the runtime knew before we did.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<ExitStatus> {
    this.kill(signal);
    return await this.status;
  }

  async #follow(): Promise<ExitStatus> {
    const [status] = await Promise.all([
      this.#child.status,
      this.#read("stdout", this.#child.stdout),
      this.#read("stderr", this.#child.stderr),
    ]);
    // The reading end is gone with the program: whatever was still to be written fails, as it should.
    await this.#input.abort().catch(() => undefined);
    this.#ended = { code: status.code, signal: status.signal };
    this.#notify();
    return this.#ended;
  }

  async #read(stream: OutputLine["stream"], source: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of source) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      for (const text of parts) this.#lines.push({ stream, text: text.replace(/\r$/, "") });
      if (parts.length > 0) this.#notify();
    }
    rest += decoder.decode();
    if (rest !== "") this.#lines.push({ stream, text: rest });
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = Promise.withResolvers();
    wake.resolve();
  }

  #failure(how: string, what: string): Error {
    const tail = this.output().slice(-20).join("\n");
    return new Error(`${this.title}: ${how} ${what}. Its last output:\n${tail}`);
  }
}
