/**
 * A NETCONF session: hello, then one request after the other. After a time-out or broken framing it is not known
 * what the device did; the session is of no more use and says so.
 *
 * @module
 */
import { EnforcerError } from "../enforcer.ts";
import type { ByteStream } from "./bytes.ts";
import { encodeNetconf, NetconfDecoder } from "./netconf_framing.ts";
import { SessionError } from "./session.ts";
import type { Transcript } from "./transcript.ts";
import { elements, parseXml, textOf, type XmlElement } from "./xml.ts";

/** A larger message is no answer. */
const LARGEST = 32 * 1024 * 1024;
const BASE = "urn:ietf:params:netconf:base";

/** An error that the device answered; `tag` as in RFC 6241, such as `lock-denied`. */
export class RpcError extends EnforcerError {
  readonly tag: string;
  /** The element or statement that it is about. */
  readonly element: string | undefined;
  constructor(message: string, tag: string, element: string | undefined) {
    super(message, "see the device's message; its configuration was not changed by this request");
    this.tag = tag;
    this.element = element;
  }
}

/** How a session is made. */
export interface NetconfOptions {
  readonly transcript: Transcript;
  /** Longest time that one request may take, in seconds. */
  readonly timeout: number;
}

/** A session. */
export class NetconfSession {
  readonly #stream: ByteStream;
  readonly #options: NetconfOptions;
  readonly #decoder = new NetconfDecoder(LARGEST);
  readonly #text = new TextDecoder();
  readonly #messages: string[] = [];
  #wake: (() => void) | undefined;
  #failure: SessionError | undefined;
  #id = 0;

  private constructor(stream: ByteStream, options: NetconfOptions) {
    this.#stream = stream;
    this.#options = options;
    stream.listen(
      (piece) => this.#data(piece),
      (why) => this.#fail(`The session ended: ${why}`, "see the device's log"),
    );
  }

  /**
   * Exchanges hellos.
   *
   * @throws {SessionError} when the other end does not speak NETCONF.
   */
  static async open(stream: ByteStream, options: NetconfOptions): Promise<NetconfSession> {
    const session = new NetconfSession(stream, options);
    try {
      const capabilities = [`${BASE}:1.0`, `${BASE}:1.1`]
        .map((c) => `<capability>${c}</capability>`).join("");
      session.#send(
        `<hello xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"><capabilities>${capabilities}` +
          `</capabilities></hello>`,
      );
      const hello = session.#parse(await session.#next("a hello", options.timeout));
      const theirs = elements(hello, "capability").map((c) => c.text.trim());
      if (hello.name !== "hello" || !theirs.some((c) => c.startsWith(BASE))) {
        throw session.#error("The device does not speak NETCONF", "check port and subsystem");
      }
      session.#decoder.chunked = theirs.includes(`${BASE}:1.1`);
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
   * Sends a request and waits for the reply.
   *
   * @param operation the XML inside `rpc`.
   * @returns the reply; warnings in it are passed over.
   * @throws {RpcError} when the device answers with an error.
   * @throws {SessionError} when it is not known what the device did.
   */
  async rpc(operation: string, timeout: number = this.#options.timeout): Promise<XmlElement> {
    if (this.#failure !== undefined) throw this.#failure;
    const id = String(++this.#id);
    this.#send(
      `<rpc xmlns="urn:ietf:params:xml:ns:netconf:base:1.0" message-id="${id}">${operation}</rpc>`,
    );
    const reply = this.#parse(await this.#next("a reply", timeout));
    if (reply.name !== "rpc-reply" || reply.attributes["message-id"] !== id) {
      this.#fail("The device answered another request", "see the transcript");
      throw this.#failure as unknown as SessionError;
    }
    const error = elements(reply, "rpc-error")
      .find((e) => (textOf(e, "error-severity") ?? "error") === "error");
    if (error !== undefined) {
      const message = textOf(error, "error-message")?.replaceAll(/\s+/g, " ") ??
        textOf(error, "error-tag") ?? "no message";
      throw new RpcError(
        `${message} (${this.#options.transcript.place()})`,
        textOf(error, "error-tag") ?? "operation-failed",
        textOf(error, "bad-element"),
      );
    }
    return reply;
  }

  /** Ends the session. */
  close(): void {
    this.#failure ??= new SessionError("The session is closed", "connect again");
    this.#stream.close();
  }

  #send(text: string): void {
    this.#options.transcript.sent(`${text}\n`);
    this.#stream.write(encodeNetconf(text, this.#decoder.chunked));
  }

  #data(piece: Uint8Array): void {
    this.#options.transcript.received(this.#text.decode(piece, { stream: true }));
    if (this.#failure !== undefined) return;
    try {
      this.#messages.push(...this.#decoder.write(piece));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return this.#fail(why, "check that NETCONF is what the device speaks there");
    }
    this.#wake?.();
  }

  #parse(text: string): XmlElement {
    try {
      return parseXml(text);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#fail(why, "check that NETCONF is what the device speaks there");
      throw this.#failure as unknown as SessionError;
    }
  }

  async #next(what: string, timeout: number): Promise<string> {
    const timer = setTimeout(() =>
      this.#fail(
        `${what[0]?.toUpperCase()}${what.slice(1)} did not come within ${timeout} s`,
        "what the device did is unknown; look at it, or give it more time (timeout)",
      ), timeout * 1000);
    try {
      for (;;) {
        const message = this.#messages.shift();
        if (message !== undefined) return message;
        if (this.#failure !== undefined) throw this.#failure;
        await new Promise<void>((resolve) => this.#wake = resolve);
        this.#wake = undefined;
      }
    } finally {
      clearTimeout(timer);
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
    this.#wake?.();
    this.#stream.close();
  }
}
