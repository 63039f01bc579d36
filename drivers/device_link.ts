/**
 * A session with a device that is there when it is needed: opened at first use, opened again after it was
 * lost, with a transcript each time.
 *
 * @module
 */
import type { SessionDialect } from "./dialect.ts";
import { EnforcerError } from "./enforcer.ts";
import type { ByteStream } from "./transport/bytes.ts";
import { type Answers, CliSession } from "./transport/session.ts";
import { Transcript } from "./transport/transcript.ts";

/** A way to a device: a connection with one stream. */
export interface DeviceConnection {
  readonly stream: ByteStream;
  /** Ends the connection. */
  close(): Promise<void>;
}

/** How a device is reached. */
export interface DeviceAccess {
  /** The device's name, for errors and transcripts. */
  readonly name: string;
  /** Opens a connection with a stream on it. */
  readonly open: () => Promise<DeviceConnection>;
  readonly answers: Answers;
  /** Longest time that one operation may take, in seconds. */
  readonly timeout: number;
  /** Directory for transcripts; undefined: none are written. */
  readonly transcripts?: string | undefined;
  /** Pauses between tries to get a lock, in milliseconds. Default 1, 2 and 4 seconds. */
  readonly backoff?: readonly number[] | undefined;
}

/** The session with one device. */
export class DeviceLink {
  readonly #access: DeviceAccess;
  readonly #dialect: SessionDialect;
  #connection: DeviceConnection | undefined;
  #session: CliSession | undefined;
  #transcript: Transcript | undefined;

  constructor(access: DeviceAccess, dialect: SessionDialect) {
    this.#access = access;
    this.#dialect = dialect;
  }

  /**
   * The session, opened when there is none that works.
   *
   * @throws {EnforcerError} when the device cannot be reached or lets nobody in.
   */
  async session(): Promise<CliSession> {
    if (this.#session?.failure === undefined && this.#session !== undefined) return this.#session;
    await this.close();
    const { name, answers, timeout, transcripts } = this.#access;
    const connection = await this.#access.open();
    this.#connection = connection;
    const secrets = [answers.password, answers.enable].filter((secret) => secret !== undefined);
    const transcript = new Transcript({ device: name, directory: transcripts, secrets });
    this.#transcript = transcript;
    const options = { dialect: this.#dialect, transcript, answers, timeout };
    this.#session = await CliSession.open(connection.stream, options);
    return this.#session;
  }

  /** True while there is a session that works. */
  get alive(): boolean {
    return this.#session !== undefined && this.#session.failure === undefined;
  }

  /** That the device says nothing though something is waited for: see {@link CliSession.silence}. */
  get silence(): string | undefined {
    return this.#session?.silence;
  }

  /** Where in the transcript the talk is, for errors. */
  place(): string {
    return this.#transcript?.place() ?? this.#access.name;
  }

  /** An error that says where in the transcript it happened. */
  error(message: string, next: string): EnforcerError {
    const last = JSON.stringify(this.#transcript?.tail(120) ?? "");
    return new EnforcerError(`${message} (${this.place()}; last: ${last})`, next);
  }

  /** Waits before the next try to get a lock; false when it has been tried often enough. */
  async backOff(tries: number): Promise<boolean> {
    const pause = (this.#access.backoff ?? [1000, 2000, 4000])[tries];
    if (pause === undefined) return false;
    await new Promise((resolve) => setTimeout(resolve, pause));
    return true;
  }

  /** Ends the session and its connection. */
  async close(): Promise<void> {
    this.#session?.close();
    this.#session = undefined;
    this.#transcript?.close();
    const connection = this.#connection;
    this.#connection = undefined;
    await connection?.close();
  }
}
