/**
 * Tells which way the frames of a capture go: by the networks of the host behind the NI.
 *
 * @module
 */
import { inRange, type IpRange, parsePrefix } from "../net/ip.ts";
import { type Packet, TCP } from "../net/packet.ts";
import type { Direction } from "./frame.ts";

/** Knows or guesses what is the host's. */
export class HostNetworks {
  #ranges: IpRange[];
  readonly #told: boolean;

  /**
   * @param prefixes as text; without any, the source of the first connection or datagram is the host.
   * @throws {RangeError} when one is not a prefix.
   */
  constructor(prefixes: readonly string[]) {
    this.#ranges = prefixes.map(requiredPrefix);
    this.#told = prefixes.length > 0;
  }

  /**
   * Which way a packet goes: from the host when its source is the host's. What has no addresses counts as coming
   * from the host as well.
   */
  direction(p: Packet): Direction {
    if (p.version === 0) return "from-host";
    const source = p.source();
    if (!this.#told && this.#ranges.length === 0 && begins(p)) {
      this.#ranges = [{ first: source, last: source }];
    }
    return this.#ranges.some((range) => inRange(source, range)) ? "from-host" : "to-host";
  }
}

/** The first packet of a connection, or any datagram. */
function begins(p: Packet): boolean {
  return p.isUdp || (p.isTcp && (p.tcpFlags & (TCP.SYN | TCP.ACK)) === TCP.SYN);
}

function requiredPrefix(text: string): IpRange {
  const range = parsePrefix(text);
  if (range === undefined) throw new RangeError(`Cannot read ${JSON.stringify(text)} as a prefix`);
  return range;
}
