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
  readonly key: string;
  readonly tuple: FiveTuple;
  readonly chain: string;
  readonly specs: readonly string[];
}

/** What a batch comes to: lines to run, results if they succeed, and what is there afterwards. */
export interface Batch {
  readonly lines: readonly string[];
  /** For each line the pinhole that it is about; undefined: a chain of the tree. */
  readonly keys: readonly (string | undefined)[];
  readonly results: ChangeResult[];
  /** Makes the memory what the lines make of the enforcer. */
  readonly commit: () => void;
}

const DONE: ChangeResult = { ok: true };
/** From so many openings on, the first third is told while the rest is made. */
const LARGE = 500;

/** What is known of one family's tree. */
export class PinholeTree {
  readonly #prefix: string;
  readonly #capacity: number;
  #entries = new Map<string, Entry>();
  #chains = new Set<string>();
  /** Pinholes in each leaf. */
  #used = new Map<string, number>();
  /** Names of leaves, by protocol and page of ports. */
  readonly #leaves: (string | undefined)[] = new Array(512).fill(undefined);

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

  /** False when a batch finds everything as it wants it. */
  changes(batch: readonly EnforcerChange[]): boolean {
    return batch.some(({ action, tuple }) =>
      this.#entries.has(tupleKey(tuple)) !== (action === "open")
    );
  }

  /**
   * What a batch comes to. Changes of one pinhole take effect in order: what counts is how it ends.
   *
   * @param refused pinholes that the enforcer has refused already, with its message.
   */
  plan(batch: readonly EnforcerChange[], refused: ReadonlyMap<string, string>): Batch {
    const making = this.planning(batch, refused);
    for (;;) {
      const made = making.next();
      if (made.done === true) return made.value;
    }
  }

  /** The same; of a large batch of openings the first lines come before the others are made. */
  *planning(
    batch: readonly EnforcerChange[],
    refused: ReadonlyMap<string, string>,
  ): Generator<readonly string[], Batch> {
    return refused.size === 0 && batch.every(({ action }) => action === "open")
      ? yield* this.#planOpens(batch)
      : this.#planAny(batch, refused);
  }

  /** Openings only, which is what a busy controller has most: in one go, with little to remember. */
  *#planOpens(batch: readonly EnforcerChange[]): Generator<readonly string[], Batch> {
    const before = this.#entries;
    const room = this.#capacity - before.size;
    const added = new Map<string, Entry>();
    const chains = new Set<string>();
    const lines: string[] = [];
    const keys: (string | undefined)[] = [];
    const grow = (line: string) => {
      lines.push(line);
      keys.push(undefined);
    };
    const results = new Array<ChangeResult>(batch.length).fill(DONE);
    const early = batch.length >= LARGE ? Math.floor(batch.length / 3) : -1;
    for (let i = 0; i < batch.length; i++) {
      if (i === early && lines.length > 0) yield lines;
      const { tuple, id } = batch[i] as EnforcerChange;
      const key = tupleKey(tuple);
      if (before.has(key) || added.has(key)) continue;
      if (added.size >= room) {
        results[i] = this.#full(before.size + added.size, tuple);
        continue;
      }
      const chain = this.#leaf(tuple);
      const spec = pinholeSpec(tuple, id);
      const entry = { key, tuple, chain, specs: [spec] };
      added.set(key, entry);
      if (!this.#chains.has(chain) && !chains.has(chain)) this.#growth([entry], chains, grow);
      lines.push(`-A ${chain} ${spec}`);
      keys.push(key);
    }
    const commit = () => {
      for (const name of chains) this.#chains.add(name);
      for (const [key, entry] of added) {
        before.set(key, entry);
        this.#count(entry.chain, 1);
      }
    };
    return { lines, keys, results, commit };
  }

  #full(size: number, tuple: FiveTuple): ChangeResult {
    const message = `there are ${size} pinholes already: no room for ${tupleText(tuple)}`;
    return { ok: false, reason: "full", message };
  }

  #planAny(batch: readonly EnforcerChange[], refused: ReadonlyMap<string, string>): Batch {
    /** How the pinholes that change end: as an entry, or closed. */
    const will = new Map<string, Entry | null>();
    const before = this.#entries;
    let size = before.size;
    const results = batch.map(({ action, tuple, id }): ChangeResult => {
      const key = tupleKey(tuple);
      const message = refused.size === 0 ? undefined : refused.get(key);
      if (message !== undefined) return { ok: false, reason: "refused", message };
      const end = will.get(key);
      const open = end === undefined ? before.has(key) : end !== null;
      if (open === (action === "open")) return DONE;
      if (action === "close") {
        size--;
        will.set(key, null);
        return DONE;
      }
      if (size >= this.#capacity) {
        return this.#full(size, tuple);
      }
      size++;
      const chain = this.#leaf(tuple);
      will.set(key, { key, tuple, chain, specs: [pinholeSpec(tuple, id)] });
      return DONE;
    });
    const removed = new Map<string, Entry[]>();
    const added: Entry[] = [];
    for (const [key, wanted] of will) {
      const entry = before.get(key);
      if (entry !== undefined) {
        const list = removed.get(entry.chain);
        if (list === undefined) removed.set(entry.chain, [entry]);
        else list.push(entry);
      }
      if (wanted !== null) added.push(wanted);
    }
    const chains = new Set<string>();
    const lines: string[] = [];
    const keys: (string | undefined)[] = [];
    const line = (text: string, key?: string) => {
      lines.push(text);
      keys.push(key);
    };
    this.#growth(added, chains, line);
    this.#removals(removed, line);
    for (const { key, chain, specs } of added) line(`-A ${chain} ${specs[0]}`, key);
    const commit = () => {
      for (const name of chains) this.#chains.add(name);
      for (const list of removed.values()) {
        for (const entry of list) {
          this.#entries.delete(entry.key);
          this.#count(entry.chain, -1);
        }
      }
      for (const entry of added) {
        this.#entries.set(entry.key, entry);
        this.#count(entry.chain, 1);
      }
    };
    return { lines, keys, results, commit };
  }

  #found(rule: SavedRule, tuple: FiveTuple, listed: Map<string, ListedEntry>): void {
    const key = tupleKey(tuple);
    const before = this.#entries.get(key);
    const specs = [...before?.specs ?? [], rule.spec];
    this.#entries.set(key, { key, tuple, chain: rule.chain, specs });
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
  #growth(added: Iterable<Entry>, made: Set<string>, line: (text: string) => void): void {
    for (const entry of added) {
      if (this.#chains.has(entry.chain) || made.has(entry.chain)) continue;
      for (const step of stepsTo(this.#prefix, entry.tuple)) {
        if (this.#chains.has(step.chain) || made.has(step.chain)) continue;
        made.add(step.chain);
        line(`-N ${step.chain}`);
        line(jump(step));
      }
    }
  }

  /** Emptying a whole chain takes one line; else each rule is one, which iptables looks for. */
  #removals(
    removed: ReadonlyMap<string, readonly Entry[]>,
    line: (text: string, key?: string) => void,
  ): void {
    for (const [chain, list] of removed) {
      if (list.length === this.#used.get(chain)) {
        line(`-F ${chain}`);
        continue;
      }
      for (const { key, specs } of list) {
        for (const spec of specs) line(`-D ${chain} ${spec}`, key);
      }
    }
  }

  /** The chain of a pinhole: always the same string, which is found in maps at once. */
  #leaf(tuple: FiveTuple): string {
    const number = (tuple.protocol === "tcp" ? 0 : 256) + (tuple.destinationPort >> 8);
    return this.#leaves[number] ??= leafOf(this.#prefix, tuple);
  }

  #count(chain: string, difference: number): void {
    this.#used.set(chain, (this.#used.get(chain) ?? 0) + difference);
  }
}

function jump(step: { readonly parent: string; readonly jump: string }): string {
  return `-A ${step.parent} ${step.jump}`;
}
