/**
 * The guard (CMU-CS-02-144, section 2.3): what a host says of itself must be true (its IP and hardware addresses, in ARP
 * and neighbour discovery too), it gets only what is for it, and packets that mean one thing to a scanner and another to
 * the host (small times to live, tiny and overlapping fragments) do not pass.
 *
 * @module
 */
import { inRange, type IpAddress, ipFromBytes, ipKind } from "../../lib/net/ip.ts";
import { ETHERTYPE, LINKTYPE, Packet, PROTOCOL, u16 } from "../../lib/net/packet.ts";
import type { Given } from "../sdk/options.ts";
import type { Frame, Ni, Scanner, Verdict } from "../sdk/scanner.ts";
import { FragmentTable } from "./fragments.ts";
import { HopLimits } from "./hop_limits.ts";
import { type Action, type GuardOptions, readOptions } from "./options.ts";

/** Alerts of one kind are this far apart, in milliseconds, and count what came between. */
const TELL_EVERY = 60_000;
const NEIGHBOUR_SOLICITATION = 135;
const NEIGHBOUR_ADVERTISEMENT = 136;
/** Options of neighbour discovery that tell the sender's own hardware address (RFC 4861 4.6.1). */
const OWN_LINK_ADDRESS: Readonly<Record<number, number>> = {
  [NEIGHBOUR_SOLICITATION]: 1,
  [NEIGHBOUR_ADVERTISEMENT]: 2,
};

interface Finding {
  readonly signature: string;
  readonly category: string;
  readonly action: Action;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** The scanner. */
export class Guard implements Scanner {
  readonly name = "guard";
  #options: GuardOptions = readOptions({}, []);
  readonly #packet = new Packet();
  readonly #macs = new Set<number>();
  readonly #fragments = new FragmentTable();
  readonly #hopLimits = new HopLimits();
  readonly #told = new Map<string, { at: number; count: number }>();

  /** Subscribes to all frames, with the right to hold them. */
  start(ni: Ni): void {
    this.#options = readOptions(ni.options as Given, ni.hostNetworks);
    for (const mac of this.#options.mac) this.#macs.add(mac);
    ni.subscribe("", "contain");
  }

  /** As {@link Scanner.frame}. */
  frame(frame: Frame, ni: Ni): Verdict {
    const p = this.#packet.decode(frame.data, frame.start, frame.end, ni.linkType);
    const finding = frame.direction === "from-host"
      ? this.#fromHost(p, ni.linkType)
      : this.#toHost(p, ni.linkType);
    if (finding !== undefined) {
      this.#tell(finding, frame.number, ni);
      if (finding.action === "cut") return "cut";
    }
    if (p.version === 0) return "pass";
    const ttl = this.#ttl(p, frame);
    if (ttl !== undefined) {
      this.#tell(ttl, frame.number, ni);
      if (ttl.action === "cut") return "cut";
    }
    return p.fragment ? this.#fragment(p, frame, ni) : "pass";
  }

  /** As {@link Scanner.wake}: datagrams that never became whole. */
  wake(ni: Ni): void {
    const before = ni.now - this.#options.fragmentTimeout * 1000;
    for (const frames of this.#fragments.expire(before)) {
      this.#tell(
        {
          signature: "a datagram's fragments do not all come",
          category: "Attempted Denial of Service",
          action: this.#options.normalize ? "cut" : "alert",
          detail: { fragments: frames.length },
        },
        frames[0],
        ni,
      );
      if (this.#options.normalize) { for (const number of frames) ni.decide(number, "cut"); }
    }
    this.#schedule(ni);
  }

  #fromHost(p: Packet, linkType: number): Finding | undefined {
    const { spoofing } = this.#options;
    if (linkType === LINKTYPE.ETHERNET && p.end - p.start >= 14) {
      const mac = mac48(p.data, p.start + 6);
      if (this.#macs.size === 0) this.#macs.add(mac);
      if (!this.#macs.has(mac)) {
        return spoofed("hardware address", { mac: macText(mac) }, spoofing);
      }
      if (p.etherType === ETHERTYPE.ARP) return this.#arp(p);
    }
    if (p.version === 0 || this.#options.own.length === 0) return undefined;
    const source = p.source();
    if (!this.#mayUse(source)) {
      return spoofed("source address", { source: source.text }, spoofing);
    }
    return p.protocol === PROTOCOL.ICMPV6 && !p.fragment ? this.#neighbour(p) : undefined;
  }

  /** RFC 826: the sender's addresses, in front of Ethernet and IPv4. */
  #arp(p: Packet): Finding | undefined {
    const { data, start, end } = p;
    const at = start + 14 + p.tags * 4;
    if (end - at < 28 || u16(data, at + 2) !== ETHERTYPE.IPV4 || u16(data, at + 4) !== 0x0604) {
      return undefined;
    }
    const mac = mac48(data, at + 8);
    const address = ipFromBytes(data.subarray(at + 14, at + 18));
    if (!this.#macs.has(mac)) {
      return spoofed("ARP", { mac: macText(mac), address: address.text }, this.#options.spoofing);
    }
    // Probes for an address that is to be used do not claim it yet (RFC 5227 2.1.1).
    if (this.#options.own.length === 0 || this.#mayUse(address)) return undefined;
    return spoofed("ARP", { mac: macText(mac), address: address.text }, this.#options.spoofing);
  }

  /** RFC 4861: what an advertisement claims, and the hardware address that it gives. */
  #neighbour(p: Packet): Finding | undefined {
    const { data, transport, networkEnd } = p;
    if (networkEnd - transport < 24) return undefined;
    const type = data[transport] as number;
    const wanted = OWN_LINK_ADDRESS[type];
    if (wanted === undefined) return undefined;
    if (type === NEIGHBOUR_ADVERTISEMENT) {
      const target = ipFromBytes(data.subarray(transport + 8, transport + 24));
      if (!this.#mayUse(target)) {
        return spoofed("neighbour advertisement", { address: target.text }, this.#options.spoofing);
      }
    }
    for (let at = transport + 24; at + 8 <= networkEnd;) {
      const length = (data[at + 1] as number) * 8;
      if (length === 0) break;
      if (data[at] === wanted && !this.#macs.has(mac48(data, at + 2))) {
        const mac = macText(mac48(data, at + 2));
        return spoofed("neighbour discovery", { mac }, this.#options.spoofing);
      }
      at += length;
    }
    return undefined;
  }

  #mayUse(address: IpAddress): boolean {
    const kind = ipKind(address);
    // Before a host has an address it has none; link-local ones it makes itself, over IPv6.
    if (kind === "unspecified") return true;
    if (kind === "link-local" && address.bytes.length === 16) return true;
    const { own, alsoFrom } = this.#options;
    return own.some((range) => inRange(address, range)) ||
      alsoFrom.some((range) => inRange(address, range));
  }

  /** A host that listens to everything sees what a network without switches, or a flooded one, brings. */
  #toHost(p: Packet, linkType: number): Finding | undefined {
    if (linkType !== LINKTYPE.ETHERNET || p.end - p.start < 14 || this.#macs.size === 0) {
      return undefined;
    }
    const group = ((p.data[p.start] as number) & 1) === 1;
    const mac = mac48(p.data, p.start);
    if (group || this.#macs.has(mac)) return undefined;
    return {
      signature: "frame that is not for the host",
      category: "Misc activity",
      action: this.#options.sniffing,
      detail: { mac: macText(mac) },
    };
  }

  #ttl(p: Packet, frame: Frame): Finding | undefined {
    const { minTtl, ttlSpread, ttl } = this.#options;
    const category = "Potentially Bad Traffic";
    if (frame.direction === "to-host" && p.ttl < minTtl) {
      const signature = "time to live is too small";
      return { signature, category, action: ttl, detail: { ttl: p.ttl } };
    }
    if (!p.isTcp) return undefined;
    const below = this.#hopLimits.below(p);
    if (below <= ttlSpread) return undefined;
    const signature = "time to live differs within a connection";
    return { signature, category, action: ttl, detail: { ttl: p.ttl, below } };
  }

  #fragment(p: Packet, frame: Frame, ni: Ni): Verdict {
    const { fragments } = this.#options;
    // What does not wait for a verdict cannot be put in order.
    const normalize = this.#options.normalize && frame.held;
    if (this.#fragments.full) this.wake(ni);
    if (this.#fragments.full) return fragments === "cut" ? "cut" : "pass";
    const first = this.#fragments.oldest === undefined;
    const { fault, whole, before } = this.#fragments.add(p, frame.number, frame.time);
    if (first) this.#schedule(ni);
    if (fault !== undefined) {
      const detail = { offset: p.fragmentOffset, id: p.fragmentId };
      this.#tell(
        { signature: fault, category: "Potentially Bad Traffic", action: fragments, detail },
        frame.number,
        ni,
      );
      const verdict = fragments === "cut" ? "cut" : "pass";
      if (normalize) { for (const number of before) ni.decide(number, verdict); }
      return verdict;
    }
    if (!normalize) return "pass";
    if (whole === undefined) return "later";
    // In order, as few receivers get them: who looks at the first fragment only sees what the host sees.
    for (const number of whole) ni.decide(number, "pass");
    return "later";
  }

  #tell(finding: Finding, frame: number | undefined, ni: Ni): void {
    const told = this.#told.get(finding.signature) ?? { at: -Infinity, count: 0 };
    this.#told.set(finding.signature, told);
    told.count++;
    if (ni.now < told.at + TELL_EVERY) return;
    told.at = ni.now;
    ni.alert({
      signature: finding.signature,
      category: finding.category,
      severity: 2,
      action: finding.action === "cut" ? "blocked" : "allowed",
      detail: { ...finding.detail, count: told.count },
    }, frame === undefined ? [] : [frame]);
    told.count = 0;
  }

  #schedule(ni: Ni): void {
    const { oldest } = this.#fragments;
    if (oldest !== undefined) ni.wakeAt(oldest + this.#options.fragmentTimeout * 1000);
  }
}

function spoofed(
  what: string,
  detail: Readonly<Record<string, unknown>>,
  action: Action,
): Finding {
  return { signature: `spoofed ${what}`, category: "Potentially Bad Traffic", action, detail };
}

/** 48 bits as a number. The caller has made sure that they are there. */
function mac48(data: Uint8Array, at: number): number {
  return u16(data, at) * 0x1_0000_0000 + u16(data, at + 2) * 0x1_0000 + u16(data, at + 4);
}

function macText(mac: number): string {
  return mac.toString(16).padStart(12, "0").replace(/..(?!$)/g, "$&:");
}
