/**
 * The configuration of a simulated Junos device, as far as firewall filters go: terms in order, set and deleted by
 * statements as `load set` takes them, checked at commit as lab-validated for Junos (host bits).
 *
 * @module
 */
import { inRange, type IpRange, parseIp, prefixRange } from "../net/ip.ts";
import type { Packet } from "./acl_table.ts";
import { portNumber } from "./names.ts";

/** A term: statements in the order that they were set. */
export interface Term {
  readonly name: string;
  /** `from` conditions: name and values. */
  readonly from: Map<string, string[]>;
  /** `then` actions: name and value ("" for none). */
  readonly then: Map<string, string>;
  active: boolean;
}

/** A filter of one family. */
export interface Filter {
  readonly family: "inet" | "inet6";
  readonly name: string;
  terms: Map<string, Term>;
}

const CONDITIONS = new Set([
  "source-address",
  "destination-address",
  "protocol",
  "next-header",
  "payload-protocol",
  "source-port",
  "destination-port",
  "port",
  "icmp-type",
  "icmp-code",
  "tcp-established",
  "fragment-offset",
  "packet-length",
  "address",
  "prefix-list",
  "source-prefix-list",
]);
const FLAGS = new Set(["tcp-established", "is-fragment", "first-fragment"]);
const ACTIONS = new Set(["accept", "discard", "reject", "log", "syslog", "next"]);
const ARGUMENT_ACTIONS = new Set(["count", "policer", "loss-priority", "forwarding-class"]);

/** A configuration. */
export class JunosConfig {
  readonly filters = new Map<string, Filter>();
  /** Statements of other parts, which are only kept. */
  readonly others = new Set<string>();

  /** A copy that can be changed alone. */
  copy(): JunosConfig {
    const copy = new JunosConfig();
    for (const [key, filter] of this.filters) {
      const terms = new Map([...filter.terms].map(([name, term]) => [name, {
        name,
        from: new Map([...term.from].map(([k, v]) => [k, [...v]])),
        then: new Map(term.then),
        active: term.active,
      }]));
      copy.filters.set(key, { ...filter, terms });
    }
    for (const line of this.others) copy.others.add(line);
    return copy;
  }

  /** Terms in all filters of a family. */
  size(family: "inet" | "inet6"): number {
    let n = 0;
    for (const filter of this.filters.values()) {
      if (filter.family === family) n += filter.terms.size;
    }
    return n;
  }

  /**
   * Carries out a statement.
   *
   * @returns what is wrong with it, or undefined.
   */
  statement(line: string): string | undefined {
    const words = line.trim().split(/\s+/);
    const verb = words.shift();
    if (verb === undefined || verb === "") return undefined;
    if (!["set", "delete", "insert", "deactivate", "activate"].includes(verb)) {
      return "unknown command.";
    }
    const part: string | undefined = words.shift();
    if (part !== "firewall") return this.#other(verb, part === undefined ? [] : [part, ...words]);
    let family: "inet" | "inet6" = "inet";
    if (words[0] === "family") {
      if (words[1] !== "inet" && words[1] !== "inet6") return `syntax error: ${words[1] ?? ""}`;
      family = words[1];
      words.splice(0, 2);
    }
    const [kind, name] = words.splice(0, 2);
    if (kind !== "filter" || name === undefined) return "syntax error, expecting <filter>.";
    const key = `${family} ${name}`;
    if (verb === "delete" && words.length === 0) {
      return this.filters.delete(key) ? undefined : "statement not found";
    }
    const [inner, termName] = words.splice(0, 2);
    if (inner !== "term" || termName === undefined) return "syntax error, expecting <term>.";
    const existing = this.filters.get(key);
    const old = existing?.terms.get(termName);
    switch (verb) {
      case "set": {
        const filter = existing ?? { family, name, terms: new Map<string, Term>() };
        const term = old ?? { name: termName, from: new Map(), then: new Map(), active: true };
        const problem = setTerm(term, words);
        if (problem !== undefined) return problem;
        filter.terms.set(termName, term);
        this.filters.set(key, filter);
        return undefined;
      }
      case "delete":
        if (existing === undefined || old === undefined) return "warning: statement not found";
        if (words.length === 0) existing.terms.delete(termName);
        else if (words[0] === "from" && words[1] !== undefined) old.from.delete(words[1]);
        else if (words[0] === "then" && words[1] !== undefined) old.then.delete(words[1]);
        return undefined;
      case "insert":
        return existing === undefined || old === undefined
          ? "statement not found"
          : insert(existing, old, words);
      default:
        if (old === undefined) return "statement not found";
        old.active = verb === "activate";
        return undefined;
    }
  }

  /** What a commit check complains about, or undefined. */
  problem(capacity: number): string | undefined {
    for (const filter of this.filters.values()) {
      for (const term of filter.terms.values()) {
        const where =
          `[edit firewall family ${filter.family} filter ${filter.name} term ${term.name}`;
        for (const kind of ["source-address", "destination-address"]) {
          for (const prefix of term.from.get(kind) ?? []) {
            const range = rangeOf(prefix);
            if (range === undefined) return `${where} from ${kind}]\n  invalid prefix ${prefix}`;
            // As the lab found: IPv4 refuses host bits, IPv6 takes them.
            const [address = ""] = prefix.split("/");
            if (filter.family === "inet" && range.first.text !== parseIp(address)?.text) {
              return `${where} from ${kind} ${prefix}]\n  host bits must be zero`;
            }
          }
        }
      }
      const { family } = filter;
      if (this.size(family) > capacity) {
        return `[edit firewall family ${family}]\n  'filter ${filter.name}'\n` +
          "    error: insufficient filter resources: number of terms exceeded";
      }
    }
    return undefined;
  }

  /** All statements, as `display set` shows them. */
  lines(): string[] {
    const out = [...this.others].map((line) => `set ${line}`);
    for (const filter of this.filters.values()) {
      for (const term of filter.terms.values()) {
        const head = `firewall family ${filter.family} filter ${filter.name} term ${term.name}`;
        for (const [kind, values] of term.from) {
          for (const value of values) {
            out.push(`set ${head} from ${kind}${value === "" ? "" : ` ${value}`}`);
          }
        }
        for (const [action, value] of term.then) {
          out.push(`set ${head} then ${action}${value === "" ? "" : ` ${value}`}`);
        }
        if (!term.active) out.push(`deactivate ${head}`);
      }
    }
    return out;
  }

  #other(verb: string, words: readonly string[]): string | undefined {
    if (words.length === 0) return "missing argument.";
    const line = words.join(" ");
    if (verb === "set") this.others.add(line);
    if (verb === "delete") {
      for (const other of this.others) if (other.startsWith(line)) this.others.delete(other);
    }
    return undefined;
  }
}

/** The first term of a filter that a packet matches; undefined for none, which Junos discards. */
export function matchFilter(filter: Filter, packet: Packet): Term | undefined {
  for (const term of filter.terms.values()) {
    if (term.active && matches(term, packet)) return term;
  }
  return undefined;
}

function matches(term: Term, packet: Packet): boolean {
  const address = (kind: string, ip: Packet["source"]) => {
    const prefixes = term.from.get(kind);
    return prefixes === undefined || prefixes.some((prefix) => {
      const range = rangeOf(prefix);
      return range !== undefined && inRange(ip, range);
    });
  };
  const port = (kind: string, n: number) => {
    const ports = term.from.get(kind);
    return ports === undefined || ports.some((p) => portNumber(p, packet.proto) === n);
  };
  const protocols = term.from.get("protocol") ?? term.from.get("next-header") ??
    term.from.get("payload-protocol");
  return (protocols === undefined || protocols.includes(packet.proto)) &&
    address("source-address", packet.source) &&
    address("destination-address", packet.destination) &&
    port("source-port", packet.sourcePort) && port("destination-port", packet.destinationPort);
}

function setTerm(term: Term, words: string[]): string | undefined {
  const part = words.shift();
  if (part === "from") {
    while (words.length > 0) {
      const kind = words.shift() as string;
      if (!CONDITIONS.has(kind)) return `syntax error: ${kind}`;
      if (FLAGS.has(kind)) {
        term.from.set(kind, [""]);
        continue;
      }
      const value = words.shift();
      if (value === undefined) return "missing argument.";
      if (
        kind.endsWith("port") && portNumber(value, "tcp") === undefined && !/^\d+-\d+$/.test(value)
      ) {
        return `invalid value '${value}' in port: '${value}'`;
      }
      const values = term.from.get(kind) ?? [];
      const text = kind.endsWith("address") && !value.includes("/")
        ? `${value}/${value.includes(":") ? 128 : 32}`
        : value;
      if (!values.includes(text)) values.push(text);
      term.from.set(kind, values);
    }
    return undefined;
  }
  if (part !== "then") return `syntax error: ${part ?? ""}`;
  while (words.length > 0) {
    const action = words.shift() as string;
    if (ARGUMENT_ACTIONS.has(action)) {
      const value = words.shift();
      if (value === undefined) return "missing argument.";
      term.then.set(action, value);
    } else if (ACTIONS.has(action)) term.then.set(action, "");
    else return `syntax error: ${action}`;
  }
  return undefined;
}

function insert(filter: Filter, term: Term, words: readonly string[]): string | undefined {
  const [place, , other] = words;
  const names = [...filter.terms.keys()].filter((name) => name !== term.name);
  const at = names.indexOf(other ?? "");
  if ((place !== "before" && place !== "after") || at === -1) return "statement not found";
  names.splice(place === "before" ? at : at + 1, 0, term.name);
  filter.terms = new Map(names.map((name) => [name, filter.terms.get(name) ?? term]));
  return undefined;
}

function rangeOf(prefix: string): IpRange | undefined {
  const [text = "", length = ""] = prefix.split("/");
  const ip = parseIp(text);
  if (ip === undefined || !/^\d{1,3}$/.test(length)) return undefined;
  return Number(length) > ip.bytes.length * 8 ? undefined : prefixRange(ip, Number(length));
}
