/**
 * The registered texts that the scanner can put into a message, and how a change is made of them. The scanner knows
 * their names and lengths only: `part:210` stands for a part's header and body of 210 bytes.
 *
 * @module
 */
import type { Message } from "./message.ts";
import type { Change } from "./removal.ts";

/** What texts are for. */
type Kind = "part" | "type" | "body" | "help" | "pad";

interface Registered {
  readonly index: number;
  readonly length: number;
}

/** One cut, with what comes in its place. */
export interface Step {
  readonly offset: number;
  readonly length: number;
  readonly injections: readonly number[];
}

/** The registered texts. */
export class Injections {
  readonly #known = new Map<Kind, Registered>();
  /** By length, longest first. */
  readonly #pads: Registered[] = [];

  /** @param names of all injections, by index. */
  constructor(names: readonly string[]) {
    for (const [index, name] of names.entries()) {
      const found = /^(part|type|body|help|pad):(\d{1,7})$/.exec(name);
      if (found === null) continue;
      const kind = found[1] as Kind;
      const length = Number(found[2]);
      if (kind === "pad") this.#pads.push({ index, length });
      else this.#known.set(kind, { index, length });
    }
    this.#pads.sort((a, b) => b.length - a.length);
  }

  /** Where a text is registered. */
  index(kind: Kind): number | undefined {
    return this.#known.get(kind)?.index;
  }

  /** How changes are made; undefined when they cannot be: parts have gone on already. */
  plan(message: Message, changes: readonly Change[]): Step[] | undefined {
    const least = Math.max(message.fixedUntil, message.passedUntil);
    const pieces = message.info.piece !== undefined;
    const possible: Change[] = [];
    for (const change of changes) {
      if (change.start >= least) possible.push(change);
      // Of what came in pieces the rest is enough: without it the file is none.
      else if (pieces && change.end > least) {
        possible.push({ ...change, start: least, text: undefined });
      } else if (change.text === "type" || change.text === undefined) continue;
      else if (message.passedUntil > message.fixedUntil || change.end <= least) return undefined;
      else possible.push({ ...change, start: least, text: change.text });
    }
    return message.info.fixed ? this.#fixed(message, possible) : this.#free(message, possible);
  }

  #free(message: Message, changes: readonly Change[]): Step[] {
    return changes.map((change) => {
      const text = change.text === undefined ? undefined : this.index(change.text);
      return { ...this.#range(message, change), injections: text === undefined ? [] : [text] };
    });
  }

  /** As many bytes as were cut come in their place, where a length was told before. */
  #fixed(message: Message, changes: readonly Change[]): Step[] | undefined {
    const full = this.#padded(message, changes, true);
    if (full !== undefined) return full;
    const bodies = changes.filter(({ start, end, text }) => end > start && text !== undefined);
    return this.#padded(message, bodies.length > 0 ? bodies : changes, false);
  }

  #padded(message: Message, changes: readonly Change[], texts: boolean): Step[] | undefined {
    const lengthOf = ({ text }: Change) =>
      texts && text !== undefined ? this.#known.get(text)?.length ?? 0 : 0;
    const cut = changes.reduce((sum, { start, end }) => sum + end - start, 0);
    const put = changes.reduce((sum, change) => sum + lengthOf(change), 0);
    if (put > cut) return undefined;
    const pad = this.#padding(cut - put);
    if (pad === undefined) return undefined;
    // The padding goes behind the last text: blanks at a body's end do not matter.
    const last = changes.findLastIndex(({ start, end }) => end > start);
    return changes.map((change, place) => {
      const text = texts && change.text !== undefined ? this.index(change.text) : undefined;
      return {
        ...this.#range(message, change),
        injections: [...text === undefined ? [] : [text], ...place === last ? pad : []],
      };
    });
  }

  #padding(count: number): number[] | undefined {
    const out: number[] = [];
    let left = count;
    for (const { index, length } of this.#pads) {
      while (left >= length) {
        out.push(index);
        left -= length;
      }
    }
    return left === 0 ? out : undefined;
  }

  #range(message: Message, { start, end }: Change): { offset: number; length: number } {
    const offset = message.changeStart(start);
    return { offset, length: end > start ? message.streamOffset(end - 1) + 1 - offset : 0 };
  }
}
