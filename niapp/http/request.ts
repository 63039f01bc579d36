/**
 * Requests of HTTP/1 (RFC 9112), found in what a client sends, in any pieces. Nothing throws; memory is bounded.
 *
 * @module
 */

/** The head of a request. Each character of a text is a byte. */
export interface Request {
  readonly method: string;
  /** As it stands in the request line. */
  readonly target: string;
  /** Names in small letters. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Where it begins in the client's stream, and where it ends. */
  readonly start: number;
  readonly end: number;
}

/** Bounds of a head. */
export interface RequestLimits {
  /** Bytes of the request line. */
  readonly line: number;
  /** Bytes of one header field. */
  readonly header: number;
  /** Bytes of a whole head. */
  readonly head: number;
}

/** What was found. */
export type Found =
  | { readonly kind: "request"; readonly request: Request }
  /** A bound was reached before the head was whole. */
  | { readonly kind: "long"; readonly what: keyof RequestLimits; readonly start: string }
  /** Two ends of a request can be seen. */
  | { readonly kind: "ambiguous"; readonly what: string }
  /** What comes is no request of HTTP/1. */
  | { readonly kind: "other"; readonly start: string };

type State = "line" | "header" | "body" | "chunk-size" | "chunk" | "chunk-end" | "trailer";

/** Reads what a client sends. */
export class RequestReader {
  readonly #limits: RequestLimits;
  #state: State = "line";
  #line = "";
  #start = 0;
  #head = 0;
  #requestLine = "";
  #headers: [string, string][] = [];
  #left = 0;

  /** @param limits bounds of a head. */
  constructor(limits: RequestLimits) {
    this.#limits = limits;
  }

  /**
   * Takes bytes.
   *
   * @param offset of `data[start]` in the stream.
   * @param found what there is; after `false`, nothing more is taken of these bytes.
   * @returns `at`: the first byte that was not taken. `settled`: behind the last byte that is part of a body or of a
   * head that was found; -1 when there is none.
   */
  take(
    data: Uint8Array,
    start: number,
    end: number,
    offset: number,
    found: (what: Found) => boolean,
  ): { readonly at: number; readonly settled: number } {
    let settled = -1;
    let at = start;
    while (at < end) {
      if (this.#state === "body" || this.#state === "chunk") {
        const stop = Math.min(end, at + this.#left);
        this.#left -= stop - at;
        settled = at = stop;
        if (this.#left === 0) this.#state = this.#state === "body" ? "line" : "chunk-end";
        continue;
      }
      const lf = data.indexOf(0x0a, at);
      const stop = lf === -1 || lf >= end ? end : lf + 1;
      if (this.#state === "line" && this.#line === "") this.#start = offset + at - start;
      this.#line += text(data, at, stop);
      const whole = stop > at && data[stop - 1] === 0x0a;
      this.#head += stop - at;
      at = stop;
      const what = this.#check();
      if (what !== undefined) {
        found(what);
        return { at: end, settled };
      }
      if (!whole) continue;
      const line = this.#line.replace(/\r?\n$/, "");
      this.#line = "";
      const result = this.#whole(line, offset + at - start);
      if (result === undefined) {
        if (this.#state !== "header" && this.#state !== "line") settled = at;
        // An empty line before a request.
        if (this.#state === "line") settled = at;
        continue;
      }
      if (!found(result)) return { at, settled: result.kind === "request" ? at : settled };
      settled = at;
    }
    return { at, settled };
  }

  #check(): Found | undefined {
    const { line, header, head } = this.#limits;
    const long = (what: keyof RequestLimits): Found => ({
      kind: "long",
      what,
      start: this.#requestLine === "" ? this.#line.slice(0, 200) : this.#requestLine.slice(0, 200),
    });
    if (this.#state === "line") {
      if (this.#line.length > line) return long("line");
      if (/^[^A-Za-z\r\n]/.test(this.#line)) {
        return { kind: "other", start: this.#line.slice(0, 40) };
      }
    } else if (this.#line.length > header) return long("header");
    return this.#head > head ? long("head") : undefined;
  }

  #whole(line: string, end: number): Found | undefined {
    switch (this.#state) {
      case "line":
        this.#headers = [];
        if (line === "") {
          this.#head = 0;
          return undefined;
        }
        this.#requestLine = line;
        if (/ HTTP\/\d/.test(line)) {
          this.#state = "header";
          return undefined;
        }
        // HTTP/0.9 has no more than that.
        if (/^[A-Za-z]+ \S/.test(line)) return this.#request(end);
        return { kind: "other", start: line.slice(0, 40) };
      case "header": {
        if (line === "") return this.#request(end);
        const last = this.#headers.at(-1);
        if (/^[ \t]/.test(line) && last !== undefined) last[1] += line;
        else {
          const colon = line.indexOf(":");
          this.#headers.push([
            line.slice(0, Math.max(0, colon)).trim().toLowerCase(),
            line.slice(colon + 1).trim(),
          ]);
        }
        return undefined;
      }
      case "chunk-size": {
        const size = /^\s*([0-9a-f]{1,12})\s*(;.*)?$/i.exec(line)?.[1];
        this.#head = 0;
        if (size === undefined) return { kind: "ambiguous", what: "a chunk without a size" };
        this.#left = parseInt(size, 16);
        this.#state = this.#left === 0 ? "trailer" : "chunk";
        return undefined;
      }
      case "chunk-end":
        this.#head = 0;
        this.#state = "chunk-size";
        return line === ""
          ? undefined
          : { kind: "ambiguous", what: "a chunk longer than its size" };
      case "trailer":
        if (line === "") {
          this.#state = "line";
          this.#head = 0;
        }
        return undefined;
      default:
        return undefined;
    }
  }

  #request(end: number): Found {
    const [, method = "", target = ""] = /^(\S+)\s+(.*?)(?:\s+HTTP\/[\d.]+\s*)?$/s.exec(
      this.#requestLine,
    ) ?? [];
    const headers = this.#headers;
    this.#state = "line";
    this.#head = 0;
    this.#requestLine = "";
    const lengths = new Set(
      headers.flatMap(([n, v]) => n === "content-length" ? v.split(",") : []),
    );
    const coding = headers.filter(([n]) => n === "transfer-encoding").map(([, v]) =>
      v.toLowerCase()
    );
    if (coding.length > 0) {
      if (lengths.size > 0) return { kind: "ambiguous", what: "a length and a transfer coding" };
      if (!/^([^,]*,)*\s*chunked\s*$/.test(coding.join(","))) {
        return { kind: "ambiguous", what: `transfer coding ${coding.join(",").slice(0, 80)}` };
      }
      this.#state = "chunk-size";
    } else if (lengths.size > 0) {
      const [length = ""] = lengths;
      if (lengths.size > 1 || !/^\s*\d{1,15}\s*$/.test(length)) {
        return { kind: "ambiguous", what: `lengths ${[...lengths].join(",").slice(0, 80)}` };
      }
      this.#left = Number(length);
      this.#state = this.#left > 0 ? "body" : "line";
    }
    return { kind: "request", request: { method, target, headers, start: this.#start, end } };
  }
}

function text(data: Uint8Array, start: number, end: number): string {
  let out = "";
  for (let at = start; at < end; at += 4096) {
    out += String.fromCharCode(...data.subarray(at, Math.min(end, at + 4096)));
  }
  return out;
}
