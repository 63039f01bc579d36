/**
 * Finds the rules that can speak to a question without looking at all of them.
 *
 * Rules are grouped by the fields in which they are not `*`, and within a group by name where they name
 * delegates or users. What is then left together has an interval tree for each address and port field
 * that is limited. A question counts its hits in each tree, takes the field with the fewest, and only
 * those rules are compared whole. Memory grows with the number of rules and their items, whatever their
 * shape.
 *
 * @module
 */
import {
  AddressRanks,
  IntervalSet,
  isOne,
  portPairs,
  rankPairs,
  within,
} from "./policy_intervals.ts";
import type { PolicyRule } from "./policy_rule.ts";
import type { IpAddress } from "../net/ip.ts";
import type { Protocol } from "./pinhole.ts";

const DELEGATE = 1;
const USER = 2;
const SOURCE = 4;
const DESTINATION = 8;
const PORT = 16;

/** A question in the numbers of one index. */
export interface Point {
  /** Number of the delegate's name. */
  delegate: number;
  /** Number of the user's name. */
  user: number;
  /** 1 for TCP, 2 for UDP. */
  protocol: number;
  /** Rank of the source address. */
  source: number;
  /** 0 is any. */
  sourcePort: number;
  /** Rank of the destination address. */
  destination: number;
  /** 1 to 65535. */
  destinationPort: number;
}

/** A rule in the numbers of one index; pairs are first, last, first, last...; `undefined` is any. */
interface Numbers {
  readonly deny: boolean;
  readonly delegates: Int32Array | undefined;
  readonly users: Int32Array | undefined;
  readonly protocols: number;
  readonly sources: Int32Array | undefined;
  readonly sourcePorts: Int32Array | undefined;
  readonly destinations: Int32Array | undefined;
  readonly destinationPorts: Int32Array | undefined;
}

/** Rules of one effect that have the same fields limited, by the names of one of them. */
export interface RuleGroup {
  /** The field whose names part the group; `undefined` when it limits neither. */
  readonly by: "delegates" | "users" | undefined;
  /** The rules of each name; all of them under {@link NO_NAME} when the group is not parted. */
  readonly sets: ReadonlyMap<number, RuleSet>;
}

/** Rules that names cannot tell apart further; without trees where they are few. */
export interface RuleSet {
  /** All of them. */
  readonly all: Int32Array;
  /** By source address, when that is limited. */
  readonly sources: IntervalSet | undefined;
  /** By destination address, when that is limited. */
  readonly destinations: IntervalSet | undefined;
  /** By destination port, when that is limited. */
  readonly ports: IntervalSet | undefined;
}

/** An index over rules; a rule is named by its place in the array. */
export class RuleIndex {
  /** The groups of allow rules. */
  readonly allow: readonly RuleGroup[];
  /** The groups of deny rules. */
  readonly deny: readonly RuleGroup[];
  /** Where {@link RuleIndex.collect} leaves the rules it found. */
  readonly found: Int32Array;
  readonly #rules: readonly Numbers[];
  readonly #names = new Map<string, number>();
  readonly #sources: AddressRanks;
  readonly #destinations: AddressRanks;
  readonly #boxes: Int32Array;

  /** Indexes rules, in their order. */
  constructor(rules: readonly PolicyRule[]) {
    this.#sources = new AddressRanks(rules.flatMap((r) => r.sources === "*" ? [] : r.sources));
    this.#destinations = new AddressRanks(
      rules.flatMap((r) => r.destinations === "*" ? [] : r.destinations),
    );
    this.#rules = rules.map((rule) => this.#numbers(rule));
    this.#boxes = this.#packBoxes();
    const ids = rules.map((_, id) => id);
    this.allow = this.#groups(ids.filter((id) => rules[id]?.effect === "allow"));
    this.deny = this.#groups(ids.filter((id) => rules[id]?.effect === "deny"));
    let largest = 0;
    for (const { sets } of [...this.allow, ...this.deny]) {
      for (const { all, sources, destinations, ports } of sets.values()) {
        const sizes = [sources, destinations, ports].map((set) => set?.size ?? 0);
        largest = Math.max(largest, all.length, ...sizes);
      }
    }
    this.found = new Int32Array(largest);
  }

  /** Number of a delegate's or user's name; -1 for one that no rule names. */
  name(text: string): number {
    return this.#names.get(text) ?? -1;
  }

  /** Place of a source address among the ranges of all rules. */
  source(address: IpAddress): number {
    return this.#sources.rank(address);
  }

  /** Place of a destination address among the ranges of all rules. */
  destination(address: IpAddress): number {
    return this.#destinations.rank(address);
  }

  /**
   * Puts into `found` every rule of the group that can match the point, and some that do not.
   *
   * @returns how many there are, in no special order.
   */
  collect(group: RuleGroup, p: Point): number {
    const name = group.by === undefined ? NO_NAME : group.by === "delegates" ? p.delegate : p.user;
    const set = group.sets.get(name);
    if (set === undefined) return 0;
    let best: IntervalSet | undefined;
    let at = 0;
    let count = set.all.length;
    if (set.destinations !== undefined) {
      const n = set.destinations.count(p.destination);
      if (n < count) [best, at, count] = [set.destinations, p.destination, n];
    }
    if (set.ports !== undefined && count > FEW) {
      const n = set.ports.count(p.destinationPort);
      if (n < count) [best, at, count] = [set.ports, p.destinationPort, n];
    }
    if (set.sources !== undefined && count > FEW) {
      const n = set.sources.count(p.source);
      if (n < count) [best, at, count] = [set.sources, p.source, n];
    }
    if (count === 0) return 0;
    if (best !== undefined) return best.collect(at, this.found);
    for (let i = 0; i < count; i++) this.found[i] = set.all[i] as number;
    return count;
  }

  /** True when all eight fields of the rule match the point; its keys are not looked at. */
  matches(id: number, p: Point): boolean {
    const box = this.#boxes;
    const at = id * BOX;
    if (
      p.destination < (box[at] as number) || p.destination > (box[at + 1] as number) ||
      p.source < (box[at + 2] as number) || p.source > (box[at + 3] as number) ||
      p.destinationPort < (box[at + 4] as number) || p.destinationPort > (box[at + 5] as number) ||
      ((box[at + 6] as number) & p.protocol) === 0
    ) return false;
    return box[at + 7] === BOX_IS_ALL || this.#matchesWhole(this.#rules[id] as Numbers, p);
  }

  #matchesWhole(r: Numbers, p: Point): boolean {
    return (r.delegates === undefined || r.delegates.includes(p.delegate)) &&
      (r.users === undefined || r.users.includes(p.user)) &&
      (r.destinations === undefined || within(r.destinations, p.destination)) &&
      (r.sources === undefined || within(r.sources, p.source)) &&
      (r.destinationPorts === undefined || within(r.destinationPorts, p.destinationPort)) &&
      (r.sourcePorts === undefined ||
        // Port 0 is any: no limited allow covers all of it, every limited deny touches it.
        (p.sourcePort === 0 ? r.deny : within(r.sourcePorts, p.sourcePort)));
  }

  /** The bounds of each rule side by side, to turn most away without touching the rule itself. */
  #packBoxes(): Int32Array {
    const boxes = new Int32Array(this.#rules.length * BOX);
    this.#rules.forEach((r, id) => {
      const simple = r.delegates === undefined && r.users === undefined &&
        r.sourcePorts === undefined && isOne(r.sources) && isOne(r.destinations) &&
        isOne(r.destinationPorts);
      const bounds = [r.destinations, r.sources, r.destinationPorts].flatMap((pairs) =>
        pairs === undefined ? [-0x80000000, 0x7fffffff] : [Math.min(...pairs), Math.max(...pairs)]
      );
      boxes.set([...bounds, r.protocols, simple ? BOX_IS_ALL : 0], id * BOX);
    });
    return boxes;
  }

  #numbers(rule: PolicyRule): Numbers {
    return {
      deny: rule.effect === "deny",
      delegates: this.#intern(rule.delegates),
      users: this.#intern(rule.users),
      protocols: protocolBits(rule.protocol),
      sources: rankPairs(rule.sources, this.#sources),
      sourcePorts: portPairs(rule.sourcePorts),
      destinations: rankPairs(rule.destinations, this.#destinations),
      destinationPorts: portPairs(rule.destinationPorts),
    };
  }

  #intern(names: readonly string[] | "*"): Int32Array | undefined {
    if (names === "*") return undefined;
    return Int32Array.from(names, (name) => {
      const known = this.#names.get(name) ?? this.#names.size;
      this.#names.set(name, known);
      return known;
    });
  }

  #groups(ids: readonly number[]): RuleGroup[] {
    const byShape = new Map<number, number[]>();
    for (const id of ids) {
      const r = this.#rules[id] as Numbers;
      const shape = bit(r.delegates, DELEGATE) | bit(r.users, USER) | bit(r.sources, SOURCE) |
        bit(r.destinations, DESTINATION) | bit(r.destinationPorts, PORT);
      const group = byShape.get(shape);
      if (group === undefined) byShape.set(shape, [id]);
      else group.push(id);
    }
    return [...byShape.values()].map((members) => this.#group(members));
  }

  #group(ids: readonly number[]): RuleGroup {
    const delegates = this.#byName(ids, "delegates");
    const users = this.#byName(ids, "users");
    const by = delegates.size === 0 && users.size === 0
      ? undefined
      : delegates.size >= users.size
      ? "delegates"
      : "users";
    const parts = by === undefined
      ? new Map([[NO_NAME, ids]])
      : by === "delegates"
      ? delegates
      : users;
    return { by, sets: new Map([...parts].map(([name, part]) => [name, this.#set(part)])) };
  }

  #set(ids: readonly number[]): RuleSet {
    const intervals = (field: "sources" | "destinations" | "destinationPorts") => {
      if (ids.length <= FEW) return undefined;
      if (this.#rules[ids[0] as number]?.[field] === undefined) return undefined;
      return new IntervalSet(
        ids.map((id) => ({ id, pairs: this.#rules[id]?.[field] ?? new Int32Array(0) })),
      );
    };
    return {
      all: Int32Array.from(ids),
      sources: intervals("sources"),
      destinations: intervals("destinations"),
      ports: intervals("destinationPorts"),
    };
  }

  /** The rules of each name that they have in a field; empty when they do not limit it. */
  #byName(ids: readonly number[], field: "delegates" | "users"): Map<number, number[]> {
    const lists = new Map<number, number[]>();
    for (const id of ids) {
      for (const name of this.#rules[id]?.[field] ?? []) {
        const list = lists.get(name);
        if (list === undefined) lists.set(name, [id]);
        else list.push(id);
      }
    }
    return lists;
  }
}

/** Stands for a name where rules are not parted by names. */
const NO_NAME = -2;
/** Numbers in the box of a rule: three bounds, protocols, and whether the box is all there is. */
const BOX = 8;
const BOX_IS_ALL = 1;
/** With so few rules no search pays. */
const FEW = 4;

/** A protocol, or any, as bits of {@link Point.protocol}. */
export function protocolBits(protocol: Protocol | "*"): number {
  return protocol === "tcp" ? 1 : protocol === "udp" ? 2 : 3;
}

function bit(field: Int32Array | undefined, value: number): number {
  return field === undefined ? 0 : value;
}
