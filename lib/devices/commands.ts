/**
 * The commands of a simulated command line: keywords may be shortened as long as they stay clear, arguments
 * follow.
 *
 * @module
 */

/** What a command line comes to. */
export type Found<T> =
  | { readonly kind: "command"; readonly run: T; readonly args: readonly string[] }
  | { readonly kind: "ambiguous" }
  | { readonly kind: "incomplete" }
  /** The word at which it is not understood. */
  | { readonly kind: "unknown"; readonly at: number };

interface Command<T> {
  readonly words: readonly string[];
  readonly run: T;
}

/** The commands of one mode. */
export class CommandTable<T> {
  readonly #commands: Command<T>[] = [];

  /**
   * Adds a command: keywords, `<x>` for an argument, `[x]` for one that may be missing, `...` for any number.
   */
  add(spec: string, run: T): this {
    this.#commands.push({ words: spec.split(" "), run });
    return this;
  }

  /** Finds the command of a line. */
  find(line: string): Found<T> {
    const words = line.trim().split(/\s+/);
    const fits: { run: T; args: string[]; exact: number; literal: number }[] = [];
    let incomplete = false;
    let furthest = 0;
    for (const command of this.#commands) {
      const result = match(command.words, words);
      furthest = Math.max(furthest, result.at);
      if (result.kind === "incomplete") incomplete = true;
      if (result.kind === "fits") fits.push({ run: command.run, ...result });
    }
    fits.sort((a, b) => b.exact - a.exact || b.literal - a.literal);
    const [best, second] = fits;
    if (best !== undefined) {
      const clear = second === undefined || best.exact > second.exact ||
        best.literal > second.literal;
      return clear ? { kind: "command", run: best.run, args: best.args } : { kind: "ambiguous" };
    }
    return incomplete ? { kind: "incomplete" } : { kind: "unknown", at: furthest };
  }
}

function match(spec: readonly string[], words: readonly string[]):
  | { kind: "fits"; args: string[]; exact: number; literal: number; at: number }
  | { kind: "incomplete" | "unknown"; at: number } {
  const args: string[] = [];
  let exact = 0;
  let literal = 0;
  for (const [i, part] of spec.entries()) {
    const word = words[i];
    if (part === "...") {
      return { kind: "fits", args: [...args, ...words.slice(i)], exact, literal, at: i };
    }
    if (word === undefined) {
      return part.startsWith("[")
        ? { kind: "fits", args, exact, literal, at: i }
        : { kind: "incomplete", at: i };
    }
    if (part.startsWith("<") || part.startsWith("[")) args.push(word);
    else if (part === word) [exact, literal] = [exact + 1, literal + 1];
    else if (part.startsWith(word)) literal++;
    else return { kind: "unknown", at: i };
  }
  return words.length > spec.length
    ? { kind: "unknown", at: spec.length }
    : { kind: "fits", args, exact, literal, at: words.length };
}
