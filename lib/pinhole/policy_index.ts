/**
 * Finds the rules that can speak to a question without looking at all of them.
 *
 * Rules are grouped by the fields in which they are not `*`. Within a group each such field has an
 * index: a map of names, or an interval tree of ports or addresses. A question counts its hits in each
 * index of the group, takes the field with the fewest, and only those rules are compared whole. Memory
 * grows with the number of rules, whatever their shape.
 *
 * @module
 */
import { AddressRanks, IntervalSet } from "./policy_intervals.ts";
import type { PolicyRule, PortRange } from "./policy_rule.ts";
import type { IpAddress, IpRange } from "../net/ip.ts";
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

/** Rules of one effect that have the same fields limited. */
export interface RuleGroup {
  /** All its rules. */
  readonly all: Int32Array;
  /** Its rules by delegate, when these are limited. */
  readonly delegates: ReadonlyMap<number, Int32Array> | undefined;
  /** Its rules by user, when these are limited. */
  readonly users: ReadonlyMap<number, Int32Array> | undefined;
  /** Its rules by source address, when these are limited. */
  readonly sources: IntervalSet | undefined;
  /** Its rules by destination address, when these are limited. */
  readonly destinations: IntervalSet | undefined;
  /** Its rules by destination port, when these are limited. */
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
    for (const g of [...this.allow, ...this.deny]) {
      const sets = [g.sources, g.destinations, g.ports];
      largest = Math.max(largest, g.all.length, ...sets.map((s) => s?.size ?? 0));
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
    let names = group.all;
    let best: IntervalSet | undefined;
    let at = 0;
    let count = names.length;
    if (group.delegates !== undefined) {
      names = group.delegates.get(p.delegate) ?? NONE;
      count = names.length;
    }
    if (group.users !== undefined && count > 0) {
      const users = group.users.get(p.user) ?? NONE;
      if (users.length < count) [names, count] = [users, users.length];
    }
    if (group.destinations !== undefined && count > FEW) {
      const n = group.destinations.count(p.destination);
      if (n < count) [best, at, count] = [group.destinations, p.destination, n];
    }
    if (group.ports !== undefined && count > FEW) {
      const n = group.ports.count(p.destinationPort);
      if (n < count) [best, at, count] = [group.ports, p.destinationPort, n];
    }
    if (group.sources !== undefined && count > FEW) {
      const n = group.sources.count(p.source);
      if (n < count) [best, at, count] = [group.sources, p.source, n];
    }
    if (count === 0) return 0;
    if (best !== undefined) return best.collect(at, this.found);
    for (let i = 0; i < count; i++) this.found[i] = names[i] as number;
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
    const intervals = (field: "sources" | "destinations" | "destinationPorts") =>
      this.#rules[ids[0] as number]?.[field] === undefined ? undefined : new IntervalSet(
        ids.map((id) => ({ id, pairs: (this.#rules[id] as Numbers)[field] ?? NONE })),
      );
    return {
      all: Int32Array.from(ids),
      delegates: this.#byName(ids, "delegates"),
      users: this.#byName(ids, "users"),
      sources: intervals("sources"),
      destinations: intervals("destinations"),
      ports: intervals("destinationPorts"),
    };
  }

  #byName(
    ids: readonly number[],
    field: "delegates" | "users",
  ): Map<number, Int32Array> | undefined {
    if (this.#rules[ids[0] as number]?.[field] === undefined) return undefined;
    const lists = new Map<number, number[]>();
    for (const id of ids) {
      for (const name of (this.#rules[id] as Numbers)[field] ?? NONE) {
        const list = lists.get(name);
        if (list === undefined) lists.set(name, [id]);
        else list.push(id);
      }
    }
    return new Map([...lists].map(([name, list]) => [name, Int32Array.from(list)]));
  }
}

const NONE = new Int32Array(0);
/** Numbers in the box of a rule: three bounds, protocols, and whether the box is all there is. */
const BOX = 8;
const BOX_IS_ALL = 1;
/** With so few rules left another field is not worth counting. */
const FEW = 4;

/** A protocol, or any, as bits of {@link Point.protocol}. */
export function protocolBits(protocol: Protocol | "*"): number {
  return protocol === "tcp" ? 1 : protocol === "udp" ? 2 : 3;
}

function isOne(pairs: Int32Array | undefined): boolean {
  return pairs === undefined || pairs.length === 2;
}

function within(pairs: Int32Array, x: number): boolean {
  for (let i = 0; i < pairs.length; i += 2) {
    if (x >= (pairs[i] as number) && x <= (pairs[i + 1] as number)) return true;
  }
  return false;
}

function portPairs(ports: readonly PortRange[] | "*"): Int32Array | undefined {
  return ports === "*" ? undefined : Int32Array.from(ports.flatMap((p) => [p.first, p.last]));
}

function rankPairs(ranges: readonly IpRange[] | "*", ranks: AddressRanks): Int32Array | undefined {
  if (ranges === "*") return undefined;
  return Int32Array.from(ranges.flatMap((r) => [ranks.rank(r.first), ranks.rank(r.last)]));
}

function bit(field: Int32Array | undefined, value: number): number {
  return field === undefined ? 0 : value;
}
