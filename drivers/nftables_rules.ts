/**
 * The perimeter as an nftables ruleset, as text for libnftables made only from checked values.
 *
 * The policy is the paper's least privilege: what the inside starts may go out and be answered; from
 * outside only control ports and pinholes are let in.
 *
 * @module
 */
import { EnforcerError } from "./enforcer.ts";
import { NAT_MAPS, NAT_PRIORITY, natRules, type Translation } from "./nftables_nat.ts";
import { PINHOLE_SETS } from "./nftables_tuple.ts";

/** A port that is open to all, e.g. a server's control port. */
export interface OpenPort {
  readonly protocol: "tcp" | "udp";
  readonly port: number;
}

/** Which forwarded packets come from outside; at least one of the two must be given. */
export interface ForwardSides {
  /** Interfaces to the outside: what comes in by them crosses the perimeter inwards. */
  readonly outside?: readonly string[];
  /** Interfaces to the inside: what does not come in by them crosses the perimeter inwards. */
  readonly inside?: readonly string[];
}

/** What the perimeter is to be. */
export interface PerimeterOptions {
  /** Name of our table of family inet. */
  readonly table: string;
  /** Guard this host's own addresses. */
  readonly input: boolean;
  /** Guard what this host forwards. */
  readonly forward: ForwardSides | undefined;
  /** Pinholes in each set. */
  readonly capacity: number;
  /** Priority of the base chains, -400 to 400; 0 is where filters usually are. */
  readonly priority: number;
  /** Answer echo requests from outside. */
  readonly allowPing: boolean;
  /** Let answers of DHCP servers in, so that the host keeps its address. */
  readonly allowDhcp: boolean;
  /** Inside hosts that the outside knows by other addresses. */
  readonly nat: Translation;
}

/** Sets of control ports, for each protocol. */
export const CONTROL_SETS = [
  { name: "ctl_tcp", keyBytes: 2, protocol: "tcp" },
  { name: "ctl_udp", keyBytes: 2, protocol: "udp" },
] as const;
/** libnftables' number of the type inet_service. */
export const SERVICE_TYPE = 13;
/**
 * Seconds between two walks in which the kernel frees expired elements. They match nothing from the
 * moment they expire, and what is closed in time is deleted: only what nobody renewed waits for it. The
 * kernel's default of one second costs half the rate of changes when there are a million elements.
 */
export const GC_SECONDS = 60;
/** Named counters. */
export const COUNTERS: readonly string[] = ["dropped", "invalid"];

/** A chain that the perimeter consists of; `hook` undefined for one that is jumped to. */
export interface PerimeterChain {
  readonly name: string;
  readonly hook: "input" | "forward" | "prerouting" | undefined;
}

/** The chains of a perimeter. */
export function perimeterChains(options: PerimeterOptions): PerimeterChain[] {
  return [
    { name: "pinholes", hook: undefined },
    { name: "inbound", hook: undefined },
    ...(options.input ? [{ name: "input", hook: "input" } as const] : []),
    ...(options.forward === undefined ? [] : [{ name: "forward", hook: "forward" } as const]),
    ...(options.nat.empty ? [] : [{ name: "nat", hook: "prerouting" } as const]),
  ];
}

/**
 * Checks what a perimeter is to be, before any text is made of it.
 *
 * @throws {EnforcerError} for options that cannot be a perimeter.
 */
export function checkOptions(options: PerimeterOptions): void {
  const fail = (message: string, next: string) => {
    throw new EnforcerError(message, next);
  };
  if (!/^[A-Za-z][A-Za-z0-9_]{0,30}$/.test(options.table)) {
    fail(
      `Cannot name an nftables table ${JSON.stringify(options.table)}`,
      "Use a letter and then up to 30 letters, digits or underscores.",
    );
  }
  const whole = (n: number, low: number, high: number) =>
    Number.isInteger(n) && n >= low && n <= high;
  if (!whole(options.capacity, 1, 100_000_000)) {
    fail(
      `Cannot hold ${options.capacity} pinholes`,
      "Give a capacity from 1 to 100000000.",
    );
  }
  if (!whole(options.priority, -400, 400)) {
    fail(
      `Cannot use priority ${options.priority} for a chain`,
      "Give a whole number from -400 to 400; 0 is the priority of filters.",
    );
  }
  const forward = options.forward;
  if (!options.nat.empty && forward === undefined) {
    fail(
      "Only what is forwarded can be translated",
      "Add forward to the hooks, or leave nat away: a host that another device translates for needs none.",
    );
  }
  if (!options.input && forward === undefined) {
    fail("A perimeter needs a hook: input, forward or both", "Name at least one hook.");
  }
  if (forward === undefined) return;
  const names = [...forward.outside ?? [], ...forward.inside ?? []];
  if (names.length === 0) {
    fail(
      "Cannot tell outside from inside when forwarding",
      "Name the interfaces of the outside or of the inside.",
    );
  }
  for (const name of names) {
    if (!/^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}$/.test(name)) {
      fail(
        `Cannot use ${JSON.stringify(name)} as the name of an interface`,
        "Use its name as `ip link` shows it.",
      );
    }
  }
}

/**
 * Checks a control port.
 *
 * @throws {EnforcerError} for a port that there cannot be.
 */
export function checkPort(open: OpenPort): void {
  const known = open.protocol === "tcp" || open.protocol === "udp";
  if (!known || !Number.isInteger(open.port) || open.port < 1 || open.port > 0xffff) {
    throw new EnforcerError(
      `Cannot open port ${open.protocol} ${open.port} to all`,
      "Use tcp or udp and a number from 1 to 65535.",
    );
  }
}

/** Commands that make the table, its sets and its chains where they are missing. */
export function creationText(options: PerimeterOptions, ports: readonly OpenPort[]): string {
  const t = `inet ${options.table}`;
  const lines = [`add table ${t}`];
  for (const set of PINHOLE_SETS) {
    lines.push(
      `add set ${t} ${set.name} { type ${set.type}; size ${options.capacity}; flags timeout; gc-interval ${GC_SECONDS}s; counter; }`,
    );
  }
  for (const set of CONTROL_SETS) {
    lines.push(`add set ${t} ${set.name} { type inet_service; }`);
    const open = [...new Set(ports.filter((p) => p.protocol === set.protocol).map((p) => p.port))];
    if (open.length > 0) lines.push(`add element ${t} ${set.name} { ${open.join(", ")} }`);
  }
  for (const map of options.nat.empty ? [] : NAT_MAPS) {
    lines.push(
      `add map ${t} ${map.name} { type ${map.pinholes.type} : ipv4_addr; size ${options.capacity}; flags timeout; }`,
    );
  }
  for (const name of COUNTERS) lines.push(`add counter ${t} ${name}`);
  for (const { name, hook } of perimeterChains(options)) {
    lines.push(
      hook === undefined
        ? `add chain ${t} ${name}`
        : hook === "prerouting"
        ? `add chain ${t} ${name} { type nat hook prerouting priority ${NAT_PRIORITY}; policy accept; }`
        : `add chain ${t} ${name} { type filter hook ${hook} priority ${options.priority}; policy drop; }`,
    );
  }
  return lines.join("\n");
}

/**
 * Commands that put the rules anew; in one transaction there is no moment without them.
 *
 * @param settled false while the sets are not filled yet: flows whose pinholes are still to come are
 * then dropped but not reset.
 */
export function rulesText(options: PerimeterOptions, settled: boolean): string {
  const t = `inet ${options.table}`;
  const lines: string[] = [];
  const chain = (name: string, rules: readonly string[]) => {
    lines.push(`flush chain ${t} ${name}`);
    for (const rule of rules) lines.push(`add rule ${t} ${name} ${rule}`);
  };
  chain(
    "pinholes",
    PINHOLE_SETS.map((set) => {
      const ip = set.family === 4 ? "ip" : "ip6";
      const source = set.sourcePort ? `${ip} saddr . th sport` : `${ip} saddr`;
      return `meta nfproto ipv${set.family} meta l4proto . ${source} . ${ip} daddr . th dport @${set.name} accept`;
    }),
  );
  chain("inbound", inboundRules(settled));
  if (options.input) {
    chain("input", [
      'iifname "lo" accept',
      ...neighbourRules(),
      ...(options.allowDhcp
        ? [
          "meta nfproto ipv4 udp sport 67 udp dport 68 accept",
          "ip6 saddr fe80::/10 ip6 daddr fe80::/10 udp sport 547 udp dport 546 accept",
        ]
        : []),
      "jump inbound",
      ...pingRules(options),
      DROP,
    ]);
  }
  if (options.forward !== undefined) {
    chain("forward", [
      ...outboundRules(options.forward),
      "jump inbound",
      ...pingRules(options),
      DROP,
    ]);
  }
  if (!options.nat.empty) chain("nat", natRules());
  return lines.join("\n");
}

const DROP = "counter name dropped drop";
const ICMP_ERRORS = "destination-unreachable, time-exceeded, parameter-problem";

/** What is let in from outside. Fragments are put together by conntrack before they get here. */
function inboundRules(settled: boolean): string[] {
  return [
    "ct state invalid counter name invalid drop",
    // Before any shortcut for established flows, so that every packet of a pinhole is counted:
    // unchanged counters mean that the pinhole is stale.
    "jump pinholes",
    // Only answers to what the inside began. A flow that began outside lives by its pinhole or
    // control port alone, packet by packet, so that it ends when those are taken away.
    "ct state established ct direction reply accept",
    // Errors about known flows; not what conntrack's helpers call related.
    `ct state related icmp type { ${ICMP_ERRORS} } accept`,
    `ct state related icmpv6 type { packet-too-big, ${ICMP_ERRORS} } accept`,
    ...CONTROL_SETS.map((set) =>
      `${set.protocol} dport @${set.name} ct state { new, established } accept`
    ),
    // The end of a flow whose socket, and so whose pinhole, is gone already: without it the other
    // host would wait minutes for its last acknowledgement. Not a way in: the flow must be known to
    // conntrack, nothing follows a FIN or RST in a stream, and connections ended by force are
    // removed from conntrack.
    "tcp flags & (fin | rst) != 0x0 ct state established accept",
    // Whatever else belongs to a flow that was let in once: its sender is known, so it is told.
    // Strangers hear nothing.
    ...(settled
      ? ["meta l4proto tcp ct state established counter name dropped reject with tcp reset"]
      : []),
  ];
}

/** Neighbour discovery and multicast listening, without which IPv6 does not work on a link. */
function neighbourRules(): string[] {
  return [
    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept",
    "icmpv6 type nd-router-advert ip6 saddr fe80::/10 ip6 hoplimit 255 accept",
    "icmpv6 type mld-listener-query ip6 saddr fe80::/10 ip6 hoplimit 1 accept",
  ];
}

function pingRules(options: PerimeterOptions): string[] {
  return options.allowPing
    ? ["icmp type echo-request accept", "icmpv6 type echo-request accept"]
    : [];
}

/**
 * What crosses the perimeter outwards, or not at all. A connection known to nobody that is in its
 * middle is reset: taken over as new it would count as begun inside, also one that began outside and
 * was ended by force.
 */
function outboundRules(sides: ForwardSides): string[] {
  const list = (names: readonly string[]) => `{ ${names.map((n) => `"${n}"`).join(", ")} }`;
  const outwards = sides.inside !== undefined && sides.inside.length > 0
    ? `iifname ${list(sides.inside)}`
    : `iifname != ${list(sides.outside ?? [])}`;
  return [
    `${outwards} ct state invalid counter name invalid drop`,
    `${outwards} ct state new tcp flags & (fin | syn | rst | ack) != syn counter name dropped reject with tcp reset`,
    `${outwards} accept`,
  ];
}
