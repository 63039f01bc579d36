/**
 * The text of iptables-save(8): tables, chains and rules as words, with counters.
 *
 * @module
 */

/** A rule as iptables-save prints it. */
export interface SavedRule {
  readonly chain: string;
  /** Undefined without counters (`iptables-save` without -c, `iptables -S`). */
  readonly packets: number | undefined;
  readonly bytes: number | undefined;
  /** What follows the chain's name, as it was printed: `-D CHAIN spec` takes exactly this rule away. */
  readonly spec: string;
}

/** One table as saved. */
export interface SavedTable {
  readonly name: string;
  /** Chains as declared, with their policy (`-` for those of users). */
  readonly chains: ReadonlyMap<string, string>;
  readonly rules: readonly SavedRule[];
}

const RULE = /^(?:\[(\d+):(\d+)\] )?-A (\S+)(?: (.*))?$/;

/** Reads the tables of a save; also `iptables -S`, as one table. Lines of another kind are left out. */
export function parseSave(text: string): SavedTable[] {
  const tables: { name: string; chains: Map<string, string>; rules: SavedRule[] }[] = [];
  const table = () => {
    if (tables.length === 0) tables.push({ name: "filter", chains: new Map(), rules: [] });
    return tables[tables.length - 1] as typeof tables[number];
  };
  for (const raw of text.split("\n")) {
    const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
    const first = line.charAt(0);
    if (first === "*") {
      tables.push({ name: line.slice(1).trim(), chains: new Map(), rules: [] });
    } else if (first === ":") {
      const [name = "", policy = "-"] = line.slice(1).split(" ");
      table().chains.set(name, policy);
    } else if (line.startsWith("-N ")) table().chains.set(line.slice(3).trim(), "-");
    else if (line.startsWith("-P ")) {
      const [, name = "", policy = "-"] = line.split(" ");
      table().chains.set(name, policy);
    } else if (first === "[" || first === "-") {
      const [, packets, bytes, chain, spec = ""] = RULE.exec(line) ?? [];
      if (chain === undefined) continue;
      table().rules.push({
        chain,
        packets: packets === undefined ? undefined : Number(packets),
        bytes: bytes === undefined ? undefined : Number(bytes),
        spec,
      });
    }
  }
  return tables;
}

/** The words of a rule; quotes are taken off as iptables-restore does. */
export function ruleWords(spec: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quoted = false;
  for (let i = 0; i < spec.length; i++) {
    const c = spec.charAt(i);
    if (c === "\\" && quoted && i + 1 < spec.length) word = (word ?? "") + spec.charAt(++i);
    else if (c === '"') {
      quoted = !quoted;
      word ??= "";
    } else if (!quoted && (c === " " || c === "\t")) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + c;
  }
  if (word !== undefined) words.push(word);
  return words;
}
