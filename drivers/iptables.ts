/**
 * The iptables driver: this host, or the networks behind it, guarded by chains of our own in the table
 * `filter` of iptables and ip6tables, over either of its back ends. A batch is one iptables-restore for
 * each address family, and so one transaction.
 *
 * @module
 */
import { type FiveTuple, tupleKey } from "../lib/pinhole/pinhole.ts";
import {
  type ChangeResult,
  type Counters,
  type Enforcer,
  type EnforcerCapabilities,
  type EnforcerChange,
  type ListedEntry,
} from "./enforcer.ts";
import { HostPerimeter, type HostPerimeterOptions } from "./iptables_host.ts";
import { PinholeTree } from "./iptables_pinholes.ts";
import {
  failedLine,
  type FilterTable,
  type IptablesBackend,
  restoreRest,
  restoreStart,
  restoreText,
} from "./iptables_tools.ts";
import { tupleProblem } from "./nftables_tuple.ts";
import type { OpenPort } from "./nftables_rules.ts";

/** What the driver is made with; everything has a default. */
export interface IptablesOptions extends HostPerimeterOptions {
  /** Default: the one that `iptables` is on this host. */
  readonly backend?: IptablesBackend;
}

/** The iptables enforcer, with what only it can do. */
export interface IptablesEnforcer extends Enforcer {
  /** Makes these the ports that are open to all, instead of those before, in one transaction. */
  setOpenPorts(ports: readonly OpenPort[]): Promise<void>;
  /** Packets that the perimeter did not let in since its chains were made. */
  statistics(): { readonly dropped: Counters; readonly invalid: Counters };
  intact(): boolean;
}

/** Times that a batch is tried with what was read back after it had failed. */
const ATTEMPTS = 8;

/**
 * Makes the driver; nothing is touched before connect().
 *
 * @throws {EnforcerError} for options that cannot be a perimeter.
 */
export function createIptables(options: IptablesOptions = {}): IptablesEnforcer {
  return new Iptables(
    new HostPerimeter("iptables", options, options.backend ?? "default", 16_384),
  );
}

interface Family {
  readonly table: FilterTable;
  readonly tree: PinholeTree;
}

class Iptables implements IptablesEnforcer {
  readonly name = "iptables";
  readonly capabilities: EnforcerCapabilities;
  readonly #perimeter: HostPerimeter;
  readonly #families: readonly Family[];

  constructor(perimeter: HostPerimeter) {
    this.#perimeter = perimeter;
    const { capacity, prefix } = perimeter.options;
    this.#families = perimeter.tables.map((table) => ({
      table,
      tree: new PinholeTree(prefix, capacity),
    }));
    this.capabilities = {
      atomic: true,
      counterAge: 0,
      capacity,
      optimalBatch: 1000,
      ipv6: true,
      sourcePorts: true,
      portRanges: false,
      persistent: false,
      leases: false,
    };
  }

  async connect(): Promise<void> {
    this.#perimeter.open();
    try {
      for (const { table, tree } of this.#families) await this.#makePerimeter(table, tree);
    } catch (error) {
      this.#perimeter.close();
      throw error;
    }
  }

  async apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    this.#perimeter.connected();
    const results = new Array<ChangeResult>(batch.length);
    const parts = this.#split(batch, (index, message) => {
      results[index] = { ok: false, reason: "refused", message };
    });
    await Promise.all(this.#families.map(async (family, which) => {
      const { changes, places } = parts[which] as Part;
      if (changes.length === 0) return;
      const made = await applyFamily(family, changes);
      for (let i = 0; i < made.length; i++) {
        results[places[i] as number] = made[i] as ChangeResult;
      }
    }));
    return results;
  }

  async counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]> {
    const found = new Map(
      (await this.list()).map(({ tuple, packets, bytes }) => [tupleKey(tuple), { packets, bytes }]),
    );
    return tuples.map((tuple) => found.get(tupleKey(tuple)));
  }

  async list(): Promise<ListedEntry[]> {
    this.#perimeter.connected();
    const lists = await Promise.all(
      this.#families.map(async ({ table, tree }) => tree.read(await table.save()).entries),
    );
    return lists.flat();
  }

  async inspect(): Promise<ListedEntry[]> {
    const { prefix, capacity } = this.#perimeter.options;
    const lists = await Promise.all(
      this.#families.map(async ({ table }) =>
        new PinholeTree(prefix, capacity).read(await table.save()).entries
      ),
    );
    return lists.flat();
  }

  endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    return this.#perimeter.endConnections(tuples);
  }

  plan(batch: readonly EnforcerChange[]): string {
    const refused: string[] = [];
    const parts = this.#split(batch, (_, message) => refused.push(`# refused: ${message}\n`));
    return this.#families.map(({ table, tree }, which) => {
      const { changes } = parts[which] as Part;
      const { lines, commit } = tree.plan(changes, new Map());
      if (!this.#perimeter.isOpen) commit();
      return lines.length === 0 ? "" : `# ${table.command}\n${restoreText(lines)}`;
    }).join("") + refused.join("");
  }

  async check(batch: readonly EnforcerChange[]): Promise<string | undefined> {
    const { prefix, capacity } = this.#perimeter.options;
    const parts = this.#split(batch, () => {});
    for (const [which, { table }] of this.#families.entries()) {
      const tree = new PinholeTree(prefix, capacity);
      tree.read(await table.save());
      const { changes } = parts[which] as Part;
      const { lines } = tree.plan(changes, new Map());
      if (lines.length === 0) continue;
      const root = tree.rooted ? [] : [`:${prefix} - [0:0]`];
      const result = await table.restore([...root, ...lines], true);
      if (result.code !== 0) return table.failure("take the batch", result).message;
    }
    return undefined;
  }

  intact(): boolean {
    const { prefix } = this.#perimeter.options;
    return this.#perimeter.intact(() => [`-j ${prefix}`]) &&
      this.#families.every(({ table }) => table.chain(prefix) !== undefined);
  }

  statistics(): { readonly dropped: Counters; readonly invalid: Counters } {
    return this.#perimeter.statistics();
  }

  async setOpenPorts(ports: readonly OpenPort[]): Promise<void> {
    this.#perimeter.setPorts(ports);
    for (const { table, tree } of this.#families) await this.#makePerimeter(table, tree);
  }

  close(): Promise<void> {
    this.#perimeter.close();
    return Promise.resolve();
  }

  async remove(): Promise<void> {
    for (const { table, tree } of this.#families) {
      const found = await table.save();
      tree.read(found);
      await this.#perimeter.remove(table, found, tree.chains);
      tree.read(await table.save());
    }
  }

  async #makePerimeter(table: FilterTable, tree: PinholeTree): Promise<void> {
    const found = await table.save();
    const { entries, clean } = tree.read(found);
    await this.#perimeter.make(
      table,
      found,
      [`-j ${this.#perimeter.options.prefix}`],
      clean ? [] : tree.rebuild(entries),
    );
    if (!clean) tree.read(await table.save());
  }

  /** The changes by family (IPv4 first, as the families are), with their places in the batch; those that cannot be are told. */
  #split(
    batch: readonly EnforcerChange[],
    refuse: (index: number, message: string) => void,
  ): Part[] {
    const parts: Part[] = this.#families.map(() => ({ changes: [], places: [] }));
    for (let i = 0; i < batch.length; i++) {
      const change = batch[i] as EnforcerChange;
      const problem = tupleProblem(change.tuple);
      if (problem !== undefined) {
        refuse(i, problem);
        continue;
      }
      const part = parts[change.tuple.source.family === 4 ? 0 : 1] as Part;
      part.changes.push(change);
      part.places.push(i);
    }
    return parts;
  }
}

/** The changes of one family, and where they stand in the batch. */
interface Part {
  readonly changes: EnforcerChange[];
  readonly places: number[];
}

/** Applies the changes of one family. A batch that fails is tried again with what is really there. */
async function applyFamily(
  { table, tree }: Family,
  batch: readonly EnforcerChange[],
): Promise<ChangeResult[]> {
  const refused = new Map<string, string>();
  let blamed: string | undefined;
  for (let attempt = 0;; attempt++) {
    // The program starts up while the batch is made.
    const tool = tree.changes(batch) ? table.begin() : undefined;
    let sent = 0;
    const making = tree.planning(batch, refused);
    let made = making.next();
    for (; made.done !== true; made = making.next()) {
      await tool?.feed(restoreStart(made.value));
      sent = made.value.length;
    }
    const plan = made.value;
    const { lines, results } = plan;
    const nothing = lines.length === 0;
    const rest = sent > 0 ? restoreRest(lines.slice(sent)) : restoreText(lines);
    const finishing = tool?.finish(nothing ? "" : rest);
    // It goes well nearly always, and there is time while the program works; else all is read anew.
    if (!nothing) plan.commit();
    const result = await finishing;
    if (nothing || result === undefined || result.code === 0) return results;
    // All or nothing: but after a time-out it is not known which, and a rule that is missing was
    // taken away by somebody else. What is there is read back either way.
    const { message } = table.failure("take the batch", result);
    tree.read(await table.save());
    if (attempt === ATTEMPTS || !tree.rooted) {
      return giveUp(batch, results, tree.plan(batch, refused), message);
    }
    const key = plan.keys[failedLine(result) ?? -1];
    if (key !== undefined && key === blamed) refused.set(key, message);
    blamed = key;
  }
}

/** What did not come about is refused; what is as it was wanted is done. */
function giveUp(
  batch: readonly EnforcerChange[],
  results: readonly ChangeResult[],
  left: { readonly lines: readonly string[]; readonly keys: readonly (string | undefined)[] },
  message: string,
): ChangeResult[] {
  const undone = new Set(left.keys);
  const flushed = left.lines.some((line) => line.startsWith("-F "));
  return results.map((result, i) => {
    const { tuple, action } = batch[i] as EnforcerChange;
    const missing = undone.has(tupleKey(tuple)) || (flushed && action === "close");
    return result.ok && missing ? { ok: false, reason: "refused", message } : result;
  });
}
