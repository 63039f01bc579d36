/**
 * The beacon scanner: connections of the host to the same server at regular intervals are how a program that waits for
 * orders behaves. People are not regular. It tells and holds nothing: so are time servers and mail programs.
 *
 * @module
 */
import { inRange, type IpRange } from "../../lib/net/ip.ts";
import { Packet, TCP } from "../../lib/net/packet.ts";
import { SYN } from "../sdk/filters.ts";
import { type Given, readNumbers, readPrefixes, refuseUnknown } from "../sdk/options.ts";
import type { Frame, Ni, Scanner } from "../sdk/scanner.ts";

const NUMBERS = {
  /** Intervals in a row that must be alike. */
  intervals: ["intervals", 10, 4, 1000],
  /** Percent by which they may differ: standard deviation to mean. */
  jitter: ["jitter", 10, 1, 100],
  /** Seconds that a beacon's interval has at least and at most. */
  shortest: ["shortest", 5, 1, 86_400],
  longest: ["longest", 86_400, 2, 7 * 86_400],
} as const;

/** Servers watched at most; the one not seen for longest is forgotten. */
const MOST = 16_384;

interface Server {
  /** Times of connections, in milliseconds: the last intervals + 1. */
  readonly times: number[];
  told: boolean;
}

/** The scanner. */
export class Beacon implements Scanner {
  readonly name = "beacon";
  #options = readNumbers({}, NUMBERS);
  #allow: IpRange[] = [];
  readonly #packet = new Packet();
  readonly #servers = new Map<string, Server>();

  /** Subscribes to the beginnings of connections, to read. */
  start(ni: Ni): void {
    refuseUnknown(ni.options as Given, Object.keys(NUMBERS), ["allow"]);
    this.#options = readNumbers(ni.options, NUMBERS);
    this.#allow = readPrefixes(ni.options, "allow");
    ni.subscribe(SYN, "read");
  }

  /** As {@link Scanner.frame}. */
  frame(frame: Frame, ni: Ni): void {
    const p = this.#packet.decode(frame.data, frame.start, frame.end, ni.linkType);
    const first = p.isTcp && (p.tcpFlags & (TCP.SYN | TCP.ACK)) === TCP.SYN;
    if (!first || frame.direction !== "from-host") return;
    const destination = p.destination();
    if (this.#allow.some((range) => inRange(destination, range))) return;
    this.#contact(destination.text, p.destinationPort, frame, ni);
  }

  #contact(address: string, port: number, frame: Frame, ni: Ni): void {
    const key = `${address} ${port}`;
    const server = this.#servers.get(key) ?? { times: [], told: false };
    this.#servers.delete(key);
    this.#servers.set(key, server);
    if (this.#servers.size > MOST) this.#forgetOldest();
    const { times } = server;
    const before = times.at(-1);
    // Connections at the same moment, or a SYN sent again, are one contact.
    if (
      before !== undefined && frame.time - before < Math.min(1000, this.#options.shortest * 500)
    ) {
      return;
    }
    times.push(frame.time);
    if (times.length > this.#options.intervals + 1) times.shift();
    if (times.length <= this.#options.intervals) return;
    const { mean, deviation } = spread(times);
    const regular = deviation * 100 <= mean * this.#options.jitter &&
      mean >= this.#options.shortest * 1000 && mean <= this.#options.longest * 1000;
    if (!regular) server.told = false;
    if (!regular || server.told) return;
    server.told = true;
    ni.alert({
      signature: "connections to one server at regular intervals",
      category: "Malware Command and Control Activity Detected",
      severity: 2,
      action: "allowed",
      detail: {
        destination: address,
        port,
        intervals: times.length - 1,
        interval_seconds: Math.round(mean) / 1000,
        jitter_percent: Math.round(deviation / mean * 1000) / 10,
      },
    }, [frame.number]);
  }

  #forgetOldest(): void {
    for (const key of this.#servers.keys()) {
      this.#servers.delete(key);
      return;
    }
  }
}

/** Mean and standard deviation of the intervals between times. */
function spread(times: readonly number[]): { mean: number; deviation: number } {
  const intervals = times.slice(1).map((time, i) => time - (times[i] as number));
  const mean = intervals.reduce((sum, x) => sum + x, 0) / intervals.length;
  const variance = intervals.reduce((sum, x) => sum + (x - mean) ** 2, 0) / intervals.length;
  return { mean, deviation: Math.sqrt(variance) };
}
