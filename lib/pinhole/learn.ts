/**
 * Policy rules for what was asked: as few as say it, and no wider than they must be.
 *
 * @module
 */
import type { IpAddress } from "../net/ip.ts";
import type { FiveTuple } from "./pinhole.ts";

/** Something that was asked. */
export interface LearnedRequest {
  readonly delegate: string;
  readonly user: string;
  readonly tuple: FiveTuple;
}

/** Ports that the kernel gives to those who want any: which of them it was means nothing. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** More outside hosts than that, and the rule says `*`. */
const MOST_SOURCES = 8;

interface Group {
  readonly delegate: string;
  readonly user: string;
  readonly protocol: string;
  readonly destination: IpAddress;
  readonly sources: Map<string, IpAddress>;
  readonly sourcePorts: Set<number>;
  readonly ports: Set<number>;
}

/**
 * The rules, one a line, in the order in which they were needed first.
 *
 * @param ephemeral the host's range of ports for those who want any.
 */
export function learnedRules(requests: Iterable<LearnedRequest>, ephemeral: PortRange): string[] {
  const groups = new Map<string, Group>();
  for (const { delegate, user, tuple } of requests) {
    const { protocol, source, sourcePort, destination, destinationPort } = tuple;
    const key = [delegate, user, protocol, destination.text].join(" ");
    let group = groups.get(key);
    if (group === undefined) {
      group = {
        ...{ delegate, user, protocol, destination },
        sources: new Map(),
        sourcePorts: new Set(),
        ports: new Set(),
      };
      groups.set(key, group);
    }
    group.sources.set(source.text, source);
    group.sourcePorts.add(sourcePort);
    group.ports.add(destinationPort);
  }
  return [...groups.values()].flatMap((g) => {
    const sources = g.sources.size > MOST_SOURCES ? ["*"] : [...g.sources.keys()];
    return sources.map((source) =>
      [
        ...["allow", g.delegate, g.user, g.protocol, source, portsText(g.sourcePorts)],
        ...[g.destination.text, portsText(g.ports, ephemeral)],
      ].join(" ")
    );
  });
}

/** Ports as a policy writes them; 0 is any. */
function portsText(ports: ReadonlySet<number>, ephemeral?: PortRange): string {
  if (ports.has(0)) return "*";
  const first = Math.min(...ports);
  const last = Math.max(...ports);
  if (ephemeral !== undefined && first >= ephemeral.first && last <= ephemeral.last) {
    return `${ephemeral.first}-${ephemeral.last}`;
  }
  return first === last ? String(first) : `${first}-${last}`;
}
