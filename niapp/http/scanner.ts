/**
 * The scanner of HTTP requests (CMU-CS-02-144, section 2.3): a request that carries a known buffer overflow ends its
 * connection before a byte of it has reached the server.
 *
 * @module
 */
import type { Ni, Scanner, Stream, StreamData, StreamHandler } from "../sdk/mod.ts";
import { type HttpOptions, readOptions } from "./options.ts";
import { type Found, type Request, RequestReader } from "./request.ts";
import { broken } from "./rules.ts";

/** The scanner. */
export class HttpScanner implements Scanner {
  readonly name = "http";
  #options: HttpOptions = readOptions({});

  /** Subscribes to the servers' ports. @throws {Error} when an option is wrong. */
  start(ni: Ni): void {
    this.#options = readOptions(ni.options);
    ni.subscribeStreams(this.#options.ports, "contain");
  }

  /** As {@link Scanner.stream}. */
  stream(stream: Stream): StreamHandler {
    return new HttpConnection(stream, this.#options);
  }
}

/** Bytes of the original that go with an alert. */
const ORIGINAL = 4096;

class HttpConnection implements StreamHandler {
  readonly #stream: Stream;
  readonly #options: HttpOptions;
  readonly #reader: RequestReader;
  #over = false;
  /** A request to become something else waits for the server's answer: its method. */
  #upgrade: string | undefined;
  #waiting: { bytes: Uint8Array; offset: number }[] = [];
  #passed = 0;

  constructor(stream: Stream, options: HttpOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#reader = new RequestReader(options.limits);
  }

  data({ fromClient, offset, bytes, direction }: StreamData): void {
    if (this.#over) return;
    if (!fromClient) {
      this.#stream.pass(direction, offset + bytes.length);
      this.#answer(bytes);
    } else if (this.#upgrade === undefined) this.#request(bytes, offset);
    else this.#waiting.push({ bytes: bytes.slice(), offset });
  }

  gap(): void {
    // What was missed may have been the end of a body: from here on nobody can tell where requests begin.
    if (!this.#over) this.#release("part of a connection was not seen", {});
  }

  end(direction: StreamData["direction"], offset: number): void {
    if (!this.#over) this.#stream.pass(direction, offset);
  }

  closed(): void {
    this.#over = true;
  }

  #request(bytes: Uint8Array, offset: number): void {
    const { at, settled } = this.#reader.take(
      bytes,
      0,
      bytes.length,
      offset,
      (found) => this.#found(found),
    );
    if (this.#over) return;
    if (settled !== -1) this.#pass(offset + settled);
    if (at < bytes.length) this.#waiting.push({ bytes: bytes.slice(at), offset: offset + at });
  }

  #pass(offset: number): void {
    if (offset <= this.#passed) return;
    this.#passed = offset;
    this.#stream.pass(this.#stream.clientDirection, offset);
  }

  /** Says whether reading may go on. */
  #found(found: Found): boolean {
    switch (found.kind) {
      case "request": {
        const rule = broken(this.#options.rules, found.request);
        this.#pass(found.request.start);
        if (rule !== undefined) return this.#kill(rule.text.name, facts(found.request));
        if (
          found.request.method === "CONNECT" || found.request.headers.some(([n]) => n === "upgrade")
        ) {
          this.#upgrade = found.request.method;
          return false;
        }
        return true;
      }
      case "long":
        return this.#kill(`${NAMES[found.what]} is too long`, { request: found.start });
      case "ambiguous":
        return this.#kill("request with two ends", { what: found.what });
      case "other":
        if (this.#options.other === "kill") return this.#kill("no HTTP", { start: found.start });
        this.#release("connection is no HTTP", { start: found.start });
        return false;
    }
  }

  #answer(bytes: Uint8Array): void {
    const method = this.#upgrade;
    if (method === undefined) return;
    const status = /^HTTP\/1\.[01] (\d)(\d\d)/.exec(String.fromCharCode(...bytes.subarray(0, 12)));
    this.#upgrade = undefined;
    const switched = status !== null &&
      (status[1] === "1" && status[2] === "01" || method === "CONNECT" && status[1] === "2");
    if (switched) return this.#release(undefined, {});
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { bytes, offset } of waiting) {
      if (this.#upgrade === undefined && !this.#over) this.#request(bytes, offset);
      else this.#waiting.push({ bytes, offset });
    }
  }

  #kill(signature: string, detail: Readonly<Record<string, unknown>>): false {
    this.#over = true;
    const alert = {
      signature,
      category: "Web Application Attack",
      severity: 1 as const,
      action: "blocked" as const,
      detail,
    };
    const original = {
      direction: this.#stream.clientDirection,
      offset: this.#passed,
      length: ORIGINAL,
    };
    this.#stream.alert(alert, original);
    this.#stream.kill();
    return false;
  }

  #release(signature: string | undefined, detail: Readonly<Record<string, unknown>>): void {
    this.#over = true;
    if (signature !== undefined) {
      this.#stream.alert({ signature, severity: 3, action: "allowed", detail });
    }
    this.#stream.release();
  }
}

const NAMES = { line: "request line", header: "header field", head: "head of a request" } as const;

function facts(request: Request): Record<string, unknown> {
  return {
    method: request.method,
    target: request.target.slice(0, 1000),
    host: request.headers.find(([name]) => name === "host")?.[1].slice(0, 300),
  };
}
