/**
 * Address translation: where the perimeter also translates, a pinhole for an inside host needs an entry that
 * leads its packets there. The outside host knows an outside address, and sends to that.
 *
 * One entry is one pinhole's: protocol, outside host, outside address and port, as elements of maps whose
 * value is the inside host. Ports stay as they are, since the program inside has announced its own.
 *
 * @module
 */
import { type IpAddress, ipKind, parseIp } from "../lib/net/ip.ts";
import type { FiveTuple } from "../lib/pinhole/pinhole.ts";
import type { ElementSet } from "../lib/sys/nftables_elements.ts";
import { EnforcerError } from "./enforcer.ts";
import { PINHOLE_SETS, type PinholeSet, setOf } from "./nftables_tuple.ts";

/** A map that goes with a set of IPv4 pinholes; its key has the outside address as destination. */
export interface NatMap extends ElementSet {
  readonly pinholes: PinholeSet;
}

/** The maps: for pinholes without and with a source port. */
export const NAT_MAPS: readonly NatMap[] = PINHOLE_SETS.filter((set) => set.family === 4).map(
  (pinholes) => ({
    name: pinholes.name.replace("ph", "nat"),
    keyBytes: pinholes.keyBytes,
    dataBytes: 4,
    pinholes,
  }),
);

/** Before other chains that translate, such as those of a container engine: the first that does, decides. */
export const NAT_PRIORITY: number = -101;

/** What a pinhole needs besides itself: an element of a map, and its value. */
export interface NatEntry {
  readonly map: NatMap;
  /** The tuple as its packets come from outside. */
  readonly outer: FiveTuple;
  readonly inside: IpAddress;
}

/** Which inside addresses are reached by which outside ones. */
export class Translation {
  readonly #outside: ReadonlyMap<string, IpAddress>;

  /**
   * @param addresses inside addresses and the outside addresses for them, as text. Several inside hosts may
   * share an outside one.
   * @throws {EnforcerError} for what cannot be translated.
   */
  constructor(addresses: Readonly<Record<string, string>>) {
    const read = (text: string): IpAddress => {
      const address = parseIp(text);
      if (address?.family === 4 && ipKind(address) === "host") return address;
      throw new EnforcerError(
        `Cannot translate ${JSON.stringify(text)}`,
        "Give IPv4 addresses of single hosts, inside: outside.",
      );
    };
    this.#outside = new Map(
      Object.entries(addresses).map(([inside, outside]) => [read(inside).text, read(outside)]),
    );
  }

  /** True when nothing is translated. */
  get empty(): boolean {
    return this.#outside.size === 0;
  }

  /** The entry for a pinhole; undefined for one whose host is reached by its own address. */
  entryOf(tuple: FiveTuple): NatEntry | undefined {
    if (this.#outside.size === 0) return undefined;
    const outside = this.#outside.get(tuple.destination.text);
    const map = outside && NAT_MAPS.find((m) => m.pinholes === setOf(tuple));
    if (outside === undefined || map === undefined) return undefined;
    return { map, outer: { ...tuple, destination: outside }, inside: tuple.destination };
  }
}

/** Nothing is translated. */
export const NO_TRANSLATION: Translation = new Translation({});

/** The rules that translate, for the chain of their own. */
export function natRules(): string[] {
  return NAT_MAPS.map((map) => {
    const source = map.pinholes.sourcePort ? "ip saddr . th sport" : "ip saddr";
    return `meta nfproto ipv4 dnat ip to meta l4proto . ${source} . ip daddr . th dport map @${map.name}`;
  });
}
