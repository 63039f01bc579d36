/**
 * A reader that cuts, injects and passes by a plan, in pieces and with pauses, and knows what must come of it.
 *
 * @module
 */
import type { Direction } from "../../../lib/ni/frame.ts";
import type { Connection } from "../../../lib/ni/stream/connection.ts";
import type { StreamReader, Subscription } from "../../../lib/ni/stream/subscriber.ts";

/** Changes of one direction's stream. */
export interface EditPlan {
  /** In order, not overlapping. */
  readonly cuts: readonly { readonly at: number; readonly length: number }[];
  readonly injections: readonly { readonly at: number; readonly bytes: Uint8Array }[];
  /** Nothing is decided before so many bytes are there; then again so many. */
  readonly step: number;
}

/** What a stream becomes. */
export function edited(stream: Uint8Array, { cuts, injections }: EditPlan): Uint8Array {
  const out: number[] = [];
  for (let i = 0; i <= stream.length; i++) {
    for (const { at, bytes } of injections) if (at === i) out.push(...bytes);
    if (i === stream.length) break;
    if (!cuts.some(({ at, length }) => at <= i && i < at + length)) out.push(stream[i] as number);
  }
  return Uint8Array.from(out);
}

/** The reader. */
export class Editor implements StreamReader {
  readonly contain = true;
  readonly holdLimit = Infinity;
  readonly seen: [number[], number[]] = [[], []];
  readonly ended: [boolean, boolean] = [false, false];
  closedBy: string | undefined;
  readonly #plans: readonly [EditPlan, EditPlan];
  readonly #done: [number, number] = [0, 0];
  readonly #planned: [boolean, boolean] = [false, false];
  readonly #later: (milliseconds: number, run: () => void) => void;
  readonly #pause: () => number;
  readonly #of: (reader: StreamReader) =>
    | { connection: Connection; subscription: Subscription }
    | undefined;

  constructor(
    plans: readonly [EditPlan, EditPlan],
    of: (reader: StreamReader) =>
      | { connection: Connection; subscription: Subscription }
      | undefined,
    later: (milliseconds: number, run: () => void) => void,
    pause: () => number,
  ) {
    this.#plans = plans;
    this.#of = of;
    this.#later = later;
    this.#pause = pause;
  }

  room(): number {
    return 20_000;
  }

  data(direction: Direction, offset: number, bytes: Uint8Array): void {
    const i = direction === "from-host" ? 0 : 1;
    if (offset !== this.seen[i].length) {
      throw new Error(`bytes at ${offset}, not ${this.seen[i].length}`);
    }
    this.seen[i].push(...bytes);
    this.#later(this.#pause(), () => this.#decide(i));
  }

  gap(): void {
    throw new Error("a gap in a contained stream");
  }

  end(direction: Direction): void {
    const i = direction === "from-host" ? 0 : 1;
    this.ended[i] = true;
    this.#later(this.#pause(), () => this.#decide(i));
  }

  closed(reason: string): void {
    this.closedBy = reason;
  }

  /** Decides about what is there; asks for more when it is too little. */
  #decide(i: 0 | 1): void {
    const entry = this.#of(this);
    if (entry === undefined || this.closedBy !== undefined) return;
    const { connection, subscription } = entry;
    const { cuts, injections, step } = this.#plans[i];
    const there = this.seen[i].length;
    if (there - this.#done[i] < step && !this.ended[i]) {
      return connection.more(subscription, i, this.#done[i] + step);
    }
    if (!this.#planned[i] && (cuts.length > 0 || injections.length > 0)) {
      this.#planned[i] = true;
      for (const { at, bytes } of injections) must(connection.inject(subscription, i, at, bytes));
      for (const { at, length } of cuts) must(connection.cut(subscription, i, at, length));
    }
    this.#done[i] = there;
    connection.pass(subscription, i, there, false);
    // What is put behind the last byte needs that byte to be undecided: see `step`.
  }
}

function must(wrong: string | undefined): void {
  if (wrong !== undefined) throw new Error(wrong);
}
