/**
 * A connection as the NI kernel would hold it, in memory: what would reach each end, and every request checked.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mailTexts } from "../../../lib/ni/mail_texts.ts";
import type { Alert, Direction, Ni, Stream, StreamHandler } from "../../../niapp/sdk/mod.ts";
import type { Scanner } from "../../../niapp/sdk/mod.ts";

const INJECTIONS = mailTexts();

interface Sent {
  bytes: number[];
  passed: number;
  cuts: [start: number, end: number][];
  injections: { offset: number; index: number }[];
  more: number;
}

/** A connection. */
export class FakeStream implements Stream {
  readonly number = 1;
  readonly client = { address: "192.0.2.10", port: 40_000 };
  readonly server: { address: string; port: number };
  readonly opener = "host";
  readonly clientDirection = "from-host";
  readonly held = true;
  readonly midstream = false;
  readonly subscriptions = 1;
  readonly alerts: { alert: Alert; original: Uint8Array | undefined }[] = [];
  killed = false;
  released = false;
  handler: StreamHandler | undefined;
  readonly #sent: Record<Direction, Sent> = { "from-host": sent(), "to-host": sent() };

  constructor(port: number) {
    this.server = { address: "192.0.2.25", port };
  }

  pass(direction: Direction, upTo: number = Number.MAX_SAFE_INTEGER): void {
    const side = this.#sent[direction];
    assert.ok(upTo >= side.passed, "passed twice");
    side.passed = upTo;
  }

  cut(direction: Direction, offset: number, length: number): void {
    const side = this.#sent[direction];
    assert.ok(offset >= side.passed, `cut at ${offset}, passed to ${side.passed}`);
    assert.ok(length > 0 && offset + length <= side.bytes.length, "cut of what did not come");
    assert.ok(side.cuts.every(([start, end]) => offset >= end || offset + length <= start));
    side.cuts.push([offset, offset + length]);
  }

  inject(direction: Direction, offset: number, index: number): void {
    const side = this.#sent[direction];
    assert.ok(offset >= side.passed && offset <= side.bytes.length, `injected at ${offset}`);
    assert.ok(index >= 0 && index < INJECTIONS.length);
    side.injections.push({ offset, index });
  }

  more(direction: Direction): void {
    this.#sent[direction].more++;
  }

  kill(): void {
    this.killed = true;
  }

  release(): void {
    this.released = true;
    for (const side of Object.values(this.#sent)) side.passed = Number.MAX_SAFE_INTEGER;
  }

  alert(
    alert: Alert,
    original?: { direction: Direction; offset: number; length: number },
  ): void {
    const bytes = original === undefined ? undefined : Uint8Array.from(
      this.#sent[original.direction].bytes.slice(
        original.offset,
        original.offset + original.length,
      ),
    );
    this.alerts.push({ alert, original: bytes });
  }

  /** One end sends. */
  send(fromClient: boolean, bytes: Uint8Array): void {
    const direction = fromClient ? "from-host" : "to-host";
    const side = this.#sent[direction];
    const offset = side.bytes.length;
    for (const byte of bytes) side.bytes.push(byte);
    if (this.killed || this.released) return;
    this.handler?.data({ direction, fromClient, offset, bytes });
  }

  /** One end sends nothing more. */
  end(fromClient: boolean): void {
    const direction = fromClient ? "from-host" : "to-host";
    if (this.killed || this.released) return;
    this.handler?.end?.(direction, this.#sent[direction].bytes.length);
  }

  /** What the other end has got. */
  received(fromClient: boolean): Uint8Array {
    const side = this.#sent[fromClient ? "from-host" : "to-host"];
    const out: number[] = [];
    const last = Math.min(side.bytes.length, side.passed);
    for (let at = 0; at <= last; at++) {
      for (const { offset, index } of side.injections) {
        // What is put at the end of what was passed goes with the next byte.
        if (offset === at && (at < last || isCut(side, at))) out.push(...text(index));
      }
      if (at < last && !isCut(side, at)) out.push(side.bytes[at] as number);
    }
    return Uint8Array.from(out);
  }

  /** Signatures of alerts. */
  get signatures(): string[] {
    return this.alerts.map(({ alert }) => alert.signature);
  }
}

function text(index: number): Uint8Array {
  return (INJECTIONS[index] as { frame: Uint8Array }).frame;
}

function sent(): Sent {
  return { bytes: [], passed: 0, cuts: [], injections: [], more: 0 };
}

function isCut({ cuts }: Sent, at: number): boolean {
  return cuts.some(([start, end]) => at >= start && at < end);
}

/** The part of the kernel that is not about one connection. */
export function fakeNi(options: Readonly<Record<string, unknown>>, more: Partial<Ni> = {}): Ni {
  const unused = () => {
    throw new Error("not used here");
  };
  return {
    now: 0,
    options,
    hostNetworks: [],
    linkType: 1,
    streamLimit: 64 * 1024 * 1024,
    injections: INJECTIONS.map(({ name }) => name),
    subscribe: unused,
    subscribeStreams: () => 0,
    decide: unused,
    inject: unused,
    alert: unused,
    finish: unused,
    wakeAt: () => {},
    ...more,
  } as Ni;
}

/** A scanner with one connection. */
export function connect(scanner: Scanner, port: number, ni: Ni): FakeStream {
  const stream = new FakeStream(port);
  scanner.start(ni);
  const handler = scanner.stream?.(stream, ni);
  if (handler !== undefined) stream.handler = handler as StreamHandler;
  return stream;
}
