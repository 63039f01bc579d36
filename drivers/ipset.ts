/**
 * The ipset driver: pinholes are elements of two sets (one for each address family) that one rule of
 * iptables each lets in. Lookups do not depend on how many there are, and the kernel keeps the leases. A
 * set has no place for a source port: such pinholes are refused.
 *
 * @module
 */
import { type FiveTuple, tupleKey, tupleText } from "../lib/pinhole/pinhole.ts";
import {
  type ChangeResult,
  type Counters,
  type Enforcer,
  type EnforcerCapabilities,
  type EnforcerChange,
  EnforcerError,
  type ListedEntry,
} from "./enforcer.ts";
import { changeLine, savedPinholes, SET_TYPE } from "./ipset_text.ts";
import {
  beginRestore,
  failureOf,
  ipset,
  ipsetError,
  restore,
  restoreText,
  setHeader,
} from "./ipset_tools.ts";
import { HostPerimeter, type HostPerimeterOptions } from "./iptables_host.ts";
import type { FilterTable, IptablesBackend } from "./iptables_tools.ts";
import type { OpenPort } from "./nftables_rules.ts";
import { tupleProblem } from "./nftables_tuple.ts";

/** What the driver is made with; everything has a default. */
export interface IpsetOptions extends HostPerimeterOptions {
  /** Which iptables has the rules. Default: the one that `iptables` is on this host. */
  readonly backend?: IptablesBackend;
  /** The sets are NAME-ph4 and NAME-ph6. Default `diaper`. */
  readonly set?: string;
}

/** The ipset enforcer, with what only it can do. */
export interface IpsetEnforcer extends Enforcer {
  /** Makes these the ports that are open to all, instead of those before. */
  setOpenPorts(ports: readonly OpenPort[]): Promise<void>;
  /** Packets that the perimeter did not let in since its chains were made. */
  statistics(): { readonly dropped: Counters; readonly invalid: Counters };
  intact(): boolean;
}

/** The longest time-out that ipset takes, in seconds. */
const LONGEST_LEASE = 2_147_483;
/** A set that a rule lets go of is free a moment later. */
const DESTROY_ATTEMPTS = 100;

/**
 * Makes the driver; nothing is touched before connect().
 *
 * @throws {EnforcerError} for options that cannot be a perimeter.
 */
export function createIpset(options: IpsetOptions = {}): IpsetEnforcer {
  const set = options.set ?? "diaper";
  if (!/^[A-Za-z][A-Za-z0-9_-]{0,19}$/.test(set)) {
    throw new EnforcerError(
      `Cannot begin names of sets with ${JSON.stringify(set)}`,
      "Use a letter and then up to 19 letters, digits, underscores or hyphens.",
    );
  }
  const perimeter = new HostPerimeter("ipset", options, options.backend ?? "default", 1 << 20);
  return new Ipset(perimeter, set);
}

class Ipset implements IpsetEnforcer {
  readonly name = "ipset";
  readonly capabilities: EnforcerCapabilities;
  readonly #perimeter: HostPerimeter;
  readonly #set: string;

  constructor(perimeter: HostPerimeter, set: string) {
    this.#perimeter = perimeter;
    this.#set = set;
    this.capabilities = {
      atomic: false,
      counterAge: 0,
      capacity: perimeter.options.capacity,
      optimalBatch: 1000,
      ipv6: true,
      sourcePorts: false,
      portRanges: false,
      persistent: false,
      leases: true,
    };
  }

  async connect(): Promise<void> {
    this.#perimeter.open();
    try {
      for (const table of this.#perimeter.tables) {
        await this.#makeSet(table.family);
        await this.#makeRules(table);
      }
    } catch (error) {
      this.#perimeter.close();
      throw error;
    }
  }

  async apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    this.#perimeter.connected();
    const results = batch.map(problemOf);
    let left = [...batch.keys()].filter((i) => results[i] === undefined);
    while (left.length > 0) {
      // The program starts up while the batch is made.
      const tool = beginRestore();
      const lines = left.map((i) => this.#line(batch[i] as EnforcerChange));
      const result = await tool.finish(restoreText(lines));
      if (result.code === 0) {
        for (const i of left) results[i] = { ok: true };
        break;
      }
      const { line, message } = failureOf(result);
      if (line === undefined || line >= left.length) {
        await this.#readBack(batch, left, results, message);
        break;
      }
      // What stands before the line has been done, what follows it has not been looked at.
      for (const i of left.slice(0, line)) results[i] = { ok: true };
      const failed = left[line] as number;
      const change = batch[failed] as EnforcerChange;
      const full = /is full/.test(message);
      results[failed] = {
        ok: false,
        reason: full ? "full" : "refused",
        message: `ipset: ${message}: ${tupleText(change.tuple)}`,
      };
      left = left.slice(line + 1);
      if (full) left = await this.#withRoom(batch, left, results, change.tuple.source.family);
    }
    return results as ChangeResult[];
  }

  async counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]> {
    const found = new Map(
      (await this.list()).map(({ tuple, packets, bytes }) => [tupleKey(tuple), { packets, bytes }]),
    );
    return tuples.map((tuple) => found.get(tupleKey(tuple)));
  }

  async list(): Promise<ListedEntry[]> {
    this.#perimeter.connected();
    return [...await this.#listFamily(4), ...await this.#listFamily(6)];
  }

  async inspect(): Promise<ListedEntry[]> {
    const entries: ListedEntry[] = [];
    for (const { family } of this.#perimeter.tables) {
      const header = await setHeader(this.#name(family), family);
      if (header !== undefined) entries.push(...await this.#listFamily(family));
    }
    return entries;
  }

  endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    return this.#perimeter.endConnections(tuples);
  }

  plan(batch: readonly EnforcerChange[]): string {
    const lines = batch.map((change) => {
      const problem = problemOf(change);
      return problem?.ok === false ? `# refused: ${problem.message}` : this.#line(change);
    });
    return lines.length === 0 ? "" : `# ipset -exist restore\n${lines.join("\n")}\n`;
  }

  intact(): boolean {
    return this.#perimeter.intact((family) => [this.#rule(family)]);
  }

  statistics(): { readonly dropped: Counters; readonly invalid: Counters } {
    return this.#perimeter.statistics();
  }

  async setOpenPorts(ports: readonly OpenPort[]): Promise<void> {
    this.#perimeter.setPorts(ports);
    for (const table of this.#perimeter.tables) await this.#makeRules(table);
  }

  close(): Promise<void> {
    this.#perimeter.close();
    return Promise.resolve();
  }

  async remove(): Promise<void> {
    for (const table of this.#perimeter.tables) {
      await this.#perimeter.remove(table, await table.save());
      await destroy(this.#name(table.family));
    }
  }

  #name(family: 4 | 6): string {
    return `${this.#set}-ph${family}`;
  }

  #line(change: EnforcerChange): string {
    return changeLine(this.#name(change.tuple.source.family), change);
  }

  #rule(family: 4 | 6): string {
    return `-m set --match-set ${this.#name(family)} src,dst,dst -j ACCEPT`;
  }

  async #makeRules(table: FilterTable): Promise<void> {
    await this.#perimeter.make(table, await table.save(), [this.#rule(table.family)]);
  }

  /** Makes the set, or one of the right size out of that which is there. */
  async #makeSet(family: 4 | 6): Promise<void> {
    const name = this.#name(family);
    const { capacity } = this.capabilities;
    const create = (as: string) =>
      `create ${as} ${SET_TYPE} family ${family === 4 ? "inet" : "inet6"} ` +
      `maxelem ${capacity} timeout 0 counters comment`;
    const header = await setHeader(name, family);
    if (header === undefined) {
      const made = await restore([create(name)]);
      if (made.code !== 0) throw ipsetError(`make the set ${name}`, made);
      return;
    }
    if (!header.fits) {
      throw new EnforcerError(
        `There is a set ${name} already, of another kind than pinholes need`,
        `Remove it (ipset destroy ${name}), or give the driver another name for its sets.`,
      );
    }
    if (header.maxelem === capacity) return;
    const other = `${name}-new`;
    await destroy(other);
    const saved = await ipset(["save", name]);
    if (saved.code !== 0) throw ipsetError(`read the set ${name}`, saved);
    // Those that do not fit any more are left to the caller's next comparison with list().
    const kept = saved.stdout.split("\n").filter((line) => line.startsWith(`add ${name} `))
      .slice(0, capacity).map((line) => `add ${other} ${line.slice(`add ${name} `.length)}`);
    const moved = await restore([create(other), ...kept, `swap ${other} ${name}`]);
    if (moved.code !== 0) throw ipsetError(`give the set ${name} another size`, moved);
    await destroy(other);
  }

  async #listFamily(family: 4 | 6): Promise<ListedEntry[]> {
    const result = await ipset(["save", this.#name(family)]);
    if (result.code !== 0) throw ipsetError(`list the set ${this.#name(family)}`, result);
    return savedPinholes(result.stdout);
  }

  /**
   * A set is full: finds out which of the changes that are left still have room, instead of asking for
   * each.
   */
  async #withRoom(
    batch: readonly EnforcerChange[],
    left: readonly number[],
    results: (ChangeResult | undefined)[],
    family: 4 | 6,
  ): Promise<number[]> {
    const held = new Set((await this.#listFamily(family)).map(({ tuple }) => tupleKey(tuple)));
    return left.filter((i) => {
      const { action, tuple } = batch[i] as EnforcerChange;
      if (tuple.source.family !== family) return true;
      const key = tupleKey(tuple);
      if (action === "close") held.delete(key);
      else if (!held.has(key) && held.size >= this.capabilities.capacity) {
        const message = `set ${this.#name(family)} is full: no room for ${tupleText(tuple)}`;
        results[i] = { ok: false, reason: "full", message };
        return false;
      } else held.add(key);
      return true;
    });
  }

  /** It is not known what was done: a change is done when its pinhole is as it was wanted last. */
  async #readBack(
    batch: readonly EnforcerChange[],
    left: readonly number[],
    results: (ChangeResult | undefined)[],
    message: string,
  ): Promise<void> {
    const held = new Set((await this.list()).map(({ tuple }) => tupleKey(tuple)));
    for (const i of left) {
      const { action, tuple } = batch[i] as EnforcerChange;
      results[i] = held.has(tupleKey(tuple)) === (action === "open")
        ? { ok: true }
        : { ok: false, reason: "refused", message: `ipset: ${message}` };
    }
  }
}

/** Why a change cannot be made at all; undefined when it can be tried. */
function problemOf({ tuple, lease }: EnforcerChange): ChangeResult | undefined {
  const message = tupleProblem(tuple) ??
    (tuple.sourcePort === 0
      ? undefined
      : `${tupleText(tuple)} has a source port, for which a set of ipset has no place`) ??
    (lease >= 0 && lease <= LONGEST_LEASE
      ? undefined
      : `a lease of ${lease} seconds is not possible: at most ${LONGEST_LEASE}`);
  return message === undefined ? undefined : { ok: false, reason: "refused", message };
}

/** Takes a set away, if it is there. */
async function destroy(name: string): Promise<void> {
  for (let attempt = 1;; attempt++) {
    const result = await ipset(["destroy", name]);
    if (result.code === 0 || /does not exist/.test(result.stderr)) return;
    if (!/in use/.test(result.stderr) || attempt === DESTROY_ATTEMPTS) {
      throw ipsetError(`remove the set ${name}`, result);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
