/**
 * The SYN bomb scanner (CMU-CS-02-144, section 2.3): a host that begins connections and never finishes them fills the
 * server's table of half-open connections. At the host's own NI this is plain to see. With its true address: SYN+ACKs
 * stay unanswered; more SYNs to that server are held back, and what is half-open there is ended by a reset. With a
 * forged address: the SYN is dropped at once.
 *
 * @module
 */
import { inRange, type IpRange, parsePrefix } from "../../lib/net/ip.ts";
import { Packet, TCP } from "../../lib/net/packet.ts";
import { HANDSHAKE } from "../sdk/filters.ts";
import { type Given, readNumbers, refuseUnknown } from "../sdk/options.ts";
import type { Frame, Ni, Scanner, Verdict } from "../sdk/scanner.ts";
import { HalfOpenTable } from "./half_open.ts";

const NUMBERS = {
  /** More unanswered handshakes than this at one server are a bomb. */
  unanswered: ["unanswered", 20, 1, 100_000],
  /** Milliseconds in which a host answers a SYN+ACK that came to it: it is one link away. */
  answer_within: ["answerWithin", 500, 10, 60_000],
  /** Seconds for which SYNs to the server are held back. */
  hold_back: ["holdBack", 60, 1, 86_400],
} as const;

/** Alerts of forged sources are a minute apart, and count what came between. */
const FORGED_EVERY = 60_000;
/** Servers that are remembered as bombed. */
const MOST_TARGETS = 4096;

/** The scanner. */
export class SynBomb implements Scanner {
  readonly name = "synbomb";
  #options = readNumbers({}, NUMBERS);
  #own: IpRange[] = [];
  readonly #packet = new Packet();
  readonly #halfOpen = new HalfOpenTable();
  /** Until when SYNs to a server are held back, in milliseconds, and how many were. */
  readonly #bombed = new Map<string, { until: number; cut: number }>();
  #forged = 0;
  #forgedToldAt = -Infinity;

  /** Subscribes to the beginnings of connections, with the right to hold them, and to the host's answers. */
  start(ni: Ni): void {
    refuseUnknown(ni.options as Given, Object.keys(NUMBERS));
    this.#options = readNumbers(ni.options, NUMBERS);
    this.#own = ni.hostNetworks.map(parsePrefix).filter((range) => range !== undefined);
    ni.subscribe(HANDSHAKE, "contain");
    // Finished as soon as the handshake is: of a connection no more than its beginning comes here.
    ni.subscribe("tcp or (ip6 and ip6[6] = 6)", "read");
  }

  /** As {@link Scanner.frame}. */
  frame(frame: Frame, ni: Ni): Verdict {
    const p = this.#packet.decode(frame.data, frame.start, frame.end, ni.linkType);
    if (!p.isTcp) return "pass";
    const flags = p.tcpFlags & (TCP.SYN | TCP.ACK);
    if (flags === TCP.SYN) {
      return frame.direction === "from-host" ? this.#syn(p, frame, ni) : "pass";
    }
    if (flags === (TCP.SYN | TCP.ACK)) {
      if (frame.direction === "to-host") this.#synAck(p, frame, ni);
      return "pass";
    }
    if (frame.direction === "from-host") {
      const target = `${p.destination().text} ${p.destinationPort}`;
      this.#halfOpen.answered(`${p.source().text} ${p.sourcePort} ${target}`, target);
    }
    ni.finish(frame.number);
    return "pass";
  }

  /** As {@link Scanner.wake}: looks for handshakes that were not answered in time. */
  wake(ni: Ni): void {
    for (const target of this.#halfOpen.expire(ni.now - this.#options.answerWithin)) {
      const count = this.#halfOpen.unanswered(target);
      if (count > this.#options.unanswered) this.#bomb(target, count, ni);
    }
    this.#schedule(ni);
  }

  #syn(p: Packet, frame: Frame, ni: Ni): Verdict {
    const source = p.source();
    if (this.#own.length > 0 && !this.#own.some((range) => inRange(source, range))) {
      this.#tellForged(source.text, frame, ni);
      return "cut";
    }
    const bombed = this.#bombed.get(`${p.destination().text} ${p.destinationPort}`);
    if (bombed === undefined || frame.time >= bombed.until) return "pass";
    bombed.cut++;
    return "cut";
  }

  #synAck(p: Packet, frame: Frame, ni: Ni): void {
    const target = `${p.source().text} ${p.sourcePort}`;
    const bombed = this.#bombed.get(target);
    if (bombed !== undefined && frame.time < bombed.until) {
      // One of before: the server says that it is half-open still.
      ni.reset(frame.number, "from-host");
      return;
    }
    const key = `${p.destination().text} ${p.destinationPort} ${target}`;
    const first = this.#halfOpen.oldest === undefined;
    this.#halfOpen.add({ key, target, frame: frame.number, time: frame.time });
    if (first) this.#schedule(ni);
  }

  #bomb(target: string, count: number, ni: Ni): void {
    const before = this.#bombed.get(target);
    if (before === undefined && this.#bombed.size >= MOST_TARGETS) this.#forgetTarget();
    this.#bombed.delete(target);
    this.#bombed.set(target, { until: ni.now + this.#options.holdBack * 1000, cut: 0 });
    const repaired = this.#halfOpen.take(target);
    const [address = "", port = ""] = target.split(" ");
    ni.alert({
      signature: "SYN bomb: handshakes that the host begins and does not finish",
      category: "Attempted Denial of Service",
      severity: 1,
      action: "blocked",
      detail: {
        target: address,
        port: Number(port),
        unanswered: count,
        repaired: repaired.length,
        held_back_before: before?.cut ?? 0,
        hold_back_seconds: this.#options.holdBack,
      },
    }, repaired.slice(0, 3).map((entry) => entry.frame));
    for (const { frame } of repaired) ni.reset(frame, "from-host");
  }

  #forgetTarget(): void {
    for (const target of this.#bombed.keys()) {
      this.#bombed.delete(target);
      return;
    }
  }

  #tellForged(source: string, frame: Frame, ni: Ni): void {
    this.#forged++;
    if (frame.time < this.#forgedToldAt + FORGED_EVERY) return;
    this.#forgedToldAt = frame.time;
    ni.alert({
      signature: "SYN with a forged source address",
      category: "Attempted Denial of Service",
      severity: 1,
      action: "blocked",
      detail: { source, forged: this.#forged },
    }, [frame.number]);
    this.#forged = 0;
  }

  #schedule(ni: Ni): void {
    const { oldest } = this.#halfOpen;
    if (oldest !== undefined) ni.wakeAt(oldest + this.#options.answerWithin);
  }
}
