/**
 * The pinholes of one address family as rules in a tree of chains: what is there, and what a batch of
 * changes makes of it.
 *
 * @module
 */
import { tupleKey, tupleText } from "../lib/pinhole/pinhole.ts";
import type { FiveTuple } from "../lib/pinhole/pinhole.ts";
import type { ChangeResult, EnforcerChange, ListedEntry } from "./enforcer.ts";
import type { SavedRule, SavedTable } from "./iptables_text.ts";
import { isTreeChain, leafOf, pinholeSpec, specPinhole, stepsTo } from "./iptables_tree.ts";

/** Rules that are one pinhole. There is more than one only when somebody else added it. */
interface Entry {
  readonly tuple: FiveTuple;
  readonly chain: string;
  readonly specs: readonly string[];
}

/** One line of a batch, and the pinhole that it is about (none: a chain of the tree). */
export interface BatchLine {
  readonly text: string;
  readonly key: string | undefined;
}

/** What a batch comes to: lines to run, results if they succeed, and what is there afterwards. */
export interface Batch {
  readonly lines: readonly BatchLine[];
  readonly results: ChangeResult[];
  /** Makes the memory what the lines make of the enforcer. */
  readonly commit: () => void;
}

/** What is known of one family's tree. */
export class PinholeTree {
  readonly #prefix: string;
  readonly #capacity: number;
  #entries = new Map<string, Entry>();
  #chains = new Set<string>();
  /** Pinholes in each leaf. */
  #used = new Map<string, number>();

  constructor(prefix: string, capacity: number) {
    this.#prefix = prefix;
    this.#capacity = capacity;
  }

  /** False when the root of the tree is not there: then nothing can be opened. */
  get rooted(): boolean {
    return this.#chains.has(this.#prefix);
  }

  /**
   * Takes what the table holds as what is there, and lists it.
   *
   * @returns the pinholes, and whether the tree has only what belongs in it.
   */
  read(table: SavedTable): { entries: ListedEntry[]; clean: boolean } {
    this.#entries = new Map();
    this.#used = new Map();
    this.#chains = new Set(table.chains.keys().filter((name) => isTreeChain(this.#prefix, name)));
    const listed = new Map<string, ListedEntry>();
    const jumps = new Map<string, string[]>();
    let clean = this.rooted;
    for (const rule of table.rules) {
      if (!isTreeChain(this.#prefix, rule.chain)) continue;
      const tuple = specPinhole(rule.spec);
      if (tuple === undefined || leafOf(this.#prefix, tuple) !== rule.chain) {
        const found = jumps.get(rule.chain);
        if (found === undefined) jumps.set(rule.chain, [rule.spec]);
        else found.push(rule.spec);
      } else this.#found(rule, tuple, listed);
    }
    const known = this.#jumps();
    for (const [chain, specs] of jumps) {
      const wanted = known.get(chain);
      if (specs.some((spec) => wanted?.delete(spec) !== true)) clean = false;
    }
    for (const missing of known.values()) if (missing.size > 0) clean = false;
    return { entries: [...listed.values()], clean };
  }

  /** The lines that make the tree anew with the pinholes that were read; counters are kept. */
  rebuild(entries: readonly ListedEntry[]): string[] {
    const jumps = new Map<string, string>();
    const rules = entries.map(({ tuple, packets, bytes }) => {
      for (const step of stepsTo(this.#prefix, tuple)) jumps.set(step.chain, jump(step));
      const spec = this.#entries.get(tupleKey(tuple))?.specs[0] ?? pinholeSpec(tuple, 0);
      return `-A ${leafOf(this.#prefix, tuple)} -c ${packets} ${bytes} ${spec}`;
    });
    const empty = [...this.#chains].filter((name) => name !== this.#prefix && !jumps.has(name));
    return [
      // Declaring a chain empties it.
      ...[this.#prefix, ...jumps.keys()].map((name) => `:${name} - [0:0]`),
      ...empty.map((name) => `-F ${name}`),
      ...jumps.values(),
      ...rules,
      ...empty.map((name) => `-X ${name}`),
    ];
  }

  /** All chains of the tree that were found. */
  get chains(): readonly string[] {
    return [...this.#chains];
  }

  /**
   * What a batch comes to. Changes of one pinhole take effect in order: what counts is how it ends.
   *
   * @param refused pinholes that the enforcer has refused already, with its message.
   */
  plan(batch: readonly EnforcerChange[], refused: ReadonlyMap<string, string>): Batch {
    const will = new Map<string, { open: boolean; id: number; tuple: FiveTuple; anew: boolean }>();
    let size = this.#entries.size;
    const results = batch.map(({ action, tuple, id }): ChangeResult => {
      const key = tupleKey(tuple);
      const message = refused.get(key);
      if (message !== undefined) return { ok: false, reason: "refused", message };
      const before = will.get(key);
      const open = before?.open ?? this.#entries.has(key);
      if (open === (action === "open")) return { ok: true };
      if (action === "close") {
        size--;
        will.set(key, { open: false, id, tuple, anew: true });
        return { ok: true };
      }
      if (size >= this.#capacity) {
        const text = `there are ${size} pinholes already: no room for ${tupleText(tuple)}`;
        return { ok: false, reason: "full", message: text };
      }
      size++;
      will.set(key, { open: true, id, tuple, anew: before?.anew ?? false });
      return { ok: true };
    });
    const removed = new Map<string, { key: string; entry: Entry }[]>();
    const added: { key: string; entry: Entry }[] = [];
    for (const [key, { open, id, tuple }] of will) {
      const entry = this.#entries.get(key);
      if (entry !== undefined) {
        const list = removed.get(entry.chain);
        if (list === undefined) removed.set(entry.chain, [{ key, entry }]);
        else list.push({ key, entry });
      }
      if (!open) continue;
      const chain = leafOf(this.#prefix, tuple);
      added.push({ key, entry: { tuple, chain, specs: [pinholeSpec(tuple, id)] } });
    }
    const chains = new Set<string>();
    const lines = [
      ...this.#growth(added.map(({ entry }) => entry.tuple), chains),
      ...this.#removals(removed),
      ...added.map(({ key, entry }) => ({ text: `-A ${entry.chain} ${entry.specs[0]}`, key })),
    ];
    const commit = () => {
      for (const name of chains) this.#chains.add(name);
      for (const list of removed.values()) {
        for (const { key, entry } of list) {
          this.#entries.delete(key);
          this.#count(entry.chain, -1);
        }
      }
      for (const { key, entry } of added) {
        this.#entries.set(key, entry);
        this.#count(entry.chain, 1);
      }
    };
    return { lines, results, commit };
  }

  #found(rule: SavedRule, tuple: FiveTuple, listed: Map<string, ListedEntry>): void {
    const key = tupleKey(tuple);
    const before = this.#entries.get(key);
    const specs = [...before?.specs ?? [], rule.spec];
    this.#entries.set(key, { tuple, chain: rule.chain, specs });
    if (before === undefined) this.#count(rule.chain, 1);
    const seen = listed.get(key);
    listed.set(key, {
      tuple,
      packets: (seen?.packets ?? 0) + (rule.packets ?? 0),
      bytes: (seen?.bytes ?? 0) + (rule.bytes ?? 0),
      expires: undefined,
    });
  }

  /** The jumps that the chains of the tree must have, by the chain that they stand in. */
  #jumps(): Map<string, Set<string>> {
    const jumps = new Map<string, Set<string>>();
    for (const name of this.#chains) {
      const [letter, page] = [
        name.at(this.#prefix.length + 1),
        name.slice(this.#prefix.length + 2),
      ];
      if (name === this.#prefix) continue;
      const tuple = {
        protocol: letter === "T" ? "tcp" : "udp",
        destinationPort: parseInt(page.padEnd(2, "0") || "00", 16) << 8,
      } as FiveTuple;
      const step = stepsTo(this.#prefix, tuple)[page.length];
      if (step === undefined) continue;
      const set = jumps.get(step.parent) ?? new Set();
      jumps.set(step.parent, set.add(step.jump));
    }
    return jumps;
  }

  /** Lines for chains that are not there yet. */
  #growth(tuples: readonly FiveTuple[], made: Set<string>): BatchLine[] {
    const lines: BatchLine[] = [];
    for (const tuple of tuples) {
      if (this.#chains.has(leafOf(this.#prefix, tuple))) continue;
      for (const step of stepsTo(this.#prefix, tuple)) {
        if (this.#chains.has(step.chain) || made.has(step.chain)) continue;
        made.add(step.chain);
        lines.push({ text: `-N ${step.chain}`, key: undefined });
        lines.push({ text: jump(step), key: undefined });
      }
    }
    return lines;
  }

  /** Emptying a whole chain takes one line; else each rule is one, which iptables looks for. */
  #removals(removed: ReadonlyMap<string, { key: string; entry: Entry }[]>): BatchLine[] {
    return [...removed].flatMap(([chain, list]): BatchLine[] =>
      list.length === this.#used.get(chain)
        ? [{ text: `-F ${chain}`, key: undefined }]
        : list.flatMap(({ key, entry }) =>
          entry.specs.map((spec) => ({ text: `-D ${chain} ${spec}`, key }))
        )
    );
  }

  #count(chain: string, difference: number): void {
    this.#used.set(chain, (this.#used.get(chain) ?? 0) + difference);
  }
}

function jump(step: { readonly parent: string; readonly jump: string }): string {
  return `-A ${step.parent} ${step.jump}`;
}
