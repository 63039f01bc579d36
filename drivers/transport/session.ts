/**
 * A talk with a device's command line: one engine for all, with what is peculiar to a kind of device taken
 * from its dialect. Commands are sent one at a time or many at once; the end of the answer is known by the
 * prompt after the echo, never by a pause. After a time-out or a lost session it is not known what the
 * device did; the session is of no more use and says so.
 *
 * @module
 */
import { fill, type SessionDialect } from "../dialect.ts";
import { EnforcerError } from "../enforcer.ts";
import type { ByteStream } from "./bytes.ts";
import { Screen } from "./screen.ts";
import type { Transcript } from "./transcript.ts";

/** Modes that a prompt tells apart. */
export type Mode = "user" | "enabled" | "config";

/** Who logs in, for questions that the device asks in the shell. */
export interface Answers {
  readonly user: string;
  readonly password?: string | undefined;
  readonly enable?: string | undefined;
}

/** How a session is made. Times in seconds. */
export interface SessionOptions {
  readonly dialect: SessionDialect;
  readonly transcript: Transcript;
  readonly answers: Answers;
  /** Longest time that one operation may take. */
  readonly timeout: number;
}

/** One of many commands that were sent at once, and what the device said to it. */
export interface Outcome {
  readonly command: string;
  readonly output: string[];
}

/** More than this without a prompt is no answer. */
const MOST_OUTPUT = 8 * 1024 * 1024;
/** A prompt is no longer than this. */
const LONGEST_PROMPT = 200;
/** How long a silent device is waited for at login before it is asked to say something, in ms. */
const SILENCE = 2000;
/** So often a device may ask something in one operation; a machine that asks for ever is not answered. */
const MOST_QUESTIONS = 50;

/** The session is of no more use: it is lost, or it is not known what the device is doing. */
export class SessionError extends EnforcerError {}

interface Wait {
  readonly done: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** A logged-in session. */
export class CliSession {
  readonly #stream: ByteStream;
  readonly #options: SessionOptions;
  readonly #screen = new Screen();
  readonly #decoder = new TextDecoder();
  readonly #encoder = new TextEncoder();
  readonly #bare: Record<Mode, RegExp | undefined>;
  readonly #echoed: RegExp;
  #lines: string[] = [];
  #size = 0;
  #asides: string[] = [];
  /** How many lines there were when a log line came last. */
  #asideAt = -1;
  #wait: Wait | undefined;
  #failure: SessionError | undefined;
  #questions = 0;
  /** When something came last, or was waited for first, on the clock of `performance.now`. */
  #heardAt = 0;
  /** What every prompt of this device begins with; learned at login. */
  #host = "";

  private constructor(stream: ByteStream, options: SessionOptions) {
    this.#stream = stream;
    this.#options = options;
    const { prompts } = options.dialect;
    const whole = (source: string) => new RegExp(`^(?:${source}) ?$`);
    this.#bare = {
      user: prompts.user === undefined ? undefined : whole(prompts.user),
      enabled: whole(prompts.enabled),
      config: whole(prompts.config),
    };
    const any = [
      prompts.config,
      prompts.enabled,
      ...(prompts.user === undefined ? [] : [
        prompts.user,
      ]),
    ].map((source) => `(?:${source})`).join("|");
    this.#echoed = new RegExp(`^(?:${any}) ?(.*)$`);
    this.#screen.onLine = (line) => this.#line(line);
    stream.listen(
      (piece) => this.#data(piece),
      (why) => this.#fail(`The session ended: ${why}`, "see the device's log"),
    );
  }

  /**
   * Logs in on a stream: answers what is asked, enables, and makes the terminal wide and without pages.
   *
   * @throws {SessionError} when that does not work.
   */
  static async open(stream: ByteStream, options: SessionOptions): Promise<CliSession> {
    const session = new CliSession(stream, options);
    try {
      await session.#login();
    } catch (error) {
      session.close();
      throw error;
    }
    return session;
  }

  /** Why the session is of no more use, or undefined while it is. */
  get failure(): SessionError | undefined {
    return this.#failure;
  }

  /**
   * That not a byte has come for as long as one operation may take, while something is waited for. Many commands
   * together may take longer.
   */
  get silence(): string | undefined {
    const seconds = (performance.now() - this.#heardAt) / 1000;
    if (this.#wait === undefined || seconds < this.#options.timeout) return undefined;
    return `nothing has come from the device for ${seconds.toFixed(1)} s`;
  }

  /** The mode of the prompt that the device shows, or undefined while it shows none. */
  get mode(): Mode | undefined {
    return this.#promptMode();
  }

  /** What the device said by itself since it was last asked for: log lines. At most 100. */
  takeAsides(): string[] {
    return this.#asides.splice(0);
  }

  /**
   * Sends one command and waits for the prompt after its echo.
   *
   * @returns the lines between echo and prompt.
   * @throws {SessionError} after the time-out, or when the session is lost: then what it did is unknown.
   */
  run(command: string, timeout: number = this.#options.timeout): Promise<string[]> {
    return this.runText(`${command}\n`, command, timeout);
  }

  /**
   * The same with any text, such as a command with lines for it to read.
   *
   * @param command what is looked for as the echo.
   */
  async runText(
    text: string,
    command: string,
    timeout: number = this.#options.timeout,
  ): Promise<string[]> {
    this.#start();
    let echoEnd = -1;
    let joined = "";
    let looked = 0;
    const wanted = compact(command);
    const echoSeen = () => {
      while (echoEnd === -1 && looked < this.#lines.length) {
        joined += compact(this.#lines[looked] as string);
        if (joined.includes(wanted)) echoEnd = looked;
        else joined = joined.slice(-4 * wanted.length - LONGEST_PROMPT);
        looked++;
      }
      return echoEnd !== -1;
    };
    this.#send(text);
    await this.#until(
      () => echoSeen() && this.#promptMode() !== undefined,
      timeout,
      `the prompt after ${JSON.stringify(command)}`,
    );
    return this.#lines.slice(echoEnd + 1).filter((_, i, all) =>
      // The prompt may stand in the last line when a log line came after it.
      i < all.length - 1 || !this.#isBare(all[i] as string)
    );
  }

  /**
   * Sends many commands at once, and waits for the prompt of `until`, or any, after the last one's echo.
   *
   * @returns what the device said to each, as far as that can be told apart.
   * @throws {SessionError} as {@link run}.
   */
  async pipeline(
    commands: readonly string[],
    until: Mode | "any",
    timeout: number = this.#options.timeout,
  ): Promise<Outcome[]> {
    this.#start();
    const last = compact(commands.at(-1) ?? "");
    let looked = 0;
    let lastSeen = false;
    const echoSeen = () => {
      for (; !lastSeen && looked < this.#lines.length; looked++) {
        const line = this.#lines[looked] as string;
        const echo = line.length < 4096 ? this.#echoed.exec(line)?.[1] : undefined;
        lastSeen = echo !== undefined && echo.length < last.length + 200 && compact(echo) === last;
      }
      return lastSeen;
    };
    this.#send(commands.map((command) => `${command}\n`).join(""));
    const arrived = () => {
      const mode = this.#promptMode();
      return mode !== undefined && (until === "any" || mode === until);
    };
    await this.#until(
      () => echoSeen() && arrived(),
      timeout,
      `the prompt after ${commands.length} commands`,
    );
    return this.#attribute(commands);
  }

  /** Sends raw text, such as a control character, and waits for nothing. */
  interrupt(text: string): void {
    this.#send(text);
  }

  /** Ends the session. */
  close(): void {
    this.#failure ??= new SessionError("The session is closed", "connect again");
    this.#stream.close();
  }

  async #login(): Promise<void> {
    const { dialect, timeout, answers } = this.#options;
    const nudge = setTimeout(() => this.#send("\n"), SILENCE);
    try {
      this.#start();
      await this.#until(() => this.#promptMode() !== undefined, timeout, "a prompt after login");
    } finally {
      clearTimeout(nudge);
    }
    this.#host = this.#screenPrompt().replace(/[>#% ]+$/, "").replace(/\(.*$/, "").slice(0, 16);
    if (this.#promptMode() === "user") {
      for (const command of dialect.setup_user) await this.#mustRun(command);
      if (dialect.enable !== undefined) {
        await this.run(dialect.enable);
        if (this.#promptMode() !== "enabled") {
          const advice = answers.enable === undefined
            ? "set enable_password_file"
            : "check enable_password_file";
          throw this.#error("The device does not enable this account", advice);
        }
      }
    }
    for (const command of dialect.setup) await this.#mustRun(command);
  }

  async #mustRun(command: string): Promise<void> {
    const output = await this.run(command);
    const complaint = output.find((line) => this.#options.dialect.errors.some((e) => e.test(line)));
    if (complaint === undefined) return;
    throw this.#error(
      `The device refuses ${JSON.stringify(command)}: ${complaint.trim()}`,
      "check that the account may use it and that the dialect is the right one",
    );
  }

  #start(): void {
    if (this.#failure !== undefined) throw this.#failure;
    this.#lines = [];
    this.#size = 0;
    this.#questions = 0;
    this.#asideAt = -1;
  }

  #send(text: string, secret = false): void {
    this.#options.transcript.sent(text, secret);
    this.#stream.write(this.#encoder.encode(text));
  }

  #data(piece: Uint8Array): void {
    this.#heardAt = performance.now();
    this.#options.transcript.received(this.#decoder.decode(piece, { stream: true }));
    if (this.#failure !== undefined) return;
    this.#size += piece.length;
    this.#screen.write(piece);
    if (this.#size > MOST_OUTPUT) {
      return this.#fail(
        `The device sent ${MOST_OUTPUT >> 20} MB without a prompt`,
        "check that it is the kind of device that the configuration says",
      );
    }
    this.#answer();
    const wait = this.#wait;
    if (wait === undefined || !wait.done()) return;
    this.#wait = undefined;
    wait.resolve();
  }

  #line(line: string): void {
    if (this.#options.dialect.asides.some((aside) => aside.test(line))) {
      if (this.#asides.length < 100) this.#asides.push(line);
      this.#asideAt = this.#lines.length;
      return;
    }
    this.#lines.push(line);
  }

  /** Answers a page's end or a question, when the device waits at one. */
  #answer(): void {
    const { dialect, answers } = this.#options;
    const current = this.#screen.current;
    if (current === "" || current.length > LONGEST_PROMPT) return;
    if (dialect.more.test(current)) {
      this.#screen.clear();
      return this.#send(dialect.more_key);
    }
    const question = dialect.questions.find(({ ask }) => ask.test(current));
    if (question === undefined) return;
    if (++this.#questions > MOST_QUESTIONS) {
      return this.#fail(`The device asks ${JSON.stringify(current)} for ever`, "log in by hand");
    }
    const answer = fill(question.answer, {
      user: answers.user,
      password: answers.password ?? "",
      enable: answers.enable ?? "",
    });
    this.#screen.clear();
    this.#send(`${answer}\n`, /\{(password|enable)\}/.test(question.answer));
  }

  /** The line that may be a prompt: the last one, and a finished one when a log line broke it off. */
  #screenPrompt(): string {
    const { current } = this.#screen;
    if (current.trim() !== "" || this.#asideAt !== this.#lines.length) return current;
    return this.#lines.at(-1) ?? "";
  }

  #promptMode(): Mode | undefined {
    const text = this.#screenPrompt();
    if (text.length > LONGEST_PROMPT || !text.startsWith(this.#host)) return undefined;
    for (const mode of ["config", "enabled", "user"] as const) {
      if (this.#bare[mode]?.test(text) === true) return mode;
    }
    return undefined;
  }

  #isBare(line: string): boolean {
    return line.startsWith(this.#host) && line.length <= LONGEST_PROMPT &&
      Object.values(this.#bare).some((bare) => bare?.test(line));
  }

  /** Tells which output belongs to which command, by prompt and echo. */
  #attribute(commands: readonly string[]): Outcome[] {
    const outcomes: Outcome[] = commands.map((command) => ({ command, output: [] }));
    let compacted: string[] | undefined;
    let at = -1;
    for (let i = 0; i < this.#lines.length; i++) {
      const line = this.#lines[i] as string;
      const echo = line.startsWith(this.#host) && line.length < 4096
        ? this.#echoed.exec(line)?.[1]
        : undefined;
      if (echo === undefined) {
        outcomes[Math.max(at, 0)]?.output.push(line);
        continue;
      }
      if (echo === commands[at + 1]) { // as nearly always
        at++;
        continue;
      }
      let text = compact(echo);
      if (text === "") continue; // a prompt alone
      const wanted = compacted ??= commands.map(compact);
      let next = at + 1;
      const fits = () => wanted[next] !== undefined && (wanted[next] as string).startsWith(text);
      while (next < commands.length && next < at + 50 && !fits()) next++;
      if (!fits()) { // an echo of nothing that was sent: it belongs to what is there
        outcomes[Math.max(at, 0)]?.output.push(line);
        continue;
      }
      // The echo may be broken into lines where the terminal ends.
      while (text !== wanted[next] && i + 1 < this.#lines.length) {
        const more = text + compact(this.#lines[i + 1] as string);
        if (!(wanted[next] as string).startsWith(more)) break;
        text = more;
        i++;
      }
      at = next;
    }
    return outcomes;
  }

  async #until(done: () => boolean, timeout: number, what: string): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (done()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() =>
      this.#fail(
        `${what[0]?.toUpperCase()}${what.slice(1)} did not come within ${timeout} s`,
        "what the device did is unknown; look at it, or give it more time (timeout)",
      ), timeout * 1000);
    this.#heardAt = performance.now();
    this.#wait = { done, resolve, reject };
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#wait = undefined;
    }
  }

  #error(message: string, next: string): SessionError {
    const { transcript } = this.#options;
    return new SessionError(
      `${message} (${transcript.place()}; last: ${JSON.stringify(transcript.tail(120))})`,
      next,
    );
  }

  #fail(message: string, next: string): void {
    if (this.#failure !== undefined) return;
    this.#failure = this.#error(message, next);
    const wait = this.#wait;
    this.#wait = undefined;
    wait?.reject(this.#failure);
    this.#stream.close();
  }
}

/** Text without spaces, for comparing what was sent with an echo that a terminal broke into lines. */
function compact(text: string): string {
  return text.replaceAll(/\s+/g, "");
}
