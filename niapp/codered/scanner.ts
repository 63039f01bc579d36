/**
 * The Code-Red scanner (CMU-CS-02-144, section 5.3): connections to addresses that no name was translated to, many of
 * them in a short time, are how a worm spreads. It tells of them and lets them through one by one.
 *
 * @module
 */
import { inRange, type IpAddress } from "../../lib/net/ip.ts";
import { Packet, PROTOCOL, TCP } from "../../lib/net/packet.ts";
import { SYN } from "../sdk/filters.ts";
import type { Frame, Ni, Scanner, Verdict } from "../sdk/scanner.ts";
import { DnsShadow, words } from "./dns_shadow.ts";
import { DnsStreams } from "../../lib/net/dns_stream.ts";
import { Fanout } from "./fanout.ts";
import { type CodeRedOptions, readOptions } from "./options.ts";

/** A random SYN that waits. */
interface Waiting {
  readonly frame: number;
  readonly key: string;
}

/** Alerts that are built frame by frame are sent when they are full or this old, in milliseconds. */
const LOG_MS = 5_000;

const DNS = "port 53";
/** The scanner. */
export class CodeRed implements Scanner {
  readonly name = "codered";
  #options: CodeRedOptions = readOptions({});
  #shadow = new DnsShadow(256);
  readonly #streams = new DnsStreams();
  readonly #packet = new Packet();
  readonly #random = new Fanout();
  readonly #dropped = new Fanout();
  readonly #reverse = new Fanout();
  #reverseToldAt = -Infinity;
  #lastPort = 0;
  /** Until when random connections are slowed down, in milliseconds; undefined: they are not. */
  #reactingUntil: number | undefined;
  #nextPass = 0;
  #waiting: Waiting[] = [];
  #synSubscription = -1;
  #logged = new Map<string, number>();
  #log: { frames: number[]; destination: string; since: number } | undefined;

  /** Subscribes to DNS and to the beginnings of connections, the latter with the right to hold them. */
  start(ni: Ni): void {
    this.#options = readOptions(ni.options);
    this.#shadow = new DnsShadow(this.#options.tableSize);
    ni.subscribe(DNS, "read");
    this.#synSubscription = ni.subscribe(SYN, "contain");
    if (this.#options.logFrames > 0) ni.subscribe("tcp", "read");
  }

  /** As {@link Scanner.frame}. */
  frame(frame: Frame, ni: Ni): Verdict {
    const p = this.#packet.decode(frame.data, frame.start, frame.end, ni.linkType);
    if (!p.hasPorts) return "pass";
    if (p.sourcePort === 53 || p.destinationPort === 53) this.#dns(p, frame, ni);
    if (this.#options.logFrames > 0) this.#exchange(p, frame, ni);
    const first = p.isTcp && (p.tcpFlags & (TCP.SYN | TCP.ACK)) === TCP.SYN &&
      frame.direction === "from-host";
    if (!first || (frame.subscriptions >> this.#synSubscription & 1) === 0) return "pass";
    return this.#connection(p, frame, ni);
  }

  /** As {@link Scanner.wake}: lets one through, and looks again when the minute is over. */
  wake(ni: Ni): void {
    if (this.#reactingUntil === undefined) return;
    if (ni.now >= this.#reactingUntil) this.#review(ni);
    if (this.#reactingUntil !== undefined && ni.now >= this.#nextPass) this.#passOne(ni);
    this.#schedule(ni);
  }

  #dns(p: Packet, frame: Frame, ni: Ni): void {
    const seconds = frame.time / 1000;
    const visit = (data: Uint8Array, start: number, end: number) => {
      if (frame.direction === "to-host" && p.sourcePort === 53) {
        this.#shadow.reply(data, start, end, seconds);
      } else if (frame.direction === "from-host" && p.destinationPort === 53) {
        this.#query(data, start, end, frame, ni);
      }
    };
    if (p.protocol === PROTOCOL.TCP) this.#streams.segment(p, visit);
    else visit(p.data, p.payload, p.payloadEnd);
  }

  #query(data: Uint8Array, start: number, end: number, frame: Frame, ni: Ni): void {
    const query = this.#shadow.query(data, start, end);
    if (query === undefined) return;
    if (query.kind === "transfer") {
      ni.alert({
        signature: "zone transfer asked for",
        category: "Attempted Information Leak",
        severity: 2,
        action: "allowed",
        detail: { name: query.name },
      }, [frame.number]);
      return;
    }
    this.#reverse.add(query.name, frame.time);
    const count = this.#reverse.minute(frame.time);
    if (count <= this.#options.reverseLookups || frame.time < this.#reverseToldAt + 60_000) return;
    this.#reverseToldAt = frame.time;
    ni.alert({
      signature: "many reverse look-ups",
      category: "Detection of a Network Scan",
      severity: 2,
      action: "allowed",
      detail: { lookups_last_minute: count, name: query.name },
    }, [frame.number]);
  }

  #connection(p: Packet, frame: Frame, ni: Ni): Verdict {
    const destination = p.destination();
    if (this.#isKnown(p, destination)) return "pass";
    this.#random.add(destination.text, frame.time);
    this.#lastPort = p.destinationPort;
    if (this.#reactingUntil === undefined && !this.#isProblem(frame.time)) return "pass";
    const key = `${p.sourcePort} ${destination.text} ${p.destinationPort}`;
    if (this.#reactingUntil === undefined) {
      this.#react(frame.time, ni, [frame.number]);
      this.#nextPass = frame.time + this.#options.passEvery * 1000;
      this.#schedule(ni);
    }
    // Where the administrator lets it read only, it tells and holds nothing.
    return frame.held ? this.#hold(key, destination, frame, ni) : "pass";
  }

  #isKnown(p: Packet, destination: IpAddress): boolean {
    const translated = p.version === 4
      ? this.#shadow.ipv4.has(p.destination4)
      : this.#shadow.ipv6.has(...words(p.data, p.addresses + 16));
    return translated || this.#options.allow.some((range) => inRange(destination, range));
  }

  #isProblem(now: number): boolean {
    const { perSecond, perMinute } = this.#options;
    return this.#random.second(now, perSecond) > perSecond || this.#random.minute(now) > perMinute;
  }

  #react(now: number, ni: Ni, frames: readonly number[]): void {
    this.#reactingUntil = now + this.#options.review * 1000;
    ni.alert({
      signature: "connections to many addresses that no name was translated to",
      category: "A Network Trojan was detected",
      severity: 1,
      action: "blocked",
      detail: {
        random_connections_last_minute: this.#random.minute(now),
        last_port: this.#lastPort,
        translations: this.#shadow.ipv4.size + this.#shadow.ipv6.size,
      },
    }, frames);
  }

  /** Keeps a SYN waiting; a repeated one takes the place of the first, which the host has given up. */
  #hold(key: string, destination: IpAddress, frame: Frame, ni: Ni): Verdict {
    const { waiting, dropAbove } = this.#options;
    if (dropAbove > 0) {
      this.#dropped.add(`${destination.text} ${frame.number}`, frame.time);
      if (this.#dropped.second(frame.time, dropAbove) > dropAbove) return "cut";
    }
    const before = this.#waiting.findIndex((w) => w.key === key);
    if (before !== -1) {
      const [old] = this.#waiting.splice(before, 1, { frame: frame.number, key });
      ni.decide((old as Waiting).frame, "cut");
      return "later";
    }
    if (this.#waiting.length >= waiting) return "cut";
    this.#waiting.push({ frame: frame.number, key });
    return "later";
  }

  #passOne(ni: Ni): void {
    const next = this.#waiting.shift();
    if (next !== undefined) ni.decide(next.frame, "pass");
    this.#nextPass = ni.now + this.#options.passEvery * 1000;
  }

  /** After a minute: on when it is still a problem, otherwise everything that waits may go. */
  #review(ni: Ni): void {
    if (this.#isProblem(ni.now)) return this.#react(ni.now, ni, []);
    this.#reactingUntil = undefined;
    for (const { frame } of this.#waiting) ni.decide(frame, "pass");
    this.#waiting = [];
  }

  #schedule(ni: Ni): void {
    if (this.#reactingUntil === undefined) return;
    ni.wakeAt(Math.min(this.#reactingUntil, this.#nextPass));
  }

  /** The paper's first extension: what random connections say goes to the administrator. */
  #exchange(p: Packet, frame: Frame, ni: Ni): void {
    if (!p.isTcp || p.version === 0) return;
    const remote = frame.direction === "from-host" ? p.destination() : p.source();
    const port = frame.direction === "from-host" ? p.destinationPort : p.sourcePort;
    const known = frame.direction === "from-host"
      ? this.#isKnown(p, remote)
      : !this.#logged.has(`${remote.text} ${port}`);
    if (known || this.#reactingUntil === undefined) return;
    const key = `${remote.text} ${port}`;
    const count = this.#logged.get(key) ?? 0;
    if (count >= this.#options.logFrames || (count === 0 && this.#logged.size >= 4096)) return;
    this.#logged.set(key, count + 1);
    if (this.#log !== undefined && this.#log.destination !== key) this.#sendLog(ni);
    this.#log ??= { frames: [], destination: key, since: frame.time };
    this.#log.frames.push(frame.number);
    if (count + 1 === this.#options.logFrames || frame.time - this.#log.since > LOG_MS) {
      this.#sendLog(ni);
    }
  }

  #sendLog(ni: Ni): void {
    const log = this.#log;
    if (log === undefined) return;
    this.#log = undefined;
    ni.alert({
      signature: "exchange of a random connection",
      category: "Misc activity",
      severity: 3,
      action: "allowed",
      detail: { destination: log.destination, frames: log.frames.length },
    }, log.frames);
  }
}
