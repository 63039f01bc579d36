/**
 * How pinholes are kept in iptables: in a tree of chains by protocol and destination port. A packet meets
 * at most 34 jumps and the pinholes of its own 256 ports instead of all, and so does a removal, which
 * iptables looks up rule by rule.
 *
 * @module
 */
import { parseIp } from "../lib/net/ip.ts";
import type { FiveTuple, Protocol } from "../lib/pinhole/pinhole.ts";

/** One step from the root of the tree to a leaf: the chain, and the jump that leads to it. */
export interface TreeStep {
  readonly chain: string;
  readonly parent: string;
  /** What follows `-A parent`. */
  readonly jump: string;
}

/** The letters of the protocols in names of chains. */
const LETTER: Readonly<Record<Protocol, string>> = { tcp: "T", udp: "U" };

/** Two hexadecimal digits of each byte. */
const PAGES: readonly string[] = Array.from({ length: 256 }, (_, page) => hex(page, 2));

/** The chain that a pinhole's rule belongs in. */
export function leafOf(prefix: string, t: FiveTuple): string {
  return `${prefix}-${LETTER[t.protocol]}${PAGES[t.destinationPort >> 8]}`;
}

/** The steps to a pinhole's leaf, from the root's side. */
export function stepsTo(prefix: string, t: FiveTuple): TreeStep[] {
  const page = t.destinationPort >> 8;
  const match = `-p ${t.protocol} -m ${t.protocol}`;
  const top = `${prefix}-${LETTER[t.protocol]}`;
  const middle = `${top}${hex(page >> 4, 1)}`;
  const leaf = leafOf(prefix, t);
  const ports = (low: number, count: number) => `${match} --dport ${low}:${low + count - 1}`;
  return [
    { chain: top, parent: prefix, jump: `-p ${t.protocol} -j ${top}` },
    {
      chain: middle,
      parent: top,
      jump: `${ports((page >> 4) << 12, 4096)} -j ${middle}`,
    },
    { chain: leaf, parent: middle, jump: `${ports(page << 8, 256)} -j ${leaf}` },
  ];
}

/** True for the root of the tree and the chains below it. */
export function isTreeChain(prefix: string, chain: string): boolean {
  return chain === prefix ||
    (chain.startsWith(`${prefix}-`) && /^[TU][0-9A-F]{0,2}$/.test(chain.slice(prefix.length + 1)));
}

/** What follows `-A CHAIN` for a pinhole, exactly as iptables-save prints it. */
export function pinholeSpec(t: FiveTuple, id: number): string {
  const [d, p] = t.source.family === 4 ? PARTS4[t.protocol] : PARTS6[t.protocol];
  const sport = t.sourcePort === 0 ? "" : ` --sport ${t.sourcePort}`;
  return `-s ${t.source.text}${d}${t.destination.text}${p}${sport} --dport ${t.destinationPort} ` +
    `-m comment --comment "diaper:ph-${id}" -j ACCEPT`;
}

type Parts = Readonly<Record<Protocol, readonly [string, string]>>;

/** What stands before the destination and after it. */
function parts(bits: number): Parts {
  const of = (p: Protocol) => [`/${bits} -d `, `/${bits} -p ${p} -m ${p}`] as const;
  return { tcp: of("tcp"), udp: of("udp") };
}

const PARTS4 = parts(32);
const PARTS6 = parts(128);

const SPEC =
  /^-s (\S+)\/(?:32|128) -d (\S+)\/(?:32|128) -p (tcp|udp) -m \3 (?:--sport (\d+) )?--dport (\d+)(?: -m comment --comment "?diaper:ph-\d+"?)? -j ACCEPT$/;

/** The pinhole that a rule is; undefined for a rule that is none. */
export function specPinhole(spec: string): FiveTuple | undefined {
  const found = SPEC.exec(spec);
  if (found === null) return undefined;
  const source = parseIp(found[1] as string);
  const destination = parseIp(found[2] as string);
  if (source === undefined || destination === undefined) return undefined;
  return {
    protocol: found[3] as Protocol,
    source,
    sourcePort: Number(found[4] ?? 0),
    destination,
    destinationPort: Number(found[5]),
  };
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, "0");
}
