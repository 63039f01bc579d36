/**
 * The port scan scanner (CMU-CS-03-109): counts connections that fail. Many ports of one host (vertical), or one port of
 * many hosts (horizontal), tried in vain in a minute are a scan. It tells and holds nothing: a user may have reasons.
 *
 * @module
 */
import { Packet, TCP } from "../../lib/net/packet.ts";
import { HANDSHAKE } from "../sdk/filters.ts";
import { type Given, readNumbers, refuseUnknown } from "../sdk/options.ts";
import type { Direction, Frame, Ni, Scanner } from "../sdk/scanner.ts";
import { Window } from "./window.ts";

const NUMBERS = {
  /** Ports of one host tried in vain in a minute. */
  ports: ["ports", 20, 2, 65_536],
  /** Hosts on whose same port it was tried in vain in a minute. */
  hosts: ["hosts", 30, 2, 1_000_000],
  /** Milliseconds after which a SYN without an answer has failed. */
  answer_within: ["answerWithin", 3000, 100, 60_000],
} as const;

/** Attempts that wait for an answer at most; older ones have failed by then. */
const MOST = 65_536;
const RESETS = "(tcp[tcpflags] & tcp-rst != 0) or (ip6 and ip6[6] = 6 and ip6[53] & 4 != 0)";

interface Attempt {
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly direction: Direction;
  readonly frame: number;
  readonly time: number;
}

/** The scanner. */
export class PortScan implements Scanner {
  readonly name = "portscan";
  #options = readNumbers({}, NUMBERS);
  readonly #packet = new Packet();
  readonly #attempts = new Map<string, Attempt>();
  readonly #vertical = new Window();
  readonly #horizontal = new Window();

  /** Subscribes to handshakes and resets, to read. */
  start(ni: Ni): void {
    refuseUnknown(ni.options as Given, Object.keys(NUMBERS));
    this.#options = readNumbers(ni.options, NUMBERS);
    ni.subscribe(`${HANDSHAKE} or ${RESETS}`, "read");
  }

  /** As {@link Scanner.frame}. */
  frame(frame: Frame, ni: Ni): void {
    const p = this.#packet.decode(frame.data, frame.start, frame.end, ni.linkType);
    if (!p.isTcp) return;
    const flags = p.tcpFlags & (TCP.SYN | TCP.ACK | TCP.RST);
    if (flags === TCP.SYN) return this.#attempt(p, frame, ni);
    const key = `${p.destination().text} ${p.destinationPort} ${p.source().text} ${p.sourcePort}`;
    const attempt = this.#attempts.get(key);
    if (attempt === undefined || attempt.direction === frame.direction) return;
    this.#attempts.delete(key);
    if ((flags & TCP.RST) !== 0) this.#failed(attempt, ni);
  }

  /** As {@link Scanner.wake}: what was not answered has failed. */
  wake(ni: Ni): void {
    for (const [key, attempt] of this.#attempts) {
      if (attempt.time + this.#options.answerWithin > ni.now) break;
      this.#attempts.delete(key);
      this.#failed(attempt, ni);
    }
    this.#schedule(ni);
  }

  #attempt(p: Packet, frame: Frame, ni: Ni): void {
    const source = p.source().text;
    const destination = p.destination().text;
    const key = `${source} ${p.sourcePort} ${destination} ${p.destinationPort}`;
    if (this.#attempts.has(key)) return; // tried again by its kernel
    if (this.#attempts.size >= MOST) this.#oldestFails(ni);
    this.#attempts.set(key, {
      source,
      destination,
      port: p.destinationPort,
      direction: frame.direction,
      frame: frame.number,
      time: frame.time,
    });
    if (this.#attempts.size === 1) this.#schedule(ni);
  }

  #oldestFails(ni: Ni): void {
    for (const [key, attempt] of this.#attempts) {
      this.#attempts.delete(key);
      return this.#failed(attempt, ni);
    }
  }

  #failed(attempt: Attempt, ni: Ni): void {
    const { source, destination, port } = attempt;
    const ports = this.#vertical.add(`${source} ${destination}`, String(port), ni.now);
    if (ports > this.#options.ports && this.#vertical.mayTell(`${source} ${destination}`, ni.now)) {
      this.#tell("vertical port scan", attempt, { destination, ports_last_minute: ports }, ni);
    }
    const hosts = this.#horizontal.add(`${source} ${port}`, destination, ni.now);
    if (hosts > this.#options.hosts && this.#horizontal.mayTell(`${source} ${port}`, ni.now)) {
      this.#tell("horizontal port scan", attempt, { port, hosts_last_minute: hosts }, ni);
    }
  }

  #tell(signature: string, attempt: Attempt, detail: Record<string, unknown>, ni: Ni): void {
    ni.alert({
      signature,
      category: "Detection of a Network Scan",
      severity: 2,
      action: "allowed",
      detail: { source: attempt.source, by_host: attempt.direction === "from-host", ...detail },
    }, [attempt.frame]);
  }

  #schedule(ni: Ni): void {
    for (const { time } of this.#attempts.values()) {
      ni.wakeAt(time + this.#options.answerWithin);
      return;
    }
  }
}
